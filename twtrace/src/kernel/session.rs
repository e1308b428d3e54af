//! One trace: attached programs, their records and their totals.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::loaded_links;
use aya::{Ebpf, Pod};
use twtrace_common::counters::Counters;
use twtrace_common::histogram::TOTAL_BUCKETS;
use twtrace_common::names;

use super::attach::{Attached, Mode, attach_all, unload};
use super::btf::{Btf, VMLINUX, stand_in};
use super::counters::Namespaces;
use super::hooks::{Hook, HookKind, Point};
use super::load::{chain, load, loader};
use super::size::sizes;
use super::syscall::{self, ProgramFacts};
use super::threads::beside;
use super::{Options, hooks, offsets, plan};
use crate::error::{Error, Result};
use crate::event::facts::Answer;
use crate::event::{KernelCounters, Meta, Snapshot};

/// How often a snapshot is tried again when something ended while it was taken.
const TRIES: u32 = 4;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainCounters(Counters);
// SAFETY: repr(C) integers without hidden padding (asserted in twtrace-common).
unsafe impl Pod for PlainCounters {}

/// Our counters before and after a look at the kernel's.
#[derive(Debug)]
pub struct Around {
    before: Vec<Counters>,
    kernel: Vec<KernelCounters>,
    after: Vec<Counters>,
}

/// A look at the kernel's counters that has begun.
#[derive(Debug)]
pub struct Look {
    before: Vec<Counters>,
    tried: u32,
}

/// What came of it.
#[derive(Debug)]
pub enum Looked {
    /// Too much happened meanwhile.
    Again(Look),
    Done(Around),
}

/// Links of kprobes by program. While they are open they stay attached.
type Kprobes = BTreeMap<&'static str, OwnedFd>;

/// A running trace. Dropping it, or the end of the process by any signal, detaches everything:
/// nothing is pinned.
pub struct Session {
    // Fields are dropped in this order; the programs last.
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, PlainCounters>,
    histograms: MapData,
    namespaces: Namespaces,
    meta: Meta,
    /// As last read: detached programs tell nothing.
    port_missed: u64,
    attached: Vec<Attached>,
    kprobes: Kprobes,
    #[cfg(feature = "log")]
    log: super::log::Log,
    ebpf: Ebpf,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Loads and attaches everything.
    pub fn start(options: &Options) -> Result<Self> {
        let wanted = plan::wanted();
        let path = options.btf.as_deref().unwrap_or(Path::new(VMLINUX));
        let filter = options.filter;
        let only_netns = (filter.netns != 0).then_some(filter.netns);
        syscall::raise_memlock();
        // The types take a while to read, and nobody needs them yet for what is done meanwhile.
        let (btf, (slots, namespaces, loader)) = beside(
            "types",
            || Btf::read(path, &wanted),
            || {
                (
                    syscall::has_compare_exchange(),
                    Namespaces::find(only_netns),
                    loader(),
                )
            },
        )?;
        let btf = btf?;
        let offsets = offsets::resolve(&btf)?;
        let values = offsets::values(&btf);
        let tw_counted_at = offsets::tw_counted_at(&btf);
        let slots = matches!(slots, Answer::Yes);
        let known = namespaces.as_ref().map_or(0, Namespaces::count_all);
        let sizes = sizes(options.max_sockets, slots, known);
        let loader = loader?;
        let (stand_in, ebpf) = beside(
            "stand-in",
            || stand_in(&btf),
            || load(loader, options, offsets, values, sizes),
        )?;
        let mut ebpf = ebpf?;
        // Who may not trace is told so first, whatever namespaces may be seen.
        let namespaces = namespaces?;
        #[cfg(feature = "log")]
        let log = super::log::Log::start(&mut ebpf)?;
        let attached = attach_all(&mut ebpf, &btf, &stand_in, options, slots)?;

        let session = Self {
            ring: RingBuf::try_from(take(&mut ebpf, names::RING)?)
                .map_err(|error| broken(&error))?,
            counters: PerCpuArray::try_from(take(&mut ebpf, names::COUNTERS)?)
                .map_err(|error| broken(&error))?,
            histograms: take_array(&mut ebpf, names::HISTOGRAMS)?,
            namespaces,
            meta: Meta {
                kernel: syscall::kernel_release(),
                attach: mode_name(&attached).to_owned(),
                hooks: attached
                    .iter()
                    .flat_map(|one| &one.way)
                    .map(|way| way.1.len() as u32)
                    .sum(),
                tw_counted_at,
                wall_offset_ns: syscall::wall_offset_ns(),
                started_ns: syscall::monotonic_ns(),
                filtered: filter.flags != 0,
                rearms: options.rearms,
                refusals: is_seen(&attached, hooks::REFUSAL),
                drops: is_seen(&attached, hooks::DROP),
                births: options.births && options.records,
                ports: is_seen(&attached, hooks::CONNECT),
                quiet_ends: options.quiet_ends,
                ts_offset: offsets::ts_offset(&btf),
            },
            port_missed: 0,
            kprobes: kprobes(&attached, &ebpf),
            attached,
            #[cfg(feature = "log")]
            log,
            ebpf,
        };
        drop((btf, stand_in));
        syscall::trim_memory();
        Ok(session)
    }

