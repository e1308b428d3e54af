//! SIGTERM while connections come and go as fast as they can: no mini-socket born during the trace
//! is called preexisting because one side of the books closed before the other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Result, anyhow, ensure};
use nix::sys::signal::Signal;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::tracer::{Tracer, Written};

/// Few ports, so that no mini-socket outlives a few connections.
const LOAD: Args = Args { ports: 7, hosts: 1 };
/// Connections that end all preexisting mini-sockets and leave one on each port.
const ROUND: u32 = 14;
/// Connections between two checks of whether to stop.
const PIECE: u32 = 101;
const TIMES: usize = 3;
/// Lines to wait for, so that the load is running.
const SOME: usize = 97;
/// Exit code of a trace that lost something.
const INCOMPLETE: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

pub(crate) fn run(attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    let mut ends = 0;
    let mut load = Load::start(&LOAD)?;
    load.run(ROUND)?;
    for _ in 0..TIMES {
        let stdout = Path::new("/tmp/stopping.json");
        let tracer = Tracer::start(&["trace", "-o", "json", "--attach", attach], stdout)?;
        load.run(ROUND)?;
        let code = while_busy(&mut load, || {
            await_lines(stdout, SOME)?;
            tracer.stop_by(Signal::SIGTERM)
        })?;
        let written = Written::read(stdout)?;
        // With kprobes the kernel may skip a program of ours. That must be reported.
        let skipped = attach == "kprobe" && written.number("/lost/missed").unwrap_or(0) > 0;
        checks.equal("exit code", code, if skipped { INCOMPLETE } else { 0 });
        one(&mut checks, &written, load.netns()?)?;
        ends += written.number("/seen")?;
    }
    checks.end(format!("{ends} ends, stopped {TIMES} times"))
}

fn one(checks: &mut Checks, written: &Written, netns: u64) -> Result<()> {
    let ours = |old: bool| {
        let like = written.events.iter().filter(move |event| {
            event["event"] == "end" && event["netns"] == netns && event["preexisting"] == old
        });
        like.count() as u64
    };
    // The round right after the start ended each preexisting mini-socket.
    let ports = u64::from(LOAD.ports);
    checks.that(ours(true) <= ports, || {
        let (old, last) = (ours(true), last_old(written));
        format!(
            "{old} ends are called preexisting, the last at {last} of {}",
            ours(false)
        )
    });
    let births = written.number("/births/fin-wait-2")? + written.number("/births/time-wait")?;
    let born_and_ended = written.number("/seen")? - written.number("/untracked")?;
    // One per port is alive, and one more may be about to be born.
    checks.that(
        (born_and_ended..=born_and_ended + ports + 1).contains(&births),
        || format!("{births} births and {born_and_ended} ends of them"),
    );
    checks.equal(
        "ends reported",
        written.number("/reported")?,
        written.number("/seen")?,
    );
    let agree = written.summary["agree"].as_bool();
    checks.that(agree != Some(false), || "the books do not agree".to_owned());
    Ok(())
}

/// Index of the last end that is called preexisting.
fn last_old(written: &Written) -> usize {
    let old = |event: &serde_json::Value| event["preexisting"] == true;
    written.events.iter().rposition(old).unwrap_or(0)
}

/// Runs `work` while connections come and go.
fn while_busy<T>(load: &mut Load, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                load.run(PIECE)?;
            }
            anyhow::Ok(())
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        busy.join().map_err(|_| anyhow!("the load panicked"))??;
        done
    })
}

fn await_lines(stdout: &Path, count: usize) -> Result<()> {
    let started = Instant::now();
    while fs::read_to_string(stdout)?.lines().count() < count {
        ensure!(started.elapsed() < PATIENCE, "nothing is traced");
        thread::sleep(POLL);
    }
    Ok(())
}
