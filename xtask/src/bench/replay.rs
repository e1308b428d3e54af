//! What user space takes on this machine for a recorded load. Tracing may be refused here; a
//! recording has the same records, and what is shown of them takes the same work.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Deserialize;

use super::read;

/// What is run on the recording.
const REPLAYED: [&[&str]; 2] = [&["top", "--batch", "--replay"], &["report", "-o", "json"]];
const RUNS: usize = 5;

#[derive(Debug, Deserialize)]
struct Recording {
    connections: u32,
}

/// CPU seconds per connection by command line, the median of some runs.
pub(super) fn all(twtrace: &Path, files: &Path) -> Result<BTreeMap<String, f64>> {
    let Recording { connections } = read(files, "recording")?;
    let file = files.join("load.twtrace");
    let mut all = BTreeMap::new();
    for args in REPLAYED {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            times.push(cpu(Command::new(twtrace).args(args).arg(&file))?);
        }
        times.sort_unstable();
        let each = times[RUNS / 2].as_secs_f64() / f64::from(connections);
        all.insert(args.join(" "), each);
    }
    Ok(all)
}

/// CPU time of a command from its exec to its end.
fn cpu(command: &mut Command) -> Result<Duration> {
    let before = children()?;
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(children()?.saturating_sub(before))
}

/// CPU time of all children that have ended.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot tell CPU times")?;
    let us = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(us.unsigned_abs()))
}
