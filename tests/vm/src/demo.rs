//! The demonstration: live lines of a mixed workload, its histogram and books, and what was seen.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::tracer::{TWTRACE, Tracer, Written};
use crate::{mix, say};

const RECORDING: &str = "/tmp/demo.twtrace";

pub(crate) fn run() -> Result<()> {
    say("the workload, each part in a network namespace of its own:");
    mix::describe();
    say("");
    let recorder = Tracer::start(&["record", RECORDING], Path::new("/tmp/record.out"))?;
    say("$ twtrace trace        (the last lines come after a minute)");
    let tracer = Tracer::with_stdout(&["trace"], Stdio::inherit())?;
    let mut mix = Mix::start()?;
    mix.wait()?;
    ensure!(tracer.stop()? == 0, "twtrace trace was not content");
    ensure!(recorder.stop()? == 0, "twtrace record was not content");
    drop(mix);
    say("");
    say("$ twtrace report demo.twtrace --hist        (recorded at the same time)");
    twtrace(&["report", RECORDING, "--hist"])?;
    say("");
    seen()
}

/// The workload in a process of its own; its namespaces live until this is dropped, so that the
/// kernel's counters in them can be read.
struct Mix(Child);

impl Mix {
    fn start() -> Result<Self> {
        let child = Command::new("/proc/self/exe")
            .arg("mix")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the workload")?;
        Ok(Self(child))
    }

    fn wait(&mut self) -> Result<()> {
        let mut line = String::new();
        let stdout = self.0.stdout.take().context("the workload has no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == mix::DONE, "the workload failed");
        Ok(())
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends when its stdin does.
        let _ = self.0.wait();
    }
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
