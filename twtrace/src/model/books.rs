//! The books: what was seen against what was reported, and against the kernel's own counters.

use std::collections::{BTreeMap, BTreeSet};

use twtrace_common::Reason;
use twtrace_common::counters::Counters;

use crate::event::{KernelCounters, Meta, Snapshot, TwCountedAt};

/// Whether everything was accounted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub ends: Class,
    pub overflows: Class,
    /// Records that could not be decoded.
    pub undecoded: u64,
    /// Side by side with the kernel; `None` if that proves nothing because a filter was set.
    pub kernel: Option<Comparison>,
}

/// The identity of one event class: `seen = reported + lost.ring`.
///
/// `lost.map` and `lost.missed` stand outside: an end whose birth found no room is reported, but
/// without its life; and what a skipped program would have seen, nobody counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Counted in the kernel.
    pub seen: u64,
    /// Shown.
    pub reported: u64,
    pub lost: Lost,
    /// `None` if the recording was cut, so that the last totals are missing.
    pub balanced: Option<bool>,
}

/// What went missing, and where. `map` and `missed` are given once, with the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Events that did not fit the ring.
    pub ring: u64,
    /// Births that found no room in the state maps.
    pub map: u64,
    /// Runs of our programs that the kernel skipped; `None` if it does not tell.
    pub missed: Option<u64>,
}

/// Our counts beside the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Of the namespaces in which anything moved, or in which something does not agree.
    pub rows: Vec<Row>,
    /// Namespaces compared, also the quiet ones.
    pub namespaces: usize,
    /// Namespaces that could not be compared.
    pub unread: usize,
}

/// One counter of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub netns: u32,
    pub counter: Counter,
    /// How far the kernel's counter moved, or why that is not known.
    pub kernel: Result<u64, Unread>,
    /// How far it should have moved by our count.
    pub expected: u64,
    /// `None` if the kernel's value is not known, or if the difference may be among the counts
    /// that belong to no namespace in particular.
    pub agree: Option<bool>,
}

/// Why a counter could not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    NamespaceGone,
    /// Its counters ran back: another namespace has its inode number now.
    NamespaceReplaced,
    /// It was there at the start, but its counters could not be read then.
    NotReadAtStart,
    /// This kernel has no such counter.
    NoSuchCounter,
}

/// The kernel's counters of what we count too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// TW and TWKilled together: the second takes those whose timer is short.
    TimeWait,
    Recycled,
    Overflow,
}

impl Class {
    fn new(seen: u64, reported: Option<u64>, lost: Lost, cut: bool) -> Self {
        // Totals do not pass the ring, whoever else may have lost records there.
        let ring = reported.map_or(0, |_| lost.ring);
        let reported = reported.unwrap_or(seen);
        Self {
            seen,
            reported,
            lost: Lost { ring, ..lost },
            balanced: (!cut).then_some(seen == reported + ring),
        }
    }

    fn complete(&self) -> bool {
        self.lost.total() == 0 && self.balanced == Some(true)
    }
}

impl Lost {
    /// Everything together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ring + self.map + self.missed.unwrap_or(0)
    }
}

impl Unread {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NamespaceGone => "namespace gone",
            Self::NamespaceReplaced => "namespace replaced",
            Self::NotReadAtStart => "not read at the start",
            Self::NoSuchCounter => "this kernel has no such counter",
        }
    }
}

impl Counter {
    pub const ALL: [Self; 3] = [Self::TimeWait, Self::Recycled, Self::Overflow];

    /// As in `/proc/net/netstat`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeWait => "TW+TWKilled",
            Self::Recycled => "TWRecycled",
            Self::Overflow => "TCPTimeWaitOverflow",
        }
    }

    fn parts(self) -> &'static [&'static str] {
        match self {
            Self::TimeWait => &["TW", "TWKilled"],
            Self::Recycled => &["TWRecycled"],
            Self::Overflow => &["TCPTimeWaitOverflow"],
        }
    }

    fn read(self, kernel: &KernelCounters) -> Option<u64> {
        let value = |name: &&str| kernel.tcp_ext.get(*name).copied();
        self.parts().iter().map(value).sum()
    }

    /// What the kernel must have counted, going by our counts.
    fn expected(self, ours: &Counters, tw_counted_at: TwCountedAt) -> u64 {
        let ended = |reason: Reason| ours.ended[reason as usize];
        match (self, tw_counted_at) {
            (Self::TimeWait, TwCountedAt::Birth) => ours.born_fin_wait_2 + ours.born_time_wait,
            (Self::TimeWait, TwCountedAt::Expiry) => {
                ended(Reason::Expired) + ended(Reason::FinWait2Timeout)
            }
            (Self::Recycled, _) => ended(Reason::ConnectReused) + ended(Reason::BoundReused),
            (Self::Overflow, _) => ours.overflowed,
        }
    }
}

/// What was shown, counted where it was shown. `None`: totals only, so nothing can be lost on the
/// way from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    pub ends: u64,
    pub overflows: u64,
    pub refusals: u64,
}

impl Books {
    /// Closes the books. `first` was taken when tracing began, `last` when all had been shown.
    #[must_use]
    pub fn new(
        meta: &Meta,
        first: &Opening,
        last: &Snapshot,
        reported: Option<Reported>,
        undecoded: u64,
        cut: bool,
    ) -> Self {
        let sum = |get: fn(&Counters) -> u64| last.counters.iter().map(get).sum::<u64>();
        let ends = Lost {
            ring: sum(|one| one.end_ring_full),
            map: sum(|one| one.map_full),
            missed: missed(last),
        };
        let overflows = Lost {
            ring: sum(|one| one.overflow_ring_full),
            ..Lost::default()
        };
        Self {
            ends: Class::new(
                sum(|one| one.ended.iter().sum()),
                reported.map(|one| one.ends),
                ends,
                cut,
            ),
            overflows: Class::new(
                sum(|one| one.overflowed),
                reported.map(|one| one.overflows),
                overflows,
                cut,
            ),
            undecoded,
            kernel: (!meta.filtered).then(|| Comparison::new(meta.tw_counted_at, first, last)),
        }
    }

