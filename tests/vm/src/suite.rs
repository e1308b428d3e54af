//! All tests in one VM, one after another.

use std::fmt::Write as _;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::say;
use crate::stall::{self, Watch};
use crate::test::{
    births, books, check, conflicts, contest, crowd, doctor, ends, exhaust, filters, flood,
    footprint, host, interrupt, kill9, lacking, last_words, left_open, mutants, older, owners,
    ports, privileges, session, slow, soak, stopping, top,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose name contains this.
    #[arg(default_value = "")]
    only: String,
    /// K/N: of the tests shared among kernels, run only the K-th of N shares, counted from 0.
    #[arg(long, value_name = "K/N")]
    share: Option<Share>,
    /// Run only this part.
    #[arg(long)]
    part: Option<Part>,
}

/// A subset of the tests.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// Enough to trust a change: tests that take seconds, and `check` once.
    Quick,
    /// Tests that may depend on the number of CPUs.
    Cpus,
    /// Tests that preemption may break, attached in the way twtrace chooses.
    Realtime,
}

/// One of several shares of the tests.
#[derive(Debug, Clone, Copy)]
struct Share {
    nth: usize,
    of: usize,
}

type Test = fn(&str) -> Result<String>;

/// Name, test and its argument (how to attach).
const TESTS: &[(&str, Test, &str)] = &[
    ("check, fentry", check::run, "fentry"),
    ("check, kprobe", check::run, "kprobe"),
    ("check, kill -9", host::run, "fentry"),
    ("check on wrong kernels", mutants::run, "fentry"),
    ("100,003 connections, fentry", books::churn, "fentry"),
    ("100,003 connections, kprobe", books::churn, "kprobe"),
    ("100,003 connections, tiny ring", books::tiny_ring, "fentry"),
    (
        "births in the midst of others, fentry",
        births::run,
        "fentry",
    ),
    (
        "births in the midst of others, kprobe",
        births::run,
        "kprobe",
    ),
    ("ends in the midst of others, fentry", ends::run, "fentry"),
    ("ends in the midst of others, kprobe", ends::run, "kprobe"),
    ("recording", books::recording, "fentry"),
    ("filters, fentry", filters::run, "fentry"),
    ("filters, kprobe", filters::run, "kprobe"),
    ("owners, fentry", owners::live, "fentry"),
    ("owners, kprobe", owners::live, "kprobe"),
    ("owners in a recording", owners::recorded, "fentry"),
    ("conflicts behind a NAT, fentry", conflicts::run, "fentry"),
    ("conflicts behind a NAT, kprobe", conflicts::run, "kprobe"),
    ("last bytes with a FIN, fentry", last_words::run, "fentry"),
    ("last bytes with a FIN, kprobe", last_words::run, "kprobe"),
    ("connections left open, fentry", left_open::run, "fentry"),
    ("connections left open, kprobe", left_open::run, "kprobe"),
    ("1,000,000 refused SYNs", flood::run, "fentry"),
    (
        "200,003 calls without a port, fentry",
        exhaust::run,
        "fentry",
    ),
    (
        "200,003 calls without a port, kprobe",
        exhaust::run,
        "kprobe",
    ),
    ("a crowd without a port, kprobe", exhaust::crowd, "kprobe"),
    ("sockets from before, fentry", ports::seeding, "fentry"),
    ("old ones that pass, fentry", older::filtered, "fentry"),
    ("old ones that pass, kprobe", older::filtered, "kprobe"),
    ("no room for marks, fentry", older::no_room, "fentry"),
    ("two CPUs at one, fentry", contest::run, "fentry"),
    ("two CPUs at one, kprobe", contest::run, "kprobe"),
    ("SIGTERM under load, fentry", stopping::run, "fentry"),
    ("SIGTERM under load, kprobe", stopping::run, "kprobe"),
    ("exhausted destination, fentry", ports::exhaustion, "fentry"),
    ("exhausted destination, kprobe", ports::exhaustion, "kprobe"),
    ("SIGINT at once", interrupt::run, "fentry"),
    ("slow reader, --duration", slow::duration, "fentry"),
    ("slow reader, SIGTERM", slow::sigterm, "fentry"),
    ("slow reader, recording", slow::recording, "fentry"),
    ("privileges kept", privileges::kept, "fentry"),
    ("privileges of a command", privileges::user, "fentry"),
    ("doctor", doctor::run, "fentry"),
    ("doctor, elsewhere", doctor::elsewhere, "fentry"),
    ("a function lacking", lacking::run, "fentry"),
    ("library session, fentry", session::run, "fentry"),
    ("library session, kprobe", session::run, "kprobe"),
    ("kill -9, fentry", kill9::run, "fentry"),
    ("kill -9, kprobe", kill9::run, "kprobe"),
    ("frames of top", top::frames, "fentry"),
    ("owners in top, fentry", top::owners, "fentry"),
    ("owners in top, kprobe", top::owners, "kprobe"),
    ("soak of top", top::soak, "fentry"),
    ("soak of all, fentry", soak::run, "fentry"),
    ("soak of all, kprobe", soak::run, "kprobe"),
    ("a crowd of namespaces", crowd::run, "fentry"),
    ("footprint, fentry", footprint::run, "fentry"),
    ("footprint, kprobe", footprint::run, "kprobe"),
    ("programs, fentry", footprint::programs, "fentry"),
    ("programs, kprobe", footprint::programs, "kprobe"),
];

