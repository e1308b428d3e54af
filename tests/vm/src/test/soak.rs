//! Everything at once for a long time: connections as fast as the CPUs make them, forged SYNs,
//! namespaces that come and go. twtrace's state stays bounded, and its books are right.

use std::io::{BufRead as _, BufReader, PipeReader, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::checks::Checks;
use crate::guests;
use crate::load::{self, Load};
use crate::maps;
use crate::say;
use crate::served::Served;
use crate::tracer::{Tracer, Written};

/// Connections per load and round; a prime.
const CONNECTIONS: u32 = 2_003;
/// SYNs per round; a prime.
const SYNS: u32 = 4_001;
/// Run at least this many rounds, however long they take.
const FEWEST_ROUNDS: u32 = 6;
/// Room for the records of a round.
const RING: &str = "4194304";
/// Exit code of a trace that did not report everything: refusals beyond the rate.
const INCOMPLETE: i32 = 3;
const SOCKETS: &str = "32768";
/// Far below what the flood sends.
const REFUSALS: &str = "500";
/// How much more memory the allocator may take after the first third.
const MORE_KIB: u64 = 2 * 1024;
/// The kernel cleans up namespaces in the background.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports are reused within every round.
const LOAD: load::Args = load::Args {
    ports: 1_499,
    hosts: 1,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
    /// Network namespaces at a time.
    #[arg(long, default_value_t = 200)]
    namespaces: u32,
    /// fentry or kprobe.
    #[arg(long, default_value = "fentry")]
    attach: String,
}

pub(crate) fn command(args: &Args) -> Result<()> {
    say(&soak(args)?);
    Ok(())
}

/// A short soak.
pub(crate) fn run(attach: &str) -> Result<String> {
    soak(&Args {
        seconds: 25,
        namespaces: 29,
        attach: attach.to_owned(),
    })
}

fn soak(args: &Args) -> Result<String> {
    let (from_twtrace, to_us) = pipe()?;
    let command = [
        &["trace", "-o", "json", "--attach", &args.attach][..],
        &["--ring-bytes", RING, "--max-sockets", SOCKETS],
        &["--max-refusals", REFUSALS],
    ];
    let tracer = Tracer::with_stdout(&command.concat(), to_us.into())?;
    let lines = Lines::read(from_twtrace);
    let mut work = Work::start(args)?;
    let mut checks = Checks::default();
    let limit = Duration::from_secs(args.seconds);
    let started = Instant::now();
    let mut warm = None;
    while (started.elapsed() < limit || work.rounds < FEWEST_ROUNDS) && checks.all_hold() {
        work.round()?;
        work.look(&mut checks)?;
        if started.elapsed() >= limit / 3 && work.rounds >= FEWEST_ROUNDS / 3 {
            let rss = tracer.rss_kib()?;
            let warm = *warm.get_or_insert(rss);
            checks.that(rss <= warm + MORE_KIB, || {
                format!("RSS grew from {warm} to {rss} KiB by round {}", work.rounds)
            });
        }
    }
    work.last_guests_leave(&lines)?;
    work.look(&mut checks)?;
    let rss = tracer.rss_kib()?;
    let before = work.alive()?;
    let code = tracer.stop()?;
    let written = lines.end()?;
    work.books(&mut checks, &written, [before, work.alive()?])?;
    checks.that([0, INCOMPLETE].contains(&code), || {
        format!("exit code {code}")
    });
    checks.end(format!(
        "{} births, {} SYNs refused, {} namespaces in {} rounds and {:.0} s; RSS {rss} KiB",
        work.births,
        work.refused,
        work.came,
        work.rounds,
        started.elapsed().as_secs_f64()
    ))
}

/// The workloads, and what they have made.
struct Work {
    loads: Vec<Load>,
    flood: Served,
    guests: Option<Served>,
    /// New guests per round.
    come: u32,
    rounds: u32,
    births: u64,
    refused: u64,
    came: u64,
    /// Mini-sockets of the present guests.
    of_guests: u64,
}

impl Work {
    fn start(args: &Args) -> Result<Self> {
        let cpus = 0..thread::available_parallelism()?.get();
        let loads = cpus.map(|_| Load::start(&LOAD)).collect::<Result<_>>()?;
        let flood = Served::start(&["flood"])?;
        Ok(Self {
            loads,
            // One per connection; refused SYNs keep them alive.
            births: flood.mini_sockets()?,
            flood,
            guests: Some(Served::start(&["guests", &args.namespaces.to_string()])?),
            come: args.namespaces.div_ceil(10),
            rounds: 0,
            refused: 0,
            came: 0,
            of_guests: 0,
        })
    }

    /// Starts all workloads at once and waits for them.
    fn round(&mut self) -> Result<()> {
        let guests = self.guests.as_mut().context("the guests have left")?;
        guests.order(self.come)?;
        self.flood.order(SYNS)?;
        for load in &mut self.loads {
            load.order(CONNECTIONS)?;
        }
        for load in &mut self.loads {
            load.wait()?;
            self.births += u64::from(CONNECTIONS);
        }
        self.of_guests = guests.answer()?;
        self.refused = self.flood.answer()?;
        self.births += u64::from(self.come * guests::CONNECTIONS);
        self.came += u64::from(self.come);
        self.rounds += 1;
        Ok(())
    }

    /// Mini-sockets alive now, except in namespaces that are being cleaned up.
    fn alive(&self) -> Result<u64> {
        let loads = self.loads.iter().map(Load::population);
        let alive = loads.sum::<Result<u64>>()? + self.flood.mini_sockets()?;
        Ok(alive + self.of_guests)
    }

    /// No state is kept for mini-sockets that have ended. Those that end between the two counts do
    /// no harm.
    fn look(&self, checks: &mut Checks) -> Result<()> {
        let going = match self.guests {
            Some(_) => 2 * u64::from(self.come * guests::CONNECTIONS),
            None => 0,
        };
        let alive = self.alive()?;
        let kept = maps::occupied()?;
        checks.that(kept <= alive + going, || {
            format!(
                "{kept} mini-sockets are kept in round {}, {alive} are alive",
                self.rounds
            )
        });
        Ok(())
    }

    /// Removes the guests and waits until the ends of all their mini-sockets have been reported.
    fn last_guests_leave(&mut self, lines: &Lines) -> Result<()> {
        drop(self.guests.take());
        self.of_guests = 0;
        let started = Instant::now();
        while lines.ends() + self.alive()? < self.births && started.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// `alive`: mini-sockets before and after the end of the trace.
    fn books(&self, checks: &mut Checks, written: &Written, alive: [u64; 2]) -> Result<()> {
        let number = |path| written.number(path);
        let births = number("/births/fin-wait-2")? + number("/births/time-wait")?;
        checks.equal("births", births, self.births);
        let seen = number("/seen")?;
        let [before, after] = alive.map(|alive| self.births.saturating_sub(alive));
        checks.that((before..=after).contains(&seen), || {
            format!("{seen} ends seen, not {before} to {after}")
        });
        checks.equal("ends reported", number("/reported")?, seen);
        for path in ["/lost/ring", "/lost/map", "/untracked", "/totals/other"] {
            checks.equal(path, number(path)?, 0);
        }
        checks.equal("ends of another age", written.events.len(), 0);
        checks.equal("refused SYNs", number("/refusals/syns")?, self.refused);
        let told = number("/refusals/reported")? + number("/refusals/limited")?;
        let lost = number("/refusals/lost/ring")?;
        checks.equal("refusals told", told + lost, number("/refusals/seen")?);
        checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
        Ok(())
    }
}

/// Reads twtrace's output as it comes, and keeps only the summary and what is wrong.
struct Lines {
    ends: Arc<AtomicU64>,
    reader: JoinHandle<Result<Vec<String>>>,
}

impl Lines {
    fn read(pipe: PipeReader) -> Self {
        let ends = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ends);
        let reader = thread::spawn(move || {
            let mut kept = Vec::new();
            for line in BufReader::new(pipe).lines() {
                let line = line?;
                let end = line.contains("\"event\":\"end\"");
                if end {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                let strange = end && !line.contains("\"preexisting\":false");
                if strange || line.contains("\"event\":\"summary\"") {
                    kept.push(line);
                }
            }
            Ok(kept)
        });
        Self { ends, reader }
    }

    /// Number of ends so far.
    fn ends(&self) -> u64 {
        self.ends.load(Ordering::Relaxed)
    }

    /// The summary, and the unexpected ends before it.
    fn end(self) -> Result<Written> {
        let kept = self.reader.join();
        Written::parse(&kept.map_err(|_| anyhow!("reader panicked"))??.join("\n"))
    }
}
