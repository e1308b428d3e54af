//! Many network namespaces with live TIME_WAIT sockets: what attaching, memory and a frame of `top`
//! cost, and whether each namespace has its own totals.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::checks::Checks;
use crate::guests::{CONNECTIONS, Guest};
use crate::maps;
use crate::say;
use crate::tracer::{Tracer, Written};

/// For the suite. `twtrace-vm crowd` takes any number.
const NAMESPACES: u32 = 307;
const STDOUT: &str = "/tmp/crowd.json";
/// The usual soft limit of login shells and services.
const OPEN_FILES: &str = "1024";
/// Loose, because the VM shares its CPUs with others. The point is that cost does not scale with
/// the largest possible number of namespaces.
const MOST_ATTACH: Duration = Duration::from_secs(10);
const MOST_GLANCE: Duration = Duration::from_millis(500);
/// How each frame begins.
const FRAME: &str = " twtrace top";
const FRAMES: usize = 5;
/// The threads that survey: one schedules, the other enters the namespaces.
const SURVEYORS: [&str; 2] = ["lookout", "abroad"];
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_RSS_KIB: u64 = 32 * 1024;
const MOST_COUNTERS_KIB: u64 = 4 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(default_value_t = 1_000)]
    namespaces: u32,
    /// fentry or kprobe.
    #[arg(long, default_value = "fentry")]
    attach: String,
}

pub(crate) fn command(args: &Args) -> Result<()> {
    say(&crowd(args.namespaces, &args.attach)?);
    Ok(())
}

pub(crate) fn run(attach: &str) -> Result<String> {
    crowd(NAMESPACES, attach)
}

fn crowd(namespaces: u32, attach: &str) -> Result<String> {
    open_files()?;
    let started = Instant::now();
    let guests = (0..namespaces)
        .map(Guest::new)
        .collect::<Result<Vec<_>>>()?;
    let made_in = started.elapsed();
    let mut checks = Checks::default();
    let totals = totals(&mut checks, &guests, attach)?;
    let (frame, survey) = glance(&mut checks, &guests, attach)?;
    guests.into_iter().try_for_each(Guest::leave)?;
    checks.end(format!(
        "{namespaces} namespaces, made in {:.0} s: {totals}, {} ms of CPU a frame of top, {:.1} s \
         beside them to survey all once",
        made_in.as_secs_f64(),
        frame.as_millis(),
        survey.as_secs_f64(),
    ))
}

/// With a higher limit the test would not notice too many open files.
fn open_files() -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    ensure!(soft == Some(OPEN_FILES), "{soft:?} open files are allowed");
    Ok(())
}

/// Namespaces differ in their number of connections. Each makes its connections twice: the second
/// time ends the TIME_WAIT sockets of the first.
fn totals(checks: &mut Checks, guests: &[Guest], attach: &str) -> Result<String> {
    let args = ["trace", "-o", "json", "--attach", attach];
    let tracer = Tracer::start(&args, Path::new(STDOUT))?;
    let attached_in = tracer.attached_in;
    let mut expected = BTreeMap::new();
    for (guest, connections) in guests.iter().zip((1..=CONNECTIONS).cycle()) {
        guest.connect(connections)?;
        guest.connect(connections)?;
        expected.insert(guest.namespace.inode()?, u64::from(connections));
    }
    let rss = tracer.rss_kib()?;
    let [all, counters] = maps::charged_kib()?;
    checks.equal("exit code", tracer.stop()?, 0);
    let written = Written::read(Path::new(STDOUT))?;

    let made: u64 = expected.values().sum();
    let births = written.number("/births/fin-wait-2")? + written.number("/births/time-wait")?;
    checks.equal("births", births, 2 * made);
    let mut ends = BTreeMap::new();
    for event in written.events.iter().filter(|one| one["event"] == "end") {
        let netns = event["netns"].as_u64().context("an end without netns")?;
        let reopened = event["reason"] == "syn-reopened" && event["preexisting"] == false;
        *ends.entry(netns).or_insert(0) += u64::from(reopened);
    }
    let wrong = expected
        .iter()
        .filter(|&(netns, made)| ends.get(netns) != Some(made));
    checks.equal("namespaces with wrong totals", wrong.count(), 0);
    compared(checks, &written, &expected)?;
    checks.that(attached_in < MOST_ATTACH, || {
        "attaching took too long".to_owned()
    });
    checks.that(rss < MOST_RSS_KIB, || format!("RSS {rss} KiB is too much"));
    checks.that(counters <= MOST_COUNTERS_KIB, || {
        format!("{counters} KiB of counters are too much")
    });
    Ok(format!(
        "attached in {} ms, RSS {rss} KiB, maps {all} KiB, of that counters {counters} KiB",
        attached_in.as_millis()
    ))
}

/// The kernel's counters were read in each namespace and agree. Linux 5.10 counts when the timer
/// fires, so no counter has moved there and none is compared.
fn compared(checks: &mut Checks, written: &Written, expected: &BTreeMap<u64, u64>) -> Result<()> {
    let rows = written.summary["counters"].as_array().into_iter().flatten();
    let agree = rows.filter(|row| row["name"] == "TW+TWKilled" && row["agree"] == true);
    let known = agree.filter(|row| {
        let netns = row["netns"].as_u64();
        netns.is_some_and(|netns| expected.contains_key(&netns))
    });
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let moved = match release.starts_with("5.10.") {
        true => 0,
        false => expected.len(),
    };
    checks.equal("namespaces that agree", known.count(), moved);
    checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
    Ok(())
}

/// CPU time per frame of `top` after something has happened in each namespace, and CPU time of the
/// threads that list and survey the namespaces meanwhile.
fn glance(checks: &mut Checks, guests: &[Guest], attach: &str) -> Result<(Duration, Duration)> {
    let file = Path::new("/tmp/crowd.txt");
    let tracer = Tracer::start(&["top", "--batch", "--attach", attach], file)?;
    guests.iter().try_for_each(|guest| guest.connect(1))?;
    let frames = || anyhow::Ok(fs::read_to_string(file)?.matches(FRAME).count());
    let surveying = || -> Result<Duration> {
        let each = SURVEYORS.iter().map(|name| tracer.cpu_of(name));
        each.sum()
    };
    let own = || anyhow::Ok(tracer.cpu()?.saturating_sub(surveying()?));
    let (first, cpu) = (frames()?, own()?);
    let started = Instant::now();
    let mut more = 0;
    while more < FRAMES && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
        more = frames()? - first;
    }
    checks.that(more >= FRAMES, || format!("only {more} frames came"));
    let each = own()?.saturating_sub(cpu) / u32::try_from(more.max(1))?;
    let survey = surveying()?;
    let threads = tracer.threads()?;
    checks.that(each < MOST_GLANCE, || {
        format!(
            "a frame takes {} ms of CPU; the threads, since the start: {threads:?}",
            each.as_millis()
        )
    });
    checks.equal("exit code of top", tracer.stop()?, 0);
    Ok((each, survey))
}