    /// Nothing was lost, and the identities hold.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.ends.complete() && self.overflows.complete() && self.undecoded == 0
    }

    /// Whether we and the kernel agree; `None` if nothing could be compared.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        self.kernel.as_ref().and_then(Comparison::agrees)
    }
}

/// Runs of our programs that are known to be missing.
pub(super) fn missed(snapshot: &Snapshot) -> Option<u64> {
    let unpaired: u64 = snapshot.counters.iter().map(|one| one.missed).sum();
    match snapshot.missed {
        Some(skipped) => Some(skipped + unpaired),
        None => (unpaired > 0).then_some(unpaired),
    }
}

/// What the closing needs to know of the start.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    pub counters: Vec<Counters>,
    pub kernel: Vec<KernelCounters>,
    pub slack: u64,
}

impl From<&Snapshot> for Opening {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            counters: snapshot.counters.clone(),
            kernel: snapshot.kernel.clone(),
            slack: snapshot.slack,
        }
    }
}

impl Comparison {
    fn new(tw_counted_at: TwCountedAt, first: &Opening, last: &Snapshot) -> Self {
        let sides = Sides {
            tw_counted_at,
            slack: first.slack + last.slack,
            ours: (by_netns(&first.counters), by_netns(&last.counters)),
            kernel: (
                kernel_by_netns(&first.kernel),
                kernel_by_netns(&last.kernel),
            ),
        };
        let mut comparison = Self {
            rows: Vec::new(),
            namespaces: 0,
            unread: 0,
        };
        for netns in sides.namespaces() {
            let rows = Counter::ALL.map(|counter| sides.row(netns, counter));
            if rows.iter().all(|row| row.kernel.is_err()) {
                comparison.unread += 1;
            } else {
                comparison.namespaces += 1;
            }
            if rows
                .iter()
                .any(|row| row.moved() || row.agree == Some(false))
            {
                comparison.rows.extend(rows);
            }
        }
        comparison
    }

    fn agrees(&self) -> Option<bool> {
        if self.rows.iter().any(|row| row.agree == Some(false)) {
            Some(false)
        } else {
            (self.namespaces > 0).then_some(true)
        }
    }
}

impl Row {
    fn moved(&self) -> bool {
        self.expected > 0 || self.kernel.is_ok_and(|moved| moved > 0)
    }
}

/// Both readings of both sides.
struct Sides<'a> {
    tw_counted_at: TwCountedAt,
    slack: u64,
    ours: (BTreeMap<u32, &'a Counters>, BTreeMap<u32, &'a Counters>),
    kernel: (
        BTreeMap<u32, &'a KernelCounters>,
        BTreeMap<u32, &'a KernelCounters>,
    ),
}

/// Our entry for what belongs to no namespace in particular.
const UNASSIGNED: u32 = 0;

impl Sides<'_> {
    fn namespaces(&self) -> BTreeSet<u32> {
        let kernel = self.kernel.0.keys().chain(self.kernel.1.keys());
        let all = kernel.chain(self.ours.1.keys());
        all.copied().filter(|&one| one != UNASSIGNED).collect()
    }

    fn row(&self, netns: u32, counter: Counter) -> Row {
        let expected = self.expected(netns, counter);
        let kernel = self.moved(netns, counter);
        Row {
            netns,
            counter,
            kernel,
            expected,
            agree: kernel
                .ok()
                .and_then(|moved| self.agree(moved, expected, self.expected(UNASSIGNED, counter))),
        }
    }

    fn expected(&self, netns: u32, counter: Counter) -> u64 {
        let at = |counters: &BTreeMap<u32, &Counters>| {
            let ours = counters.get(&netns);
            ours.map_or(0, |ours| counter.expected(ours, self.tw_counted_at))
        };
        at(&self.ours.1).saturating_sub(at(&self.ours.0))
    }

    fn moved(&self, netns: u32, counter: Counter) -> Result<u64, Unread> {
        let last = self.kernel.1.get(&netns).ok_or(Unread::NamespaceGone)?;
        let last = counter.read(last).ok_or(Unread::NoSuchCounter)?;
        let first = match self.kernel.0.get(&netns) {
            Some(first) => counter.read(first).ok_or(Unread::NoSuchCounter)?,
            // We had counted nothing there either: it is new, and counters start at 0.
            None if !self.ours.0.contains_key(&netns) => 0,
            None => return Err(Unread::NotReadAtStart),
        };
        last.checked_sub(first).ok_or(Unread::NamespaceReplaced)
    }

    fn agree(&self, moved: u64, expected: u64, unassigned: u64) -> Option<bool> {
        if moved.abs_diff(expected) <= self.slack {
            Some(true)
        } else if moved > expected && moved - expected <= unassigned + self.slack {
            None
        } else {
            Some(false)
        }
    }
}

fn by_netns(counters: &[Counters]) -> BTreeMap<u32, &Counters> {
    counters.iter().map(|one| (one.netns, one)).collect()
}

fn kernel_by_netns(kernel: &[KernelCounters]) -> BTreeMap<u32, &KernelCounters> {
    kernel.iter().map(|one| (one.netns, one)).collect()
}

#[cfg(test)]
mod tests;
