//! The demonstration: live lines of a mixed workload, its histogram and books, and what was seen.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tracer::{TWTRACE, Tracer, Written};
use crate::{mix, say};

const RECORDING: &str = "/tmp/demo.twtrace";

pub(crate) fn run() -> Result<()> {
    say("the workload, each part in a network namespace of its own:");
    mix::describe();
    say("");
    let recorder = Tracer::start(&["record", RECORDING], Path::new("/tmp/record.out"))?;
    say("$ twtrace trace -c 'twtrace-vm mix'    (the last lines come after a minute)");
    twtrace(&["trace", "-c", "/bin/twtrace-vm mix"])?;
    recorder.stop()?;
    say("");
    say("$ twtrace report demo.twtrace --hist   (recorded at the same time)");
    twtrace(&["report", RECORDING, "--hist"])?;
    say("");
    seen()
}

fn twtrace(args: &[&str]) -> Result<()> {
    let status = Command::new(TWTRACE)
        .args(args)
        .status()
        .context("cannot start twtrace")?;
    ensure!(
        status.success(),
        "twtrace {} ended with {status}",
        args.join(" ")
    );
    Ok(())
}

/// Three lines on what the recording holds.
fn seen() -> Result<()> {
    let json = Path::new("/tmp/demo.json");
    let status = Command::new(TWTRACE)
        .args(["report", RECORDING, "-o", "json"])
        .stdout(File::create(json)?)
        .status()?;
    ensure!(status.success(), "twtrace report ended with {status}");
    let written = Written::read(json)?;
    let totals: Vec<_> = written
        .totals()?
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    let births = written.number("/births/fin-wait-2")? + written.number("/births/time-wait")?;
    let reasons: Vec<_> = totals
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    say(&format!(
        "{births} TIME_WAIT sockets were born, {} of them in FIN_WAIT2, and {} could not be made (overflow)",
        written.number("/births/fin-wait-2")?,
        written.number("/overflows/seen")?
    ));
    say(&format!(
        "{} ended, for {} reasons: {}",
        written.number("/seen")?,
        totals.len(),
        reasons.join(", ")
    ));
    let agree = written.summary["agree"].as_bool() == Some(true);
    let counters = written.summary["counters"].as_array().map_or(0, Vec::len);
    say(&format!(
        "lost {}; {counters} counters of the kernel beside ours: {}",
        written.number("/lost/ring")? + written.number("/lost/map")?,
        if agree { "agree" } else { "DISAGREE" }
    ));
    ensure!(agree, "the books do not agree with the kernel's counters");
    Ok(())
}
