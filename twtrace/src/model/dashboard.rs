//! The present state: the figures of `top`.
//!
//! Numbers and rates are the kernel side's own counts, right even when the ring lost detail. What
//! only events can tell (owner, peer, outcome) comes from models with bounds of their own.

mod ranking;
mod window;

use std::cmp::Reverse;

use twtrace_common::counters::Counters;
use twtrace_common::histogram::Clock;

use super::books::Lost;
use super::conflicts::{Conflict, Conflicts, Counts, PeerKey};
use super::groups::By;
use super::ports::{self, Ports};
use super::stats::{self, Bar, Percentiles, Stats};
use super::tally::{Detail, Summary, Tally};
use super::{Report, population};
use crate::event::found::Found;
use crate::event::{Event, Meta, Overflow, PortFailure, Reason, Snapshot};
use ranking::Ranking;
pub use ranking::{Ranked, Rankings};
use window::Window;

/// Rows of a table at most: more than a screen has, few enough to be made every second.
pub const ROWS: usize = 100;
/// How owners can be grouped, the most useful way first.
pub const OWNERS: [By; 3] = [By::Cgroup, By::Uid, By::Netns];
/// How the other ends can be grouped.
pub const DESTINATIONS: [By; 3] = [By::Service, By::Peer, By::Lport];

/// Follows a trace and can say at any moment how things are.
#[derive(Debug)]
pub struct Dashboard {
    started_ns: u64,
    ports_traced: bool,
    tally: Tally,
    conflicts: Conflicts,
    ports: Ports,
    owners: Ranking,
    destinations: Ranking,
    window: Window,
    last_overflow: Option<Overflow>,
    last_failure: Option<PortFailure>,
    /// Conflicts whose outcome is known; nobody asks for them one by one.
    known: Vec<Conflict>,
}

/// How often something happened, in all and per second lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    pub total: u64,
    /// Over the last ten seconds, or the time between two totals if that is longer; `None` before
    /// there were two.
    pub per_s: Option<f64>,
}

/// How things are at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// CLOCK_MONOTONIC ns.
    pub started_ns: u64,
    pub at_ns: u64,
    /// Mini-sockets that are alive, in all namespaces.
    pub alive: population::Alive,
    /// Earlier ones are not included: they were not listed.
    pub partial: bool,
    /// How many more or fewer there may be.
    pub uncertain: u64,
    /// Full sockets in FIN_WAIT2 that a process holds: they are no mini-sockets. `None` if that is
    /// not known.
    pub held_fin_wait_2: Option<u64>,
    pub births: Pace,
    pub ends: Pace,
    pub overflows: Pace,
    pub last_overflow: Option<Overflow>,
    /// SYNs that a mini-socket refused; `None` if refusals are not traced.
    pub refused_syns: Option<Pace>,
    /// Ends by reason, only what there was; the most first.
    pub reasons: Vec<Ended>,
    /// Times in TIME_WAIT of all reasons together.
    pub lifetimes: Option<Percentiles>,
    pub bars: Vec<Bar>,
    /// The fullest first.
    pub namespaces: Vec<InNetns>,
    /// Who closed the connections; the most ends first.
    pub owners: Rankings,
    pub destinations: Rankings,
    /// Where local ports run out; the fullest first.
    pub ports: Vec<ports::Row>,
    /// Calls that got no port; `None` if they were not traced.
    pub port_failures: Option<u64>,
    pub last_failure: Option<PortFailure>,
    pub conflicts: Counts,
    /// Those with most refused SYNs first.
    pub peers: Vec<Refusing>,
    pub lost: Lost,
    /// Refusals that were counted, but beyond the rate at which they are reported.
    pub limited: u64,
    pub undecoded: u64,
}

