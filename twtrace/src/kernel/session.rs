//! One trace: attached programs, their records and their totals.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::programs::loaded_links;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::TOTAL_BUCKETS;
use twtrace_common::names;

use super::attach::{Attached, Mode, attach_all, unload};
use super::btf::{Btf, VMLINUX, stand_in};
use super::counters::Namespaces;
use super::hooks::{Hook, HookKind, Point};
use super::load::{Kernel, chain, load, loader};
use super::size::{Room, sizes};
use super::spill::Spill;
use super::syscall::{self, ProgramFacts};
use super::threads::beside;
use super::totals::{Totals, activity};
use super::{Options, hooks, offsets, plan, preemption};
use crate::error::{Error, Result};
use crate::event::facts::Answer;
use crate::event::{KernelCounters, Meta, Snapshot};

/// How often a snapshot is tried again when something ended while it was taken.
const TRIES: u32 = 4;

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

/// Its result.
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
    totals: Totals,
    spill: Spill,
    closed: Array<MapData, u32>,
    histograms: MapData,
    namespaces: Namespaces,
    meta: Meta,
    /// As last read: detached programs have no counts.
    skipped: Skipped,
    in_doubt: bool,
    lacking: Vec<String>,
    /// The kernel preempts bottom halves.
    preempts: bool,
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
        // Reading the types takes a while, and what is done meanwhile does not need them.
        let (btf, (slots, namespaces, loader)) = beside(
            "types",
            || Btf::read(path, &wanted),
            || {
                (
                    syscall::has_compare_exchange(),
                    Namespaces::find(only_netns).map(|mut found| (found.mini_sockets(), found)),
                    loader(),
                )
            },
        )?;
        let btf = btf?;
        let resolved = offsets::resolve(&btf)?;
        let (options, lacking) = resolved.restrict(options)?;
        let (options, offsets) = (&options, resolved.offsets);
        let values = offsets::values(&btf);
        let tw_counted_at = offsets::tw_counted_at(&btf);
        let slots = matches!(slots, Answer::Yes);
        let known = namespaces.as_ref().ok();
        let sizes = sizes(Room {
            max_sockets: options.max_sockets,
            existing: known.map_or(0, |known| known.0),
            slots,
            namespaces: known.map_or(0, |known| known.1.count_all()),
            cpus: syscall::possible_cpus(),
        });
        let kernel = Kernel {
            slots,
            again: slots && hooks::has_second_birth(&btf, options.attach),
            preempts: preemption::of_bottom_halves(),
        };
        let loader = loader?;
        let (stand_in, ebpf) = beside(
            "stand-in",
            || stand_in(&btf),
            || load(loader, options, offsets, values, sizes, kernel),
        )?;
        let mut ebpf = ebpf?;
        // Missing privileges to trace are reported first, whatever namespaces can be seen.
        let namespaces = namespaces?.1;
        #[cfg(feature = "log")]
        let log = super::log::Log::start(&mut ebpf)?;
        let attached = attach_all(&mut ebpf, &btf, &stand_in, options, kernel)?;

        let session = Self {
            ring: RingBuf::try_from(take(&mut ebpf, names::RING)?)
                .map_err(|error| broken(&error))?,
            totals: Totals::new(
                take_array(&mut ebpf, names::OWNERS)?,
                take_array(&mut ebpf, names::COUNTERS)?,
                HashMap::try_from(take(&mut ebpf, names::CLAIMS)?)
                    .map_err(|error| broken(&error))?,
                (sizes.namespaces as usize, sizes.stripes as usize),
            )?,
            spill: Spill::new(take(&mut ebpf, names::SPILL)?)?,
            closed: Array::try_from(take(&mut ebpf, names::CLOSED)?)
                .map_err(|error| broken(&error))?,
            histograms: take_array(&mut ebpf, names::HISTOGRAMS)?,
            namespaces,
            meta: Meta {
                kernel: syscall::kernel_release().into(),
                attach: mode_name(&attached).into(),
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
            skipped: Skipped::default(),
            in_doubt: false,
            lacking,
            preempts: kernel.preempts,
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

    /// What was wanted but is not seen, or not surely: this kernel lacks a field that it needs, or
    /// nothing could be attached where it happens, or the kernel may preempt what is.
    pub fn unseen(&self) -> impl Iterator<Item = String> + '_ {
        let by_fentry = |one: &Attached| {
            let hooks = one.way.iter().filter(|(mode, _)| *mode == Mode::Fentry);
            hooks
                .flat_map(|(_, hooks)| hooks)
                .any(|hook| hook.kind != HookKind::RawTracepoint)
        };
        let preempted = self.preempts && self.attached.iter().any(by_fentry);
        let preempted = preempted.then(|| preemption::BY_FENTRY.to_owned());
        let lost = self.attached.iter().filter(|one| one.way.is_none());
        let lost = lost.map(|one| {
            let (point, refused) = (one.point.name, one.refused.join("; "));
            let without = one.point.without.unwrap_or_default();
            format!("{point} is not seen ({refused}): {without}")
        });
        self.lacking.iter().cloned().chain(lost).chain(preempted)
    }

    /// The result for each lifecycle point.
    #[must_use]
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Hands the records in the ring to `sink`, untouched, until it has had enough (`Break`).
    pub fn drain(&mut self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        #[cfg(feature = "log")]
        self.log.flush();
        while let Some(record) = self.ring.next() {
            sink(&record)?;
        }
        ControlFlow::Continue(())
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

    /// Our totals alone, in place of a look at the kernel's.
    pub fn without_kernel(&mut self) -> Result<Around> {
        let Look { before, .. } = self.look()?;
        Ok(Around {
            after: before.clone(),
            kernel: Vec::new(),
            before,
        })
    }

    /// Begins a look at the kernel's counters, which another thread may read: to find namespaces
    /// takes as long as there are tasks, and the ring must be emptied meanwhile.
    pub fn look(&mut self) -> Result<Look> {
        self.skipped = self.skipped();
        Ok(Look {
            before: self.counters(),
            tried: 0,
        })
    }

    /// Takes what was read since it began.
    pub fn looked(&self, look: Look, kernel: Vec<KernelCounters>) -> Result<Looked> {
        let Look { before, tried } = look;
        let (after, tried) = (self.counters(), tried + 1);
        Ok(if sum(&after) == sum(&before) || tried == TRIES {
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
    pub fn glance(&mut self) -> Result<Snapshot> {
        self.skipped = self.skipped();
        let counters = self.counters();
        self.totals(&counters.clone(), counters, Vec::new())
    }

    /// Checks whether a birth was missed so far because the kernel skipped one of our programs. An end
    /// whose birth was not seen may then be younger than the trace.
    pub fn births_missed(&mut self) -> bool {
        let runs = self.births_skipped();
        let caught = || self.counters().iter().map(|one| one.birth_caught).sum();
        self.in_doubt |= runs > 0 && runs > caught();
        self.in_doubt
    }

    /// Whether the last such look found one.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Removes what a long trace leaves behind in the maps. To be called every minute or so.
    pub fn sweep(&mut self) {
        self.totals.make_room();
        self.spill.sweep(syscall::monotonic_ns());
    }

    /// Ends the trace, detaches everything and reads all totals. What is in the ring then is all
    /// there is.
    pub fn finish(&mut self, read: Around) -> Result<Snapshot> {
        self.close();
        self.skipped = self.skipped();
        let totals = self.totals(&read.before, self.counters(), read.kernel)?;
        self.detach();
        Ok(totals)
    }

    /// Births, ends and everything else that is counted stop at one moment; programs still running
    /// then are waited for.
    fn close(&mut self) {
        let told = self.closed.set(0, 1, 0).is_ok() && syscall::wait_for_programs();
        if !told {
            // Births are detached before ends, which would otherwise be taken for older ones.
            self.detach();
        }
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
            slack: sum(&counters).saturating_sub(sum(before)),
            // Usually half a megabyte of zeroes when tracing begins.
            histograms: if counters.iter().any(|one| one.ended != Counters::ZERO.ended) {
                self.histograms()?
            } else {
                vec![0; TOTAL_BUCKETS]
            },
            missed: self.skipped.others.map(|others| {
                let caught: u64 = counters.iter().map(|one| one.birth_caught).sum();
                others + self.skipped.births.saturating_sub(caught)
            }),
            counters,
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
            if matches!(hook.kind, HookKind::Kprobe | HookKind::Kretprobe) {
                let link = self.kprobes.get(hook.program);
                let more = link.and_then(|link| syscall::kprobe_missed(link.as_fd()));
                facts.missed = facts.missed.zip(more).map(|(program, link)| program + link);
            }
            Some((hook.program, facts))
        })
    }

    /// One per namespace; what the kernel skipped is in the entry that belongs to none.
    fn counters(&self) -> Vec<Counters> {
        let mut found = self.totals.read();
        let skipped = Counters {
            port_missed: self.skipped.ports,
            overflow_missed: self.skipped.overflows,
            slot_stale: self.spill.stale,
            ..Counters::ZERO
        };
        if skipped != Counters::ZERO {
            match found.first_mut().filter(|first| first.id == 0) {
                Some(shared) => shared.add(&skipped),
                None => found.insert(0, skipped),
            }
        }
        found
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

    /// Of the first program for births. Where the second is skipped, the first has run.
    fn births_skipped(&self) -> u64 {
        self.facts(Point::is_birth)
            .filter(|(program, _)| *program != hooks::BIRTH_AGAIN)
            .filter_map(|(_, facts)| facts.missed)
            .sum()
    }

    fn skipped(&self) -> Skipped {
        let sum = |of| self.facts(of).filter_map(|(_, facts)| facts.missed).sum();
        let others =
            |point: &Point| !point.looks_for_ports() && !point.is_birth() && !point.is_overflow();
        Skipped {
            births: self.births_skipped(),
            overflows: sum(Point::is_overflow),
            ports: sum(Point::looks_for_ports),
            others: self.facts(others).map(|(_, facts)| facts.missed).sum(),
        }
    }
}

/// Runs of our programs that the kernel skipped.
#[derive(Clone, Copy, Debug, Default)]
struct Skipped {
    /// Of the first program for births.
    births: u64,
    overflows: u64,
    ports: u64,
    /// `None` if the kernel does not tell.
    others: Option<u64>,
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

/// How much was counted so far in all namespaces.
fn sum(counters: &[Counters]) -> u64 {
    counters.iter().map(activity).sum()
}
