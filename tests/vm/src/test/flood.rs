//! In a flood of refused SYNs every one is counted, and none takes an end's place in the ring.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::served::Served;
use crate::tracer::{Tracer, Written};

const SYNS: u32 = 1_000_000;
const CONNECTIONS: u32 = 1_009;
/// A tenth of the default, as reading the lines takes longer than the flood.
const RATE: &str = "1000";
/// Exit code of a trace that did not report everything.
const INCOMPLETE: i32 = 3;
const LOAD: Args = Args {
    ports: 97,
    hosts: 1,
};

pub(crate) fn run(attach: &str) -> Result<String> {
    // Packets that wait for the CPU must not be dropped: every one is counted.
    fs::write("/proc/sys/net/core/netdev_max_backlog", "1000000")
        .context("cannot set netdev_max_backlog")?;
    let stdout = Path::new("/tmp/flood.json");
    let mut args = vec!["trace", "-o", "json", "--attach", attach];
    args.extend(["--max-refusals", RATE]);
    let tracer = Tracer::start(&args, stdout)?;
    let mut flood = Served::start(&["flood"])?;
    let mut load = Load::start(&LOAD)?;
    let started = std::time::Instant::now();
    flood.order(SYNS)?;
    load.run(CONNECTIONS)?;
    let alive = load.mini_sockets()?;
    let refused = flood.answer()?;
    let took = started.elapsed();
    let code = tracer.stop()?;
    let still = load.mini_sockets()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    checks.equal("refused, by the kernel's counter", refused, SYNS.into());
    let syns = written.number("/refusals/syns")?;
    checks.equal("SYNs refused", syns, SYNS.into());
    let paws = written.number("/refusals/classes/time-wait by paws")?;
    checks.equal("refused by PAWS", paws, SYNS.into());
    let seen = written.number("/refusals/seen")?;
    let reported = written.number("/refusals/reported")?;
    let limited = written.number("/refusals/limited")?;
    let lost = written.number("/refusals/lost/ring")?;
    checks.equal(
        "reported, limited and lost",
        reported + limited + lost,
        seen,
    );
    checks.equal("lines", lines(&written, "refusal"), reported);
    checks.that(limited > u64::from(SYNS) / 2, || {
        format!("only {limited} were beyond the rate")
    });
    ends(&mut checks, &written, [alive, still])?;
    checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
    checks.equal("exit code", code, INCOMPLETE);
    checks.end(format!(
        "{SYNS} SYNs in {:.1} s, {reported} of {seen} refusals reported, {lost} lost in the ring",
        took.as_secs_f64()
    ))
}

/// The flood's own mini-sockets stay alive. Some of the load's that were alive before the end of
/// the flood may have expired since: `still` are alive after the trace.
fn ends(checks: &mut Checks, written: &Written, [alive, still]: [u64; 2]) -> Result<()> {
    let ends = written.number("/seen")?;
    let most = u64::from(CONNECTIONS);
    checks.that((most - alive..=most - still).contains(&ends), || {
        format!("{ends} ends of {most} connections, of which {alive} were alive, then {still}")
    });
    checks.equal("ends reported", written.number("/reported")?, ends);
    checks.equal("lines of ends", lines(written, "end"), ends);
    checks.equal("ends lost in the ring", written.number("/lost/ring")?, 0);
    Ok(())
}

fn lines(written: &Written, kind: &str) -> u64 {
    let lines = written.events.iter().filter(|event| event["event"] == kind);
    lines.count() as u64
}