/// For PREEMPT_RT.
const REALTIME: &[(&str, Test, &str)] = &[
    ("check", check::run, "auto"),
    ("births in the midst of others", births::run, "auto"),
    ("ends in the midst of others", ends::run, "auto"),
    ("last bytes with a FIN", last_words::run, "auto"),
];

/// Tests that depend on twtrace much more than on the kernel: with several kernels, each runs a
/// share of them.
const SHARED: &[&str] = &[
    "check on wrong kernels",
    "soak of all, kprobe",
    "a crowd of namespaces",
    "100,003 connections, fentry",
    "100,003 connections, kprobe",
    "100,003 connections, tiny ring",
    "soak of top",
    "slow reader, --duration",
    "slow reader, SIGTERM",
    "slow reader, recording",
    "two CPUs at one, kprobe",
    "filters, kprobe",
    "ends in the midst of others, fentry",
    "ends in the midst of others, kprobe",
    "births in the midst of others, kprobe",
    "old ones that pass, kprobe",
    "no room for marks, fentry",
    "SIGTERM under load, kprobe",
    "privileges kept",
    "privileges of a command",
    "owners in top, kprobe",
    "library session, fentry",
    "library session, kprobe",
    "SIGINT at once",
    "sockets from before, fentry",
    "1,000,000 refused SYNs",
    "soak of all, fentry",
    "200,003 calls without a port, kprobe",
    "footprint, kprobe",
    "owners, kprobe",
    "exhausted destination, kprobe",
];

/// Tests that show within minutes whether tracing works.
const QUICK: &[&str] = &[
    "check, fentry",
    "check, kill -9",
    "recording",
    "owners, fentry",
    "owners in a recording",
    "conflicts behind a NAT, fentry",
    "last bytes with a FIN, fentry",
    "last bytes with a FIN, kprobe",
    "connections left open, fentry",
    "library session, fentry",
    "two CPUs at one, kprobe",
    "SIGTERM under load, fentry",
    "exhausted destination, fentry",
    "SIGINT at once",
    "privileges kept",
    "doctor",
    "doctor, elsewhere",
    "a function lacking",
    "kill -9, fentry",
    "frames of top",
    "programs, fentry",
    "programs, kprobe",
];

/// Tests in which CPUs may interfere with each other.
const CPUS: &[&str] = &[
    "check, fentry",
    "births in the midst of others, fentry",
    "births in the midst of others, kprobe",
    "recording",
    "1,000,000 refused SYNs",
    "soak of all, fentry",
    "kill -9, fentry",
];

/// Maximum runs of a test whose failures coincide with stalls of the VM.
const TRIES: u32 = 3;

