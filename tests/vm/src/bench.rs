//! Cost of a connection with and without twtrace, in a VM whose clock counts instructions; time to
//! attach, in one whose clock does not; and a recording of such a load.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::load::{self, Load};
use crate::loaded;
use crate::say;
use crate::served::Served;
use crate::tracer::Tracer;

/// Which rows to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure only these rows, by name.
    rows: Vec<String>,
}

impl Args {
    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }
}

/// Each client port comes back 400 connections later.
const LOAD: load::Args = load::Args {
    ports: 400,
    hosts: 1,
};
const WARM_UP: u32 = 500;
const RUNS: usize = 4;
const CONNECTIONS: u32 = 2_000;
const STARTS: usize = 5;

/// Enough client ports that [`refusals`] reuses none.
const FRESH: load::Args = load::Args {
    ports: 20_000,
    hosts: 1,
};
/// Refused SYNs per run.
const SYNS: u32 = 20_000;
/// Tracers that refusals are measured with, in formats that print little.
const WITH: &[(&str, &[&str])] = &[
    ("hist", &["hist"]),
    ("conflicts", &["conflicts", "-o", "json"]),
    (
        "conflicts, kprobe",
        &["conflicts", "-o", "json", "--attach", "kprobe"],
    ),
];

/// Name, arguments and where stdout goes.
const TRACERS: &[(&str, &[&str], &str)] = &[
    ("hist", &["hist"], "/dev/null"),
    ("trace, /dev/null", &["trace", "-o", "json"], "/dev/null"),
    ("trace, file", &["trace", "-o", "json"], "/tmp/bench.json"),
    ("trace text, /dev/null", &["trace"], "/dev/null"),
    ("record", &["record", "/tmp/bench.twtrace"], "/dev/null"),
    ("top", &["top", "--batch"], "/dev/null"),
    ("hist, kprobe", &["hist", "--attach", "kprobe"], "/dev/null"),
    ("hist, by cgroup", &["hist", "--by", "cgroup"], "/dev/null"),
    // Filters on a port that nobody uses.
    ("hist, filter", &["hist", "-L", "1"], "/dev/null"),
    ("trace, filter", &["trace", "-L", "1"], "/dev/null"),
];

/// Instructions per connection, for the host: /out/cost.json.
pub(crate) fn cost(wanted: &Args) -> Result<()> {
    let mut results = Map::new();
    // Let the kernel's work after boot finish. Sleeping is cheap: this clock skips idle time.
    thread::sleep(Duration::from_secs(30));
    results.insert("without".to_owned(), without()?);
    for (name, args, stdout) in TRACERS.iter().filter(|row| wanted.wants(row.0)) {
        let mut load = Load::start(&LOAD)?;
        let tracer = Tracer::start(args, Path::new(stdout))?;
        let before = tracer.cpu()?;
        let ns = median_ns(&mut load)?;
        let cpu = tracer.cpu()?.saturating_sub(before);
        let rss = tracer.rss_kib()?;
        programs(name, &mut load)?;
        let code = tracer.stop()?;
        say(&format!("{name}: {ns} (exit code {code}, RSS {rss} KiB)"));
        results.insert(
            (*name).to_owned(),
            json!({ "ns": ns, "cpu_ns": per_event(cpu), "rss_kib": rss, "code": code }),
        );
    }
    results.insert("without, again".to_owned(), without()?);
    write("/out/cost.json", results)
}

/// Breaks the cost down by BPF program: runs per connection, and time per run.
fn programs(name: &str, load: &mut Load) -> Result<()> {
    const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    fs::write(STATS, "1")?;
    load.run(CONNECTIONS)?;
    fs::write(STATS, "0")?;
    for program in loaded::programs()? {
        let runs = program.run_count();
        if runs != 0 {
            let each = program.run_time().as_nanos() / u128::from(runs);
            let program = program.name_as_str().unwrap_or_default();
            let often = runs as f64 / f64::from(CONNECTIONS);
            say(&format!("{name}: {program}: {often:.2} times, {each} each"));
        }
    }
    Ok(())
}

