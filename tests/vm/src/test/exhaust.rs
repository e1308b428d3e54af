//! An application gets no port and retries at once: every failure is counted, and none takes an
//! end's place in the ring.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::checks::Checks;
use crate::exhaust::{CROWD_CALLS, IN_TIME_WAIT};
use crate::load::{Args, Load};
use crate::served::Served;
use crate::tracer::{Tracer, Written};

const FAILURES: u32 = 200_003;
/// Rounds of connections, each of which ends with its namespace.
const ROUNDS: u32 = 7;
const CONNECTIONS: u32 = 149;
/// No port is used twice, so no connect() of the load fails.
const LOAD: Args = Args {
    ports: 149,
    hosts: 1,
};
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn run(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/exhaust.json");
    let args = ["trace", "--ports", "-o", "json", "--attach", attach];
    let tracer = Tracer::start(&args, stdout)?;
    let mut exhausted = Served::start(&["exhaust"])?;
    let pid = exhausted.id();
    let command = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    let started = Instant::now();
    exhausted.order(FAILURES)?;
    for _ in 0..ROUNDS {
        Load::start(&LOAD)?.run(CONNECTIONS)?;
    }
    let told = exhausted.answer()?;
    let took = started.elapsed();
    await_ends(stdout)?;
    let code = tracer.stop()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    let seen = written.number("/port_failures/seen")?;
    checks.equal("calls told EADDRNOTAVAIL", told, FAILURES.into());
    let missed = written.number("/port_failures/lost/missed")?;
    checks.that((seen..=seen + missed).contains(&told), || {
        format!("{seen} port failures, and {missed} calls not looked at")
    });
    let calls = written.number("/port_failures/calls/connect")?;
    checks.equal("connect() calls", calls, seen);
    let [reported, limited, lost] = ["reported", "limited", "lost/ring"]
        .map(|name| written.number(&format!("/port_failures/{name}")));
    let (reported, limited, lost) = (reported?, limited?, lost?);
    checks.equal(
        "reported, limited and lost",
        reported + limited + lost,
        seen,
    );
    checks.equal(
        "lines",
        lines(&written, "port-failure").count() as u64,
        reported,
    );
    let wrong = lines(&written, "port-failure").find(|event| !is_ours(event, pid, command.trim()));
    checks.equal("a line that is wrong", wrong, None);
    ends(&mut checks, &written)?;
    let complete = limited + lost + missed == 0;
    checks.equal(
        "complete",
        written.summary["complete"].as_bool(),
        Some(complete),
    );
    checks.equal("exit code", code, if complete { 0 } else { 3 });
    checks.end(format!(
        "{FAILURES} failures in {:.1} s, {reported} reported, {limited} beyond the rate, {lost} \
         lost in the ring, {missed} not looked at",
        took.as_secs_f64()
    ))
}

/// With kprobes, most returns are missed when many tasks look for a port at the same time: each
/// miss is counted.
pub(crate) fn crowd(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/crowd.json");
    let args = ["trace", "--ports", "-o", "json", "--attach", attach];
    let tracer = Tracer::start(&args, stdout)?;
    let mut crowd = Served::start(&["exhaust-crowd"])?;
    crowd.order(1)?;
    let told = crowd.answer()?;
    let code = tracer.stop()?;
    let written = Written::read(stdout)?;
    let mut checks = Checks::default();
    checks.equal("calls told EADDRNOTAVAIL", told, CROWD_CALLS);
    let seen = written.number("/port_failures/seen")?;
    let missed = written.number("/port_failures/lost/missed")?;
    checks.that((seen..=seen + missed).contains(&told), || {
        format!("{seen} port failures of {told}, and {missed} calls not looked at")
    });
    let complete = written.summary["complete"].as_bool();
    checks.equal("complete", complete, Some(missed == 0));
    checks.equal("exit code", code, if missed == 0 { 0 } else { 3 });
    checks.end(format!(
        "{seen} of {told} failures seen, {missed} not looked at"
    ))
}

fn is_ours(event: &Value, pid: u32, command: &str) -> bool {
    let held = event["time_wait_candidates"].as_u64();
    event["pid"] == pid
        && event["command"] == command
        && event["errno"] == "EADDRNOTAVAIL"
        && event["lport"].is_null()
        && held.is_some_and(|held| held <= IN_TIME_WAIT.into())
}

/// The load's ends are all there. The exhausted destination's own TIME_WAIT sockets may have
/// expired, too.
fn ends(checks: &mut Checks, written: &Written) -> Result<()> {
    let of_load = lines(written, "end").filter(|end| end["reason"] == "netns-exit");
    let count = of_load.count() as u64;
    checks.equal("ends of the load", count, u64::from(ROUNDS * CONNECTIONS));
    let seen = written.number("/seen")?;
    checks.equal("ends reported", written.number("/reported")?, seen);
    checks.equal("lines of ends", lines(written, "end").count() as u64, seen);
    checks.equal("ends lost in the ring", written.number("/lost/ring")?, 0);
    Ok(())
}

/// Namespaces are cleaned up in the background.
fn await_ends(stdout: &Path) -> Result<()> {
    let started = Instant::now();
    while fs::read_to_string(stdout)?
        .matches("\"netns-exit\"")
        .count()
        < (ROUNDS * CONNECTIONS) as usize
    {
        ensure!(
            started.elapsed() < PATIENCE,
            "the load's namespaces are still there"
        );
        thread::sleep(POLL);
    }
    Ok(())
}

fn lines<'a>(written: &'a Written, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    written
        .events
        .iter()
        .filter(move |event| event["event"] == kind)
}
