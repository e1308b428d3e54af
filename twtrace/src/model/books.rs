//! The books: what was seen against what was reported, and against the kernel's own counters.

mod compare;
mod unseen;

use twtrace_common::counters::Counters;

use crate::event::{KernelCounters, Meta, Snapshot};

pub use compare::{Comparison, Counter, Doubt, Row, Unread};
#[doc(hidden)]
pub use unseen::{COUNTER as UNSEEN, Unseen};

/// Whether everything is accounted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    /// Mini-sockets that ended.
    pub ends: Class,
    /// Connections closed without a mini-socket.
    pub overflows: Class,
    /// Segments refused; `None` if they were not traced.
    pub refusals: Option<Class>,
    /// Mini-sockets made; `None` if no record of each was asked for.
    pub births: Option<Class>,
    /// Calls that got no port; `None` if they were not traced.
    pub port_failures: Option<Class>,
    /// Records that could not be decoded.
    pub undecoded: u64,
    /// Side by side with the kernel; `None` if that proves nothing because a filter was set.
    pub kernel: Option<Comparison>,
}

/// The identity of one event class: `seen = reported + unasked + limited + lost.ring`.
///
/// `lost.map` and `lost.missed` stand outside: an end whose birth found no room is reported, but
/// without its life; and what a skipped program would have seen, nobody counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Counted in the kernel.
    pub seen: u64,
    /// Shown.
    pub reported: u64,
    /// Counted, but no record was asked for (`conflicts`: ends that tell of no refusal). No loss.
    pub unasked: u64,
    /// Counted, but beyond the rate at which records are made: their detail is missing.
    pub limited: u64,
    /// Not reported, and known to be missing.
    pub lost: Lost,
    /// Whether the identity holds; `None` if the recording was cut, so that the last totals are missing.
    pub balanced: Option<bool>,
}

/// What went missing, and where. `map`, `marks` and `missed` are given once, with the ends;
/// overflows and port failures have a `missed` of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Events that did not fit the ring.
    pub ring: u64,
    /// Births that found no room in the state maps.
    pub map: u64,
    /// Marks of older mini-sockets that found none there: why they end may then be unknown.
    pub marks: u64,
    /// Runs of our programs that the kernel skipped; `None` if it does not tell.
    pub missed: Option<u64>,
}

impl Class {
    fn new(counted: Counted, reported: Option<u64>, cut: bool) -> Self {
        let Counted {
            seen,
            unasked,
            limited,
            lost,
        } = counted;
        let Some(reported) = reported else {
            return Self::of_totals(seen, lost, cut);
        };
        Self {
            seen,
            reported,
            unasked,
            limited,
            lost,
            balanced: (!cut).then_some(seen == reported + unasked + limited + lost.ring),
        }
    }

    /// Totals do not pass through the ring, so records lost there do not change them.
    fn of_totals(seen: u64, lost: Lost, cut: bool) -> Self {
        Self {
            seen,
            reported: seen,
            unasked: 0,
            limited: 0,
            lost: Lost { ring: 0, ..lost },
            balanced: (!cut).then_some(true),
        }
    }

    fn complete(&self) -> bool {
        self.lost.total() == 0 && self.limited == 0 && self.balanced == Some(true)
    }
}

impl Lost {
    fn ring(ring: u64) -> Self {
        Self {
            ring,
            ..Self::default()
        }
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ring + self.map + self.marks + self.missed.unwrap_or(0)
    }
}

/// What the kernel side counted of one event class.
struct Counted {
    seen: u64,
    unasked: u64,
    limited: u64,
    lost: Lost,
}

/// What was shown, counted where it was shown. `None`: totals only, so nothing can be lost on the
/// way from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    pub ends: u64,
    pub overflows: u64,
    pub refusals: u64,
    pub births: u64,
    pub port_failures: u64,
}

