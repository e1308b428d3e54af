//! Follows a trace, live or replayed, from its first event to its summary.

use twtrace_common::REASONS;
use twtrace_common::counters::Counters;
use twtrace_common::ports::CALLS;
use twtrace_common::refusal::CLASSES;

use super::books::{self, Books, Opening, Reported, Unseen};
use super::lifecycle::{Circumstances, Life};
use super::refusal::Refused;
use super::report::Report;
use crate::event::{Event, Meta, Reason, Snapshot};
use crate::text::Text;

/// What the kernel side was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A record per event (`trace`, `record`, `report`).
    Records,
    /// Totals and histograms only (`hist`).
    Totals,
}

/// Gives each event its meaning and keeps what the summary needs.
#[derive(Debug)]
pub struct Tally {
    meta: Meta,
    detail: Detail,
    reported: Reported,
    undecoded: u64,
    circumstances: Circumstances,
    latest_ns: u64,
    opening: Option<Opening>,
    last: Option<Snapshot>,
}

/// A whole trace in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `uname -r`.
    pub kernel: Text,
    /// "fentry", "kprobe" or "mixed".
    pub attach: Text,
    /// From the start of tracing to the last event or totals.
    pub duration_ns: u64,
    /// Births in substate FIN_WAIT2.
    pub born_fin_wait_2: u64,
    /// Births in substate TIME_WAIT.
    pub born_time_wait: u64,
    /// FIN_WAIT2 to TIME_WAIT.
    pub promoted: u64,
    /// `None` if re-arms were not traced.
    pub rearmed: Option<u64>,
    /// Ends whose birth was not seen.
    pub untracked: u64,
    /// Births and ends that the filters left out.
    pub filtered: u64,
    /// Ends by reason.
    #[doc(hidden)]
    pub ended: [u64; REASONS],
    /// Refusals by class.
    #[doc(hidden)]
    pub refused: [u64; CLASSES],
    /// SYNs that a mini-socket refused.
    pub refused_syns: u64,
    /// Calls that got no port, by call.
    #[doc(hidden)]
    pub port_failures: [u64; CALLS],
    /// Refusals for which the kernel gives another rule than our repetition of its test.
    pub verdict_differs: u64,
    /// What was seen, reported and lost.
    pub books: Books,
    /// The recording was cut: what came after its last totals is missing.
    pub cut: bool,
}

impl Summary {
    /// Ends for this reason, by the count in the kernel.
    #[must_use]
    pub fn ended(&self, reason: Reason) -> u64 {
        self.ended[reason as usize]
    }

    /// Nothing was lost and nothing is missing: exit code 0, else 3.
    #[must_use]
    pub fn complete(&self) -> bool {
        !self.cut && self.books.complete()
    }
}

impl Tally {
    #[must_use]
    pub fn new(meta: &Meta, detail: Detail) -> Self {
        Self {
            circumstances: Circumstances {
                started_ns: meta.started_ns,
                births_lost: false,
            },
            latest_ns: meta.started_ns,
            meta: meta.clone(),
            detail,
            reported: Reported {
                ends: 0,
                overflows: 0,
                refusals: 0,
                births: 0,
                port_failures: 0,
            },
            undecoded: 0,
            opening: None,
            last: None,
        }
    }

    /// Counts an event and gives it its meaning; `None` for what is not shown by itself.
    pub fn event(&mut self, event: Event) -> Option<Report> {
        self.latest_ns = self.latest_ns.max(event.at_ns());
        match event {
            Event::End(end) => {
                self.reported.ends += 1;
                Some(Report::End(Life::new(end, self.circumstances)))
            }
            Event::Overflow(overflow) => {
                self.reported.overflows += 1;
                Some(Report::Overflow(overflow))
            }
            Event::Refusal(refusal) => {
                self.reported.refusals += 1;
                Some(Report::Refusal(Refused::new(refusal)))
            }
            Event::PortFailure(failure) => {
                self.reported.port_failures += 1;
                Some(Report::PortFailure(failure))
            }
            Event::Birth(_) => {
                self.reported.births += 1;
                None
            }
            Event::Seed(_) => None,
        }
    }

    /// Counts a record that could not be decoded.
    pub fn undecoded(&mut self) {
        self.undecoded += 1;
    }

    /// Takes the totals up to now. The first must come when tracing begins, the last when every
    /// event has been shown.
    pub fn snapshot(&mut self, snapshot: Snapshot) {
        // A slot that was taken from a mini-socket may have been taken too early.
        let gone = |one: &Counters| one.map_full > 0 || one.slot_stale > 0;
        let full = snapshot.counters.iter().any(gone);
        let missed = books::missed(&snapshot).unwrap_or(0);
        // Kernels before 6.7 do not say that they skipped a kprobe because of another.
        let untold = snapshot.missed.is_none() && self.meta.attach != "fentry";
        self.circumstances.births_lost = full || missed > 0 || untold;
        self.latest_ns = self.latest_ns.max(snapshot.at_ns);
        self.opening.get_or_insert_with(|| Opening::from(&snapshot));
        self.last = Some(snapshot);
    }

    /// The latest totals.
    #[must_use]
    pub fn last(&self) -> Option<&Snapshot> {
        self.last.as_ref()
    }

    /// What no hook could see; `None` if that is nothing.
    #[must_use]
    pub fn unseen(&self) -> Option<Unseen> {
        let nothing = Snapshot::default();
        let last = self.last.as_ref().unwrap_or(&nothing);
        let opening = self.opening.clone().unwrap_or_default();
        Unseen::new(&self.meta, &opening, last)
    }

    /// Closes the books. `cut`: the source ended before its end.
    #[must_use]
    pub fn summary(&self, cut: bool) -> Summary {
        let nothing = Snapshot {
            at_ns: self.meta.started_ns,
            counters: Vec::new(),
            histograms: Vec::new(),
            missed: None,
            kernel: Vec::new(),
            slack: 0,
        };
        let last = self.last.as_ref().unwrap_or(&nothing);
        let opening = self.opening.clone().unwrap_or_default();
        let cut = cut || self.last.is_none();
        let sum = |get: fn(&Counters) -> u64| last.counters.iter().map(get).sum::<u64>();
        Summary {
            kernel: self.meta.kernel.clone(),
            attach: self.meta.attach.clone(),
            duration_ns: self.latest_ns - self.meta.started_ns,
            born_fin_wait_2: sum(|one| one.born_fin_wait_2),
            born_time_wait: sum(|one| one.born_time_wait),
            promoted: sum(|one| one.promoted),
            rearmed: self.meta.rearms.then(|| sum(|one| one.rearmed)),
            untracked: sum(|one| one.end_untracked),
            filtered: sum(|one| one.filtered),
            ended: sum_each(last, |one| &one.ended),
            refused: sum_each(last, |one| &one.refused),
            refused_syns: sum(|one| one.refused_syns),
            port_failures: sum_each(last, |one| &one.port_failures),
            verdict_differs: sum(|one| one.verdict_differs),
            books: Books::new(
                &self.meta,
                &opening,
                last,
                (self.detail == Detail::Records).then_some(self.reported),
                self.undecoded,
                cut,
            ),
            cut,
        }
    }
}

fn sum_each<const N: usize>(snapshot: &Snapshot, get: impl Fn(&Counters) -> &[u64; N]) -> [u64; N] {
    let mut sums = [0; N];
    for counters in &snapshot.counters {
        for (sum, count) in sums.iter_mut().zip(get(counters)) {
            *sum += count;
        }
    }
    sums
}
