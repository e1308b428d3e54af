//! No end is missed while a namespace with thousands of mini-sockets exits and SYNs end others at
//! the same time. Where the kernel preempts code with bottom halves disabled (PREEMPT_RT since
//! 6.18), one end may interrupt another.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::tracer::{Tracer, Written};

const STDOUT: &str = "/tmp/ends.json";
const ROUNDS: u32 = 3;
/// Primes. The first are ended by later connections, the others by the exit of their namespace.
const CONNECTIONS: u32 = 6_007;
const LEFT: u32 = 4_001;
const STAYING: Args = Args {
    ports: 97,
    hosts: 1,
};
const LEAVING: Args = Args {
    ports: 4_096,
    hosts: 1,
};
/// The kernel cleans up namespaces in the background.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(attach: &str) -> Result<String> {
    let args = ["trace", "-o", "json", "--attach", attach];
    let mut staying = Load::start(&STAYING)?;
    let tracer = Tracer::start(&args, Path::new(STDOUT))?;
    for _ in 0..ROUNDS {
        let mut leaving = Load::start(&LEAVING)?;
        leaving.run(LEFT)?;
        staying.order(CONNECTIONS)?;
        drop(leaving);
        staying.wait()?;
    }
    let alive = staying.mini_sockets()?;
    let births = u64::from(ROUNDS * (CONNECTIONS + LEFT));
    let started = Instant::now();
    while reported()? < births - alive && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
    }
    let code = tracer.stop()?;
    let written = Written::read(Path::new(STDOUT))?;

    let mut checks = Checks::default();
    checks.equal("exit code", code, 0);
    let seen = written.number("/births/fin-wait-2")? + written.number("/births/time-wait")?;
    checks.equal("births", seen, births);
    checks.equal("ends", written.number("/seen")?, births - alive);
    checks.equal("ends of unseen births", written.number("/untracked")?, 0);
    checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
    let by = |wanted: &str| {
        let of = |event: &&serde_json::Value| event["reason"] == wanted;
        written.events.iter().filter(of).count()
    };
    checks.equal(
        "by their namespace",
        by("netns-exit"),
        usize::try_from(ROUNDS * LEFT)?,
    );
    checks.end(format!(
        "{births} births, programs skipped {} times",
        written.summary["lost"]["missed"]
    ))
}

/// Ends written so far.
fn reported() -> Result<u64> {
    let text = fs::read_to_string(STDOUT)?;
    let ends = text
        .lines()
        .filter(|line| line.contains(r#""event":"end""#));
    Ok(u64::try_from(ends.count())?)
}