fn without() -> Result<Value> {
    let ns = median_ns(&mut Load::start(&LOAD)?)?;
    say(&format!("without: {ns}"));
    Ok(json!({ "ns": ns }))
}

/// The median of the runs, in ns per connection.
fn median_ns(load: &mut Load) -> Result<u64> {
    load.run(WARM_UP)?;
    median(|| Ok(load.run(CONNECTIONS)? / CONNECTIONS))
}

fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<u64> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(u64::try_from(run()?.as_nanos())?);
    }
    runs.sort_unstable();
    Ok(u64::midpoint(runs[RUNS / 2 - 1], runs[RUNS / 2]))
}

/// Instructions per refused SYN, and per connection that meets no TIME_WAIT, for the host:
/// /out/refusals.json.
pub(crate) fn refusals(wanted: &Args) -> Result<()> {
    let mut results = Map::new();
    thread::sleep(Duration::from_secs(30));
    results.insert("without".to_owned(), both("without")?);
    for (name, args) in WITH.iter().filter(|row| wanted.wants(row.0)) {
        let tracer = Tracer::start(args, Path::new("/dev/null"))?;
        results.insert((*name).to_owned(), both(name)?);
        tracer.stop()?;
    }
    write("/out/refusals.json", results)
}

fn both(name: &str) -> Result<Value> {
    let connection = median_ns(&mut Load::start(&FRESH)?)?;
    let mut flood = Served::start(&["flood"])?;
    let mut run = || {
        let started = Instant::now();
        flood.order(SYNS)?;
        flood.answer()?;
        Ok(started.elapsed() / SYNS)
    };
    run()?;
    let syn = median(run)?;
    say(&format!("{name}: {connection} a connection, {syn} a SYN"));
    Ok(json!({ "connection": connection, "syn": syn }))
}

/// Number of connections in the recording.
const RECORDED: u32 = 100_003;

/// A load in which each connection ends one mini-socket and leaves one, recorded for the host:
/// /out/load.twtrace, and their number in /out/recording.json.
pub(crate) fn recording() -> Result<()> {
    let mut load = Load::start(&FRESH)?;
    load.run(FRESH.ports.into())?;
    let tracer = Tracer::start(&["record", "/out/load.twtrace"], Path::new("/dev/null"))?;
    load.run(RECORDED)?;
    let code = tracer.stop()?;
    ensure!(code == 0, "record ended with exit code {code}");
    let mut results = Map::new();
    results.insert("connections".to_owned(), json!(RECORDED));
    write("/out/recording.json", results)
}

fn per_event(cpu: Duration) -> f64 {
    let runs = u32::try_from(RUNS).unwrap_or(u32::MAX);
    cpu.as_secs_f64() * 1e9 / f64::from(WARM_UP + CONNECTIONS * runs)
}

/// Commands whose time to attach is measured.
const STARTED: [&[&str]; 3] = [&["hist"], &["trace"], &["hist", "--attach", "kprobe"]];

/// Times from exec to attached, for the host: /out/attach.json.
pub(crate) fn attach(wanted: &Args) -> Result<()> {
    let mut results = Map::new();
    for args in STARTED.iter().filter(|args| wanted.wants(&args.join(" "))) {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let tracer = Tracer::start(args, Path::new("/dev/null"))?;
            times.push(tracer.attached_in);
            tracer.kill9()?;
        }
        times.sort_unstable();
        let median = times[STARTS / 2].as_secs_f64();
        say(&format!("{}: {median:.3} s", args.join(" ")));
        results.insert(args.join(" "), json!(median));
    }
    write("/out/attach.json", results)
}

fn write(path: &str, results: Map<String, Value>) -> Result<()> {
    fs::write(path, Value::Object(results).to_string())
        .with_context(|| format!("cannot write {path}"))
}