    /// How and where.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What became of each lifecycle point.
    #[must_use]
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Hands every record in the ring to `sink`, untouched.
    pub fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        #[cfg(feature = "log")]
        self.log.flush();
        while let Some(record) = self.ring.next() {
            sink(&record);
        }
    }

    /// A descriptor that is readable when the ring has filled up to the wake-up mark.
    pub fn wake_up(&self) -> Result<OwnedFd> {
        // SAFETY: the ring's descriptor is open as long as self.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
            .try_clone_to_owned()
            .map_err(|error| Error::new(format!("cannot wait for the ring buffer: {error}")))
    }

    /// Reads all totals, ours and the kernel's.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let read = self.kernel_counters()?;
        self.totals_of(read)
    }

    /// Begins a look at the kernel's counters, which another thread may read: to find namespaces
    /// takes as long as there are tasks, and the ring must be emptied meanwhile.
    pub fn look(&mut self) -> Result<Look> {
        self.port_missed = self.port_missed();
        Ok(Look {
            before: self.counters()?,
            tried: 0,
        })
    }

    /// Takes what was read since it began.
    pub fn looked(&self, look: Look, kernel: Vec<KernelCounters>) -> Result<Looked> {
        let Look { before, tried } = look;
        let (after, tried) = (self.counters()?, tried + 1);
        Ok(if activity(&after) == activity(&before) || tried == TRIES {
            Looked::Done(Around {
                before,
                kernel,
                after,
            })
        } else {
            Looked::Again(Look {
                before: after,
                tried,
            })
        })
    }

    /// All totals, with what was read of the kernel's.
    pub fn totals_of(&self, read: Around) -> Result<Snapshot> {
        self.totals(&read.before, read.after, read.kernel)
    }

    /// Reads our totals alone: namespaces are not looked for, which takes as long as there are
    /// tasks, and nothing is tried again.
    pub fn glance(&self) -> Result<Snapshot> {
        let counters = self.counters()?;
        self.totals(&counters.clone(), counters, Vec::new())
    }

    /// Detaches everything and reads all totals. What is in the ring then is all there is.
    pub fn finish(&mut self, read: Around) -> Result<Snapshot> {
        let missed = self.missed();
        self.detach();
        let totals = self.totals(&read.before, self.counters()?, read.kernel)?;
        Ok(Snapshot { missed, ..totals })
    }

    fn detach(&mut self) {
        self.kprobes.clear();
        let hooks = hooks_of(&self.attached);
        // Births first, ends after them, marks last: the order of attaching, backwards.
        for hook in hooks.collect::<Vec<_>>().into_iter().rev() {
            if let Some(program) = self.ebpf.program_mut(hook.program) {
                unload(program);
            }
        }
    }

    /// The kernel's counters, and ours around them. Tried again while things happen in between.
    pub fn kernel_counters(&mut self) -> Result<Around> {
        self.namespaces.refresh();
        let mut look = self.look()?;
        loop {
            let kernel = self.namespaces.read();
            match self.looked(look, kernel)? {
                Looked::Again(again) => look = again,
                Looked::Done(read) => return Ok(read),
            }
        }
    }

    fn totals(
        &self,
        before: &[Counters],
        counters: Vec<Counters>,
        kernel: Vec<KernelCounters>,
    ) -> Result<Snapshot> {
        Ok(Snapshot {
            at_ns: syscall::monotonic_ns(),
            slack: activity(&counters) - activity(before),
            // Half a megabyte of zeroes when tracing begins, as a rule.
            histograms: if counters.iter().any(|one| one.ended != Counters::ZERO.ended) {
                self.histograms()?
            } else {
                vec![0; TOTAL_BUCKETS]
            },
            counters,
            missed: self.missed(),
            kernel,
        })
    }

    /// Each attached program and what the kernel says of it.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, ProgramFacts)> + '_ {
        self.facts(|_| true)
    }

    fn facts(
        &self,
        of: fn(&Point) -> bool,
    ) -> impl Iterator<Item = (&'static str, ProgramFacts)> + '_ {
        hooks_of(self.attached.iter().filter(move |one| of(one.point))).filter_map(|hook| {
            let fd = self.ebpf.program(hook.program)?.fd().ok()?;
            let mut facts = syscall::program_facts(fd.as_fd()).ok()?;
            if let Some(link) = self.kprobes.get(hook.program) {
                let more = syscall::kprobe_missed(link.as_fd()).ok();
                facts.missed = facts.missed.zip(more).map(|(program, link)| program + link);
            }
            Some((hook.program, facts))
        })
    }

    /// One per namespace, all CPUs added up.
    fn counters(&self) -> Result<Vec<Counters>> {
        let mut found: BTreeMap<u32, Counters> = BTreeMap::new();
        for index in 0..self.counters.len() {
            let per_cpu = self
                .counters
                .get(&index, 0)
                .map_err(|error| broken(&error))?;
            for PlainCounters(one) in per_cpu.iter() {
                if index == 0 || one.netns != 0 {
                    let sum = found.entry(one.netns).or_insert(Counters {
                        netns: one.netns,
                        ..Counters::ZERO
                    });
                    sum.add(one);
                }
            }
        }
        if let Some(shared) = found.get_mut(&0) {
            shared.port_missed += self.port_missed;
        }
        Ok(found
            .into_values()
            .filter(|one| one.netns != 0 || *one != Counters::ZERO)
            .collect())
    }

    fn histograms(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; TOTAL_BUCKETS];
        syscall::lookup(self.histograms.fd().as_fd(), 0, &mut counts).map_err(|error| {
            Error::new(format!(
                "cannot read the eBPF map {}: {error}",
                names::HISTOGRAMS
            ))
        })?;
        Ok(counts)
    }

    /// Runs that the kernel skipped, but for those that look for ports.
    fn missed(&self) -> Option<u64> {
        self.facts(|point| !point.looks_for_ports())
            .map(|(_, facts)| facts.missed)
            .sum()
    }

    /// Of those that look for ports.
    fn port_missed(&self) -> u64 {
        self.facts(Point::looks_for_ports)
            .filter_map(|(_, facts)| facts.missed)
            .sum()
    }
}

