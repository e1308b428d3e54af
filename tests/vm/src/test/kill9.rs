//! SIGKILL leaves nothing of twtrace in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::loaded;
use crate::tracer::Tracer;

/// The kernel frees programs and maps after a grace period.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything a tracer may leave in the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Traces {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
    pins: usize,
    kprobe_events: String,
}

impl Traces {
    pub(super) fn look() -> Result<Self> {
        Ok(Self {
            programs: loaded::programs()?.iter().map(ProgramInfo::id).collect(),
            maps: loaded::maps()?.iter().map(MapInfo::id).collect(),
            links: loaded::links()?.into_iter().collect(),
            pins: fs::read_dir("/sys/fs/bpf")?.count(),
            kprobe_events: fs::read_to_string("/sys/kernel/tracing/kprobe_events")?,
        })
    }

    /// Whether programs are attached.
    pub(super) fn is_attached(&self) -> bool {
        !self.links.is_empty()
    }

    /// What was not there before. IDs are not reused, so what an earlier test left to a grace
    /// period may go meanwhile without being mistaken for ours.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            programs: &self.programs - &before.programs,
            maps: &self.maps - &before.maps,
            links: &self.links - &before.links,
            pins: self.pins.saturating_sub(before.pins),
            kprobe_events: self.kprobe_events.replace(&before.kprobe_events, ""),
        }
    }
}

pub(crate) fn run(attach: &str) -> Result<String> {
    let before = Traces::look()?;
    let mut load = Load::start(&Args {
        ports: 97,
        hosts: 1,
    })?;
    let args = ["trace", "-o", "json", "--attach", attach];
    let tracer = Tracer::start(&args, Path::new("/tmp/kill9.json"))?;
    load.order(5_003)?;
    let during = Traces::look()?.since(&before);
    tracer.kill9()?;
    load.wait()?;
    let started = Instant::now();
    let mut left = Traces::look()?.since(&before);
    while left != Traces::default() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
        left = Traces::look()?.since(&before);
    }

    let mut checks = Checks::default();
    // Otherwise this test could not fail.
    checks.that(!during.programs.is_empty(), || {
        "no program was attached".to_owned()
    });
    checks.that(!during.maps.is_empty(), || "no map was made".to_owned());
    checks.equal("what is left", left, Traces::default());
    checks.end(format!(
        "{} programs, {} maps, {} links gone",
        during.programs.len(),
        during.maps.len(),
        during.links.len(),
    ))
}
