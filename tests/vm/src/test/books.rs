//! Every birth and end of a known workload is accounted for, with enough room in the ring and
//! without.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::tracer::{TWTRACE, Tracer, Written};

/// A prime: no batch size, port count or CPU count divides it.
const CONNECTIONS: u32 = 100_003;
const RECORDED: u32 = 10_007;
/// The smallest ring: a page, 34 ends.
const TINY_RING: &str = "4096";
/// Exit code of a trace that lost events.
const INCOMPLETE: i32 = 3;

const LOAD: Args = Args {
    ports: 397,
    hosts: 1,
};

/// With the default ring nothing is lost.
pub(crate) fn churn(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/churn.json");
    let mut load = Load::start(&LOAD)?;
    let tracer = Tracer::start(&["trace", "-o", "json", "--attach", attach], stdout)?;
    let took = load.run(CONNECTIONS)?;
    let alive = load.mini_sockets()?;
    let code = tracer.stop()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    checks.equal("exit code", code, 0);
    balanced(&mut checks, &written, CONNECTIONS, alive)?;
    checks.equal("lost in the ring", written.number("/lost/ring")?, 0);
    checks.end(format!(
        "{} ends, {alive} alive, in {:.1} s",
        written.number("/seen")?,
        took.as_secs_f64()
    ))
}

/// With a tiny ring and a reader that is stopped for a while, the loss is counted exactly, and the
/// totals are the same as without loss.
pub(crate) fn tiny_ring(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/tiny.json");
    let mut load = Load::start(&LOAD)?;
    let args = [
        "trace",
        "-o",
        "json",
        "--attach",
        attach,
        "--ring-bytes",
        TINY_RING,
    ];
    let tracer = Tracer::start(&args, stdout)?;
    let (before, during) = (30_011, 40_009);
    load.run(before)?;
    tracer.signal(Signal::SIGSTOP)?;
    load.run(during)?;
    tracer.signal(Signal::SIGCONT)?;
    load.run(CONNECTIONS - before - during)?;
    let alive = load.mini_sockets()?;
    let code = tracer.stop()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    checks.equal("exit code", code, INCOMPLETE);
    balanced(&mut checks, &written, CONNECTIONS, alive)?;
    let lost = written.number("/lost/ring")?;
    checks.that(lost > u64::from(during) / 2, || {
        format!("only {lost} were lost with the reader stopped")
    });
    checks.end(format!(
        "{} ends, {} reported, {lost} lost in the ring",
        written.number("/seen")?,
        written.number("/reported")?
    ))
}

/// A recording gives the same results as a live trace of the same load.
pub(crate) fn recording(attach: &str) -> Result<String> {
    let file = "/tmp/churn.twt";
    let mut load = Load::start(&LOAD)?;
    let args = ["record", file, "--attach", attach];
    let tracer = Tracer::start(&args, Path::new("/tmp/record.out"))?;
    load.run(RECORDED)?;
    let alive = load.mini_sockets()?;
    let code = tracer.stop()?;
    let stdout = Path::new("/tmp/report.json");
    let report = Command::new(TWTRACE)
        .args(["report", file, "-o", "json"])
        .stdout(File::create(stdout)?)
        .status()
        .context("cannot start twtrace report")?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    checks.equal("exit code of record", code, 0);
    checks.equal("exit code of report", report.code(), Some(0));
    balanced(&mut checks, &written, RECORDED, alive)?;
    checks.equal("lost in the ring", written.number("/lost/ring")?, 0);
    let births = written.number("/births/reported")?;
    checks.equal("births in the recording", births, RECORDED.into());
    let bytes = std::fs::metadata(file)?.len();
    checks.end(format!(
        "{} ends, {} bytes each on disk",
        written.number("/seen")?,
        bytes / u64::from(RECORDED)
    ))
}

/// What holds whether or not the ring lost anything.
fn balanced(checks: &mut Checks, written: &Written, made: u32, alive: u64) -> Result<()> {
    let made = u64::from(made);
    let (seen, reported) = (written.number("/seen")?, written.number("/reported")?);
    let births = written.number("/births/fin-wait-2")? + written.number("/births/time-wait")?;
    checks.equal("births", births, made);
    checks.equal("ends seen", seen, made - alive);
    checks.equal(
        "reported and lost",
        reported + written.number("/lost/ring")?,
        seen,
    );
    checks.equal("lost for lack of a slot", written.number("/lost/map")?, 0);
    checks.equal("ends of unseen births", written.number("/untracked")?, 0);
    checks.equal("overflows", written.number("/overflows/seen")?, 0);
    checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
    reasons(checks, written, seen)?;
    lines(checks, written, reported)
}

/// The next SYN ends nearly all of them; a stray RST may end a few (docs/limits.md).
fn reasons(checks: &mut Checks, written: &Written, seen: u64) -> Result<()> {
    let mut sum = 0;
    for (reason, count) in written.totals()? {
        sum += count;
        let most = match reason.as_str() {
            "syn-reopened" => seen,
            "reset" | "fin-wait-2-reset" => 20,
            _ => 0,
        };
        checks.that(count <= most, || format!("{count} ends by {reason}"));
    }
    checks.equal("sum of the totals", sum, seen);
    Ok(())
}

/// There is a line for each reported end, and no end has two.
fn lines(checks: &mut Checks, written: &Written, reported: u64) -> Result<()> {
    let ends: Vec<_> = written
        .events
        .iter()
        .filter(|event| event["event"] == "end")
        .collect();
    checks.equal("lines", u64::try_from(ends.len())?, reported);
    let different: HashSet<_> = ends
        .iter()
        .map(|end| (end["rport"].as_u64(), end["born_ns"].as_u64()))
        .collect();
    checks.equal("different ends", different.len(), ends.len());
    let strange = ends
        .iter()
        .filter(|end| end["preexisting"] != false)
        .count();
    checks.equal("ends called preexisting", strange, 0);
    Ok(())
}