/// From this percentage of `tcp_max_tw_buckets` on, a namespace is near its limit.
const NEAR: u64 = 80;

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
    pub population: population::Row,
    /// Of `tcp_max_tw_buckets`, in percent; `None` if that is not known.
    pub percent: Option<u64>,
    pub births: Pace,
    pub ends: Pace,
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
        let mut ports = Ports::new(meta);
        if !meta.births {
            // Nothing was listed, and nothing will be.
            ports.found(&Found::ListingOver {
                at_ns: meta.started_ns,
            });
        }
        Self {
            started_ns: meta.started_ns,
            ports_traced: meta.ports,
            tally: Tally::new(meta, Detail::Records),
            conflicts: Conflicts::new(meta),
            ports,
            owners: Ranking::new(OWNERS, meta),
            destinations: Ranking::new(DESTINATIONS, meta),
            window: Window::new(),
            last_overflow: None,
            last_failure: None,
            known: Vec::new(),
        }
    }

    /// Counts an event.
    pub fn event(&mut self, event: Event) {
        self.ports.event(&event);
        match &event {
            Event::Birth(birth) => {
                self.owners.birth(birth);
                self.destinations.birth(birth);
            }
            Event::Overflow(overflow) => self.last_overflow = Some(*overflow),
            Event::PortFailure(failure) => self.last_failure = Some(*failure),
            _ => {}
        }
        if let Some(report) = self.tally.event(event) {
            self.report(&report);
        }
    }

    fn report(&mut self, report: &Report) {
        self.owners.report(report);
        self.destinations.report(report);
        self.conflicts.event(report, &mut self.known);
        self.known.clear();
    }

    /// Counts a record that could not be decoded.
    pub fn undecoded(&mut self) {
        self.tally.undecoded();
    }

    /// Takes what was found by asking.
    pub fn found(&mut self, found: &Found) {
        self.ports.found(found);
    }

    /// Takes the totals up to now; the first when tracing begins.
    pub fn totals(&mut self, totals: Snapshot) {
        self.ports.snapshot(&totals);
        self.window.push(totals.at_ns, totals.counters.clone());
        self.owners.moment(totals.at_ns);
        self.destinations.moment(totals.at_ns);
        self.tally.snapshot(totals);
    }

    /// Groups owners and destinations another way: the index in [`OWNERS`] and
    /// [`DESTINATIONS`], modulo their length.
    pub fn group_by(&mut self, owners: usize, destinations: usize) {
        self.owners.show(owners);
        self.destinations.show(destinations);
    }

    /// Where ports are used, and how many are alive.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
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
        let stats = self
            .tally
            .last()
            .map(|totals| Stats::total(self.started_ns, totals));
        let times = stats.as_ref().map(|stats| stats.merged(Clock::TimeWait));
        let times = times.filter(|times| !times.is_empty());
        let namespaces = self.namespaces();
        let exact = summary.books.lost().ring == 0;
        let Summary { books, .. } = &summary;
        let at_ns = self.started_ns + summary.duration_ns;
        Figures {
            started_ns: self.started_ns,
            at_ns,
            alive: self.ports.population().alive(),
            partial: namespaces.iter().any(|one| one.population.partial),
            uncertain: namespaces.iter().map(|one| one.population.uncertain).sum(),
            held_fin_wait_2: self.ports.held_fin_wait_2(),
            births: self.window.pace(births),
            ends: self.window.pace(ends),
            overflows: self.window.pace(|one| one.overflowed),
            last_overflow: self.last_overflow,
            refused_syns: books
                .refusals
                .map(|_| self.window.pace(|one| one.refused_syns)),
            reasons: self.reasons(stats.as_ref()),
            lifetimes: times.as_ref().map(stats::percentiles),
            bars: times.as_ref().map(stats::bars).unwrap_or_default(),
            namespaces,
            owners: self.owners.rankings(at_ns, exact),
            destinations: self.destinations.rankings(at_ns, exact),
            ports: self.port_rows(),
            port_failures: self.ports_traced.then(|| self.ports.failures()),
            last_failure: self.last_failure,
            conflicts: self.conflicts.overview().counts,
            peers: self.peers(),
            lost: books.lost(),
            limited: books.refusals.map_or(0, |class| class.limited),
            undecoded: books.undecoded,
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
        reasons.sort_by_key(|one| Reverse(one.ends.total));
        reasons
    }

    fn namespaces(&self) -> Vec<InNetns> {
        let rows = self.ports.population().rows();
        rows.into_iter()
            .take(ROWS)
            .map(|population| {
                let alive = population.alive.all();
                let netns = population.netns;
                let pace = |get: fn(&Counters) -> u64| self.window.pace_in(netns, get);
                InNetns {
                    percent: population
                        .limit
                        .and_then(|limit| (alive * 100).checked_div(limit)),
                    population,
                    births: pace(births),
                    ends: pace(ends),
                    refused_syns: pace(|one| one.refused_syns),
                }
            })
            .collect()
    }

    /// Destinations and sources, then ports that callers named.
    fn port_rows(&self) -> Vec<ports::Row> {
        let mut rows = self.ports.rows(ROWS);
        rows.extend(self.ports.named(ROWS - rows.len()));
        rows
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

impl Figures {
    /// The namespace that is nearest to its limit.
    #[must_use]
    pub fn nearest_to_limit(&self) -> Option<&InNetns> {
        let limited = self.namespaces.iter().filter(|one| one.percent.is_some());
        limited.max_by_key(|one| (one.percent, one.population.alive.all()))
    }
}

impl InNetns {
    /// No more mini-sockets are made soon.
    #[must_use]
    pub fn near_limit(&self) -> bool {
        self.percent.is_some_and(|percent| percent >= NEAR)
    }
}

fn births(counters: &Counters) -> u64 {
    counters.born_fin_wait_2 + counters.born_time_wait
}

fn ends(counters: &Counters) -> u64 {
    counters.ended.iter().sum()
}

#[cfg(test)]
mod tests;
