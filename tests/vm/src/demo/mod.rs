//! The demo: real connections in network namespaces of this VM, and twtrace at work on them.
//!
//! Two tracers run side by side: `trace`, whose lines are shown as they come, and `record`, whose
//! file then gives the histograms and the figures of the last lines.

mod parts;
mod story;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::checks::Checks;
use crate::namespace::Namespace;
use crate::say;
use crate::tracer::{TWTRACE, Tracer, Written};
pub(crate) use parts::run as load;

const RECORDING: &str = "/tmp/demo.twt";
const LOAD: &str = "/bin/twtrace-vm demo-load";
/// Text of the summary if twtrace and the kernel counted the same.
const AGREE: &str = "kernel counters agree";

/// Shows everything; fails unless the books agree, nothing was lost, and they contain every
/// connection that was made.
pub(crate) fn run() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    say(&format!(
        "Linux {} is up. Natural expiry takes 60 s; the rest happens now.",
        release.trim()
    ));
    for part in parts::PARTS {
        Namespace::make(part.name)?;
    }
    title(&format!("twtrace record {RECORDING} &"));
    let recorder = Tracer::start(&["record", RECORDING], Path::new("/tmp/record.out"))?;
    let trace = trace()?;
    let record_code = recorder.stop()?;

    title(&format!("twtrace report {RECORDING} --hist"));
    let hist = Command::new(TWTRACE)
        .args(["report", RECORDING, "--hist"])
        .status()
        .context("cannot start twtrace report")?;
    title(&format!("twtrace report {RECORDING} --conflicts"));
    let conflicts = Command::new(TWTRACE)
        .args(["report", RECORDING, "--conflicts"])
        .status()
        .context("cannot start twtrace report")?;
    let written = report(&[])?;
    let told = report(&["--conflicts"])?;

    title("what was seen");
    for line in story::lines(&written, &told)? {
        say(&line);
    }
    let mut checks = Checks::default();
    checks.equal("exit code of twtrace trace", trace.code, Some(0));
    checks.equal("exit code of twtrace record", record_code, 0);
    checks.equal("exit code of twtrace report", hist.code(), Some(0));
    checks.equal("exit code of its conflicts", conflicts.code(), Some(0));
    checks.that(trace.agrees, || "the live books do not agree".to_owned());
    balanced(&mut checks, &written)?;
    let all = checks.end(format!("all {} connections", parts::connections()))?;
    say(&format!(
        "agree: twtrace and the kernel counted the same, and {all} are in the books"
    ));
    Ok(())
}

/// How the live trace ended.
struct Trace {
    code: Option<i32>,
    agrees: bool,
}

/// Traces the workload and passes each line on.
fn trace() -> Result<Trace> {
    title(&format!("twtrace trace -c '{LOAD}'"));
    let mut child = Command::new(TWTRACE)
        .args(["trace", "-c", LOAD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {TWTRACE}"))?;
    let stdout = child.stdout.take().context("twtrace has no stdout")?;
    let mut agrees = false;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        agrees |= line.contains(AGREE);
        say(&line);
    }
    let code = child.wait()?.code();
    Ok(Trace { code, agrees })
}

/// The recording as JSON.
fn report(more: &[&str]) -> Result<Written> {
    let json = Path::new("/tmp/demo.json");
    let status = Command::new(TWTRACE)
        .args(["report", RECORDING, "-o", "json"])
        .args(more)
        .stdout(fs::File::create(json)?)
        .status()
        .context("cannot start twtrace report")?;
    let written = Written::read(json);
    written.with_context(|| format!("twtrace report -o json ended with {status}"))
}

/// Everything that was made was seen, and nothing was lost.
fn balanced(checks: &mut Checks, written: &Written) -> Result<()> {
    checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
    checks.equal(
        "complete",
        written.summary["complete"].as_bool(),
        Some(true),
    );
    for (reason, count) in written.totals()? {
        checks.equal(&reason, count, parts::ends(&reason));
    }
    let refused = written.number("/refusals/syns")?;
    checks.equal("SYNs refused", refused, parts::syns_refused());
    let overflows = written.number("/overflows/seen")?;
    checks.equal("overflows", overflows, parts::overflows());
    Ok(())
}

fn title(text: &str) {
    say(&format!("\n── {text}"));
}
