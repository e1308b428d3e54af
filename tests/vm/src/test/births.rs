//! No birth is missed, in whatever context on a CPU it happens.

use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::checks::Checks;
use crate::say;
use crate::served::Served;
use crate::tracer::{Tracer, Written};

/// A prime. `twtrace-vm load-births` takes any number.
const BIRTHS: u32 = 10_007;
const STDOUT: &str = "/tmp/births.json";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of births, over all CPUs.
    births: u32,
    /// fentry or kprobe.
    #[arg(long, default_value = "fentry")]
    attach: String,
}

pub(crate) fn command(args: &Args) -> Result<()> {
    say(&both_kinds(args.births, &args.attach)?);
    Ok(())
}

pub(crate) fn run(attach: &str) -> Result<String> {
    both_kinds(BIRTHS, attach)
}

/// Whether this kernel counts a TIME_WAIT only when its timer fires (5.10): no timer fires here.
fn is_counted_at_expiry(written: &Written) -> bool {
    written.summary["kernel"]
        .as_str()
        .is_some_and(|release| release.starts_with("5.10"))
}

/// Births from backlogs and from timers, both on each CPU.
fn both_kinds(births: u32, attach: &str) -> Result<String> {
    let start = |cpu: usize| Served::start(&["births", &cpu.to_string()]);
    let cpus = 0..thread::available_parallelism()?.get();
    let mut loads = cpus.map(start).collect::<Result<Vec<_>>>()?;
    let args = ["trace", "-o", "json", "--attach", attach];
    let tracer = Tracer::start(&args, Path::new(STDOUT))?;
    let started = Instant::now();
    let cpus = u32::try_from(loads.len())?;
    for (cpu, load) in (0..cpus).zip(&mut loads) {
        // The orders add up to `births`.
        load.order((births + cpu) / cpus)?;
    }
    for load in &mut loads {
        load.answer()?;
    }
    let took = started.elapsed();
    let alive = loads
        .iter()
        .map(Served::mini_sockets)
        .sum::<Result<u64>>()?;
    let code = tracer.stop()?;
    let written = Written::read(Path::new(STDOUT))?;

    let mut checks = Checks::default();
    let seen = written.number("/births/fin-wait-2")? + written.number("/births/time-wait")?;
    let ends = written.number("/seen")?;
    // A mini-socket that expires between the two counts is in both.
    checks.that(ends + alive >= births.into(), || {
        format!("only {ends} ends were seen, and {alive} were alive")
    });
    let untracked = written.number("/untracked")?;
    let missed = written.summary["lost"]["missed"].as_u64();
    let unseen = u64::from(births).saturating_sub(seen);
    let agree = written.summary["agree"].as_bool();
    if attach == "kprobe" && missed.is_some_and(|missed| missed > 0) {
        // The kernel skips a kprobe program that would run on top of another one, so births may be
        // missed, but then the loss must be reported.
        checks.equal("exit code", code, 3);
        checks.that(missed >= Some(unseen), || {
            format!("{unseen} births are unseen, and {missed:?} programs were skipped")
        });
    } else if attach == "kprobe" && missed.is_none() && unseen > 0 {
        // Before 6.7 the kernel does not report skipped programs, but its counter shows the
        // difference where it counts births.
        checks.that(
            agree == Some(false) || is_counted_at_expiry(&written),
            || format!("{unseen} births are unseen, and agree is {agree:?}"),
        );
    } else {
        checks.equal("exit code", code, 0);
        checks.equal("births", seen, births.into());
        checks.equal("ends of unseen births", untracked, 0);
        checks.equal("agree", agree, Some(true));
    }
    let old = |event: &&serde_json::Value| event["event"] == "end" && event["preexisting"] == true;
    let old = written.events.iter().filter(old);
    checks.equal("ends called preexisting", old.count(), 0);
    checks.end(format!(
        "{births} births on {cpus} CPUs in {:.0} s, programs skipped {} times",
        took.as_secs_f64(),
        written.summary["lost"]["missed"]
    ))
}