/// Results for the host, one per line: verdict, name and detail, separated by tabs.
const RESULTS: &str = "/out/results";

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut results = String::new();
    let mut failed = 0;
    let watch = Watch::start()?;
    let tests = match args.part {
        Some(Part::Realtime) => REALTIME,
        _ => TESTS,
    };
    for (name, test, attach) in tests {
        let of_part = match args.part {
            Some(Part::Quick) => QUICK.contains(name),
            Some(Part::Cpus) => CPUS.contains(name),
            Some(Part::Realtime) | None => true,
        };
        if !name.contains(&args.only) || !of_part {
            continue;
        }
        if args.share.is_some_and(|share| !share.has(name)) {
            say(&format!("{name}: left to another kernel"));
            continue;
        }
        let started = Instant::now();
        let result = in_motion(|| watch.longest(), name, || test(attach));
        let seconds = started.elapsed().as_secs_f64();
        let (verdict, detail) = match &result {
            Ok((detail, None)) => ("pass", detail.clone()),
            Ok((detail, Some(before))) => ("again", format!("{detail} (before: {before})")),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        failed += u32::from(result.is_err());
        say(&format!("{verdict}  {name} ({seconds:.1} s): {detail}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            results,
            "{verdict}\t{name}\t{}",
            detail.replace(['\t', '\n'], " ")
        );
        fs::write(RESULTS, &results).with_context(|| format!("cannot write {RESULTS}"))?;
    }
    ensure!(!results.is_empty(), "no test is called {}", args.only);
    ensure!(failed == 0, "{failed} tests failed");
    Ok(())
}

/// Runs a test. If it fails after a stall of the VM that is long enough for TCP to retransmit, it
/// runs again, at most [`TRIES`] times in all. Returns the detail of a success, and why the test
/// failed before it.
fn in_motion(
    stood: impl Fn() -> Duration,
    name: &str,
    mut test: impl FnMut() -> Result<String>,
) -> Result<(String, Option<String>)> {
    let mut before = None;
    let mut left = TRIES;
    loop {
        left -= 1;
        stood();
        let result = test();
        let stood = stood();
        match result {
            Err(why) if left > 0 && stood >= stall::LONG => {
                let why = format!("{why:#}; the VM stood still for {} ms", stood.as_millis());
                say(&format!("again: {name}: {why}"));
                before = Some(why);
            }
            _ => return result.map(|detail| (detail, before)),
        }
    }
}

impl Share {
    /// Whether this share includes a test.
    fn has(self, name: &str) -> bool {
        let shared = SHARED.iter().position(|shared| *shared == name);
        shared.is_none_or(|at| at % self.of == self.nth)
    }
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (nth, of) = text.split_once('/').context("it must be like 0/3")?;
        let share = Self {
            nth: nth.parse()?,
            of: of.parse()?,
        };
        ensure!(share.nth < share.of, "there is no such share");
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failure_counts_unless_the_vm_stood_still() {
        let failing = |stood: Duration| {
            let mut tries = 0;
            let result = in_motion(
                || stood,
                "a test",
                || {
                    tries += 1;
                    bail!("wrong");
                },
            );
            assert_eq!(result.unwrap_err().to_string(), "wrong");
            tries
        };
        assert_eq!(failing(Duration::ZERO), 1);
        assert_eq!(failing(stall::LONG), TRIES);
    }

    #[test]
    fn a_second_try_is_told() {
        let mut results = vec![Ok("right".to_owned()), Err(anyhow::anyhow!("wrong"))];
        let told = in_motion(|| stall::LONG, "a test", || results.pop().unwrap()).unwrap();
        let before = "wrong; the VM stood still for 200 ms".to_owned();
        assert_eq!(told, ("right".to_owned(), Some(before)));
    }

    #[test]
    fn each_test_is_in_some_share() {
        for (name, ..) in TESTS {
            let shares = (0..4).map(|nth| format!("{nth}/4").parse::<Share>().unwrap());
            let runs = shares.filter(|share| share.has(name)).count();
            assert_eq!(runs, if SHARED.contains(name) { 1 } else { 4 }, "{name}");
        }
        assert!("4/4".parse::<Share>().is_err());
    }

    #[test]
    fn choices_are_of_tests_that_there_are() {
        for chosen in SHARED.iter().chain(QUICK).chain(CPUS) {
            assert!(TESTS.iter().any(|(name, ..)| name == chosen), "{chosen}");
        }
    }
}
