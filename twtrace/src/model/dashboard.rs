//! What is going on right now: the figures of `top`.
//!
//! Totals and rates are the kernel side's own counts, so they are right even when the ring lost
//! detail. What events alone can tell (who, from where, what became of it) comes from models with
//! a bound of their own.

mod window;

use twtrace_common::histogram::Clock;
use twtrace_common::{REASONS, counters::Counters};

use super::books::Lost;
use super::conflicts::{Conflict, Conflicts, Counts, PeerKey};
use super::stats::{self, Bar, Percentiles, Stats};
use super::tally::{Detail, Summary, Tally};
use crate::event::{Event, Meta, Reason, Snapshot};
use window::Window;

/// Rows of a table at most: more than any screen has, few enough to be made every second.
pub const ROWS: usize = 256;

/// Follows a trace and can say at any moment how things are.
#[derive(Debug)]
pub struct Dashboard {
    started_ns: u64,
    tally: Tally,
    conflicts: Conflicts,
    window: Window,
    /// Conflicts whose outcome is known; nobody asks for them one by one.
    known: Vec<Conflict>,
}

/// How often something happened, and how often per second of late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    pub total: u64,
    /// Over the last [`window::LENGTH_NS`], or the time between two totals if that is longer;
    /// `None` before there were two.
    pub per_s: Option<f64>,
}

/// How things are at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// CLOCK_MONOTONIC ns.
    pub started_ns: u64,
    pub at_ns: u64,
    pub births: Pace,
    pub promotions: Pace,
    pub ends: Pace,
    pub overflows: Pace,
    /// SYNs that a mini-socket refused; `None` if refusals are not traced.
    pub refused_syns: Option<Pace>,
    /// Ends by reason, only what there was; the most first.
    pub reasons: Vec<Ended>,
    /// Times in TIME_WAIT of all reasons together.
    pub lifetimes: Option<Percentiles>,
    pub bars: Vec<Bar>,
    /// Those with most births first.
    pub namespaces: Vec<InNetns>,
    pub conflicts: Counts,
    /// Those with most refused SYNs first.
    pub peers: Vec<Refusing>,
    pub lost: Lost,
    /// Refusals that were counted, but beyond the rate at which they are reported.
    pub limited: u64,
    pub undecoded: u64,
}

/// The ends of one reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    pub reason: Reason,
    pub ends: Pace,
    pub time_wait: Option<Percentiles>,
    pub fin_wait_2: Option<Percentiles>,
}

/// One network namespace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InNetns {
    /// Inode number; 0 stands for those that found no counters of their own.
    pub netns: u32,
    pub births: Pace,
    pub ends: Pace,
    pub overflows: Pace,
    pub refused_syns: Pace,
}

/// A remote address whose SYNs were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusing {
    pub peer: PeerKey,
    pub counts: Counts,
    /// From the first refused SYN to what let the client in.
    pub delays: Option<Percentiles>,
}

impl Dashboard {
    #[must_use]
    pub fn new(meta: &Meta) -> Self {
        Self {
            started_ns: meta.started_ns,
            tally: Tally::new(meta, Detail::Records),
            conflicts: Conflicts::new(meta),
            window: Window::new(),
            known: Vec::new(),
        }
    }

    /// Counts an event.
    pub fn event(&mut self, event: Event) {
        if let Some(report) = self.tally.event(event) {
            self.conflicts.event(&report, &mut self.known);
            self.known.clear();
        }
    }

    /// Counts a record that could not be decoded.
    pub fn undecoded(&mut self) {
        self.tally.undecoded();
    }

    /// Takes the totals up to now; the first when tracing begins.
    pub fn totals(&mut self, totals: Snapshot) {
        self.window.push(totals.at_ns, totals.counters.clone());
        self.tally.snapshot(totals);
    }

    /// Closes the books. `cut`: the source ended before its end.
    #[must_use]
    pub fn summary(&self, cut: bool) -> Summary {
        self.tally.summary(cut)
    }

    /// How things are.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let summary = self.tally.summary(false);
        let pace = |get: fn(&Counters) -> u64| self.window.pace(get);
        let stats = self
            .tally
            .last()
            .map(|totals| Stats::total(self.started_ns, totals));
        let times = stats.as_ref().map(|stats| stats.merged(Clock::TimeWait));
        let times = times.filter(|times| !times.is_empty());
        Figures {
            started_ns: self.started_ns,
            at_ns: self.started_ns + summary.duration_ns,
            births: pace(births),
            promotions: pace(|one| one.promoted),
            ends: pace(ends),
            overflows: pace(|one| one.overflowed),
            refused_syns: summary.books.refusals.map(|_| pace(|one| one.refused_syns)),
            reasons: self.reasons(stats.as_ref()),
            lifetimes: times.as_ref().map(stats::percentiles),
            bars: times.as_ref().map(stats::bars).unwrap_or_default(),
            namespaces: self.namespaces(),
            conflicts: self.conflicts.overview().counts,
            peers: self.peers(),
            lost: summary.books.lost(),
            limited: summary.books.refusals.map_or(0, |class| class.limited),
            undecoded: summary.books.undecoded,
        }
    }

    fn reasons(&self, stats: Option<&Stats>) -> Vec<Ended> {
        let times = |reason, clock| {
            let mut on = stats?.on(clock);
            on.find(|one| one.reason == reason)
                .map(|one| one.percentiles)
        };
        let mut reasons: Vec<_> = Reason::ALL
            .into_iter()
            .map(|reason| Ended {
                reason,
                ends: self.window.pace(|one| one.ended[reason as usize]),
                time_wait: times(reason, Clock::TimeWait),
                fin_wait_2: times(reason, Clock::FinWait2),
            })
            .filter(|one| one.ends.total > 0)
            .collect();
        const { assert!(Reason::ALL.len() == REASONS) };
        reasons.sort_by_key(|one| std::cmp::Reverse(one.ends.total));
        reasons
    }

    fn namespaces(&self) -> Vec<InNetns> {
        let mut all: Vec<_> = self
            .window
            .namespaces()
            .map(|netns| {
                let pace = |get: fn(&Counters) -> u64| self.window.pace_in(netns, get);
                InNetns {
                    netns,
                    births: pace(births),
                    ends: pace(ends),
                    overflows: pace(|one| one.overflowed),
                    refused_syns: pace(|one| one.refused_syns),
                }
            })
            .collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.births.total));
        all.truncate(ROWS);
        all
    }

    fn peers(&self) -> Vec<Refusing> {
        let peers = self.conflicts.top(ROWS).peers.into_iter();
        peers
            .map(|(peer, known)| Refusing {
                peer,
                counts: known.counts,
                delays: known.delays(),
            })
            .collect()
    }
}

fn births(counters: &Counters) -> u64 {
    counters.born_fin_wait_2 + counters.born_time_wait
}

fn ends(counters: &Counters) -> u64 {
    counters.ended.iter().sum()
}