impl Books {
    /// Closes the books. `first` was taken when tracing began, `last` when all had been shown.
    #[doc(hidden)]
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
        let ends = Counted {
            seen: sum(|one| one.ended.iter().sum()),
            unasked: sum(|one| one.end_quiet),
            limited: 0,
            lost: Lost {
                ring: sum(|one| one.end_ring_full),
                map: sum(|one| one.map_full),
                marks: sum(|one| one.mark_lost),
                missed: missed(last),
            },
        };
        let overflows = Counted {
            seen: sum(|one| one.overflowed),
            unasked: 0,
            limited: 0,
            lost: Lost {
                missed: Some(overflows_missed(first, last)),
                ..Lost::ring(sum(|one| one.overflow_ring_full))
            },
        };
        let refusals = Counted {
            seen: sum(|one| one.refused.iter().sum()),
            unasked: 0,
            limited: sum(|one| one.refusal_limited),
            lost: Lost::ring(sum(|one| one.refusal_ring_full)),
        };
        let births = Counted {
            seen: sum(|one| one.born_fin_wait_2 + one.born_time_wait),
            unasked: 0,
            limited: 0,
            lost: Lost::ring(sum(|one| one.birth_ring_full)),
        };
        let port_failures = Counted {
            seen: sum(|one| one.port_failures.iter().sum()),
            unasked: 0,
            limited: sum(|one| one.port_failure_limited),
            lost: Lost {
                missed: Some(sum(|one| one.port_missed)),
                ..Lost::ring(sum(|one| one.port_failure_ring_full))
            },
        };
        let class = |counted, get: fn(Reported) -> u64| Class::new(counted, reported.map(get), cut);
        Self {
            ends: class(ends, |one| one.ends),
            overflows: class(overflows, |one| one.overflows),
            refusals: meta.refusals.then(|| class(refusals, |one| one.refusals)),
            births: meta.births.then(|| class(births, |one| one.births)),
            port_failures: meta
                .ports
                .then(|| class(port_failures, |one| one.port_failures)),
            undecoded,
            kernel: (!meta.filtered).then(|| Comparison::new(meta, first, last)),
        }
    }

    /// Nothing was lost, the identities hold, and the kernel's counters do not disagree.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.classes().all(Class::complete) && self.undecoded == 0 && !self.is_refuted()
    }

    /// The kernel counted differently, and the counters certainly belong to that namespace.
    fn is_refuted(&self) -> bool {
        let kernel = self.kernel.as_ref();
        kernel.is_some_and(|kernel| kernel.certain && kernel.agrees() == Some(false))
    }

    /// What went missing of all classes together.
    #[must_use]
    pub fn lost(&self) -> Lost {
        let overflows = self.overflows.lost.missed.filter(|&missed| missed > 0);
        let missed = self.ends.lost.missed;
        Lost {
            ring: self.classes().map(|class| class.lost.ring).sum(),
            missed: overflows.map_or(missed, |more| Some(more + missed.unwrap_or(0))),
            ..self.ends.lost
        }
    }

    /// How many events were shown or recorded.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.classes().map(|class| class.reported).sum()
    }

    /// The classes that were traced.
    fn classes(&self) -> impl Iterator<Item = &Class> {
        [&self.ends, &self.overflows]
            .into_iter()
            .chain(&self.refusals)
            .chain(&self.births)
            .chain(&self.port_failures)
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

/// Overflows that a skipped program may have missed. It runs for every birth, so most of what it
/// misses is none: the kernel's own count says whether one was.
fn overflows_missed(first: &Opening, last: &Snapshot) -> u64 {
    let counted = |counters: &[Counters]| counters.iter().map(|one| one.overflowed).sum::<u64>();
    let by_kernel = |kernel: &[KernelCounters]| -> Option<u64> {
        let each = kernel.iter().map(|one| Counter::Overflow.read(one));
        each.sum()
    };
    let ours = counted(&last.counters).checked_sub(counted(&first.counters));
    let kernels = by_kernel(&first.kernel)
        .zip(by_kernel(&last.kernel))
        .and_then(|(first, last)| last.checked_sub(first));
    if kernels.is_some() && kernels == ours {
        return 0;
    }
    last.counters.iter().map(|one| one.overflow_missed).sum()
}

/// What closing the books needs from the start.
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

#[cfg(test)]
mod tests;