fn hooks_of<'a>(
    attached: impl IntoIterator<Item = &'a Attached>,
) -> impl Iterator<Item = &'a Hook> {
    let ways = attached.into_iter().flat_map(|one| &one.way);
    ways.flat_map(|way| &way.1)
}

/// None where links may not be looked for (without CAP_SYS_ADMIN).
fn kprobes(attached: &[Attached], ebpf: &Ebpf) -> Kprobes {
    let is_kprobe = |hook: &&Hook| matches!(hook.kind, HookKind::Kprobe | HookKind::Kretprobe);
    let number = |hook: &Hook| {
        let info = ebpf.program(hook.program)?.info().ok()?;
        Some((info.id(), hook.program))
    };
    let programs: BTreeMap<u32, &str> = hooks_of(attached)
        .filter(is_kprobe)
        .filter_map(number)
        .collect();
    if programs.is_empty() {
        return Kprobes::new();
    }
    loaded_links()
        .flatten()
        .filter_map(|link| {
            let program = programs.get(&link.program_id())?;
            Some((*program, syscall::link(link.id()).ok()?))
        })
        .collect()
}

/// An array whose one value is too large for aya's typed access, which copies through the stack.
fn take_array(ebpf: &mut Ebpf, name: &str) -> Result<MapData> {
    match take(ebpf, name)? {
        Map::Array(data) => Ok(data),
        _ => Err(Error::new(format!("the eBPF map {name} is not an array"))),
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name)
        .ok_or_else(|| Error::new(format!("the eBPF object has no map {name}")))
}

fn broken(error: &dyn std::error::Error) -> Error {
    Error::new(format!("cannot use an eBPF map: {}", chain(error)))
}

fn is_seen(attached: &[Attached], point: &str) -> bool {
    attached
        .iter()
        .any(|one| one.point.name == point && one.way.is_some())
}

fn mode_name(attached: &[Attached]) -> &'static str {
    let has = |mode: Mode| {
        attached
            .iter()
            .any(|one| one.way.as_ref().is_some_and(|way| way.0 == mode))
    };
    match (has(Mode::Fentry), has(Mode::Kprobe)) {
        (true, true) => "mixed",
        (false, true) => "kprobe",
        _ => "fentry",
    }
}

/// How much was counted so far, to tell whether anything was counted meanwhile.
fn activity(counters: &[Counters]) -> u64 {
    counters
        .iter()
        .map(|one| {
            one.born_fin_wait_2
                + one.born_time_wait
                + one.overflowed
                + one.filtered
                + one.ended.iter().sum::<u64>()
                + one.refused.iter().sum::<u64>()
                + one.skipped.iter().sum::<u64>()
        })
        .sum()
}
