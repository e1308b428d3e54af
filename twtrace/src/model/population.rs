//! How many mini-sockets are alive, per network namespace.
//!
//! Alive = old + born - ended. The old ones are listed once everything is attached; births, ends
//! and promotions are the kernel side's exact totals, so what the ring loses later changes
//! nothing.

use std::collections::BTreeMap;

use twtrace_common::counters::Counters;

use super::census::{Census, Change};
use crate::event::found::{Found, Listed, Lister};
use crate::event::{BornAs, Event, Overflow, Reason, Snapshot};

/// Namespaces that are told apart.
pub(super) const MAX_NAMESPACES: usize = 16_384;

/// Mini-sockets alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    pub time_wait: u64,
    pub fin_wait_2: u64,
}

impl Alive {
    /// Both substates.
    #[must_use]
    pub fn all(self) -> u64 {
        self.time_wait + self.fin_wait_2
    }
}

/// One namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Inode number.
    pub netns: u32,
    /// By the latest totals.
    pub alive: Alive,
    /// How many more or fewer there may be, because of what was lost or missed while the old ones
    /// were listed.
    pub uncertain: u64,
    /// How many may be in the other substate, because they changed it while they were listed.
    pub substate_uncertain: u64,
    /// Old ones are not known: the namespace was not listed, or not to its end.
    pub partial: bool,
    /// `tcp_max_tw_buckets`, if it was read and no filter hides what counts against it.
    pub limit: Option<u64>,
    /// Overflows: how many could not be made.
    pub overflows: u64,
    /// The connection of the last overflow.
    pub last_overflow: Option<Overflow>,
}

impl Row {
    /// How many more the limit allows.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        Some(self.limit?.saturating_sub(self.alive.all()))
    }
}

#[derive(Debug, Default)]
struct Namespace {
    /// Listed and alive at the end of the listing, by substate.
    seeded: [i64; 2],
    /// Old ones that ended while the listing ran, by substate.
    old_ended: [i64; 2],
    /// What the totals were when the listing began.
    before: Totals,
    /// Latest totals.
    now: Totals,
    /// Ends in FIN_WAIT2 for reasons that also end TIME_WAITs.
    left_fin_wait_2: i64,
    lost: u64,
    promoted_meanwhile: u64,
    listed: Option<Listed>,
    limit: Option<u64>,
    last_overflow: Option<Overflow>,
}

/// What the kernel side has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    born_fin_wait_2: i64,
    born_time_wait: i64,
    ended: i64,
    ended_fin_wait_2: i64,
    promoted: i64,
    overflows: u64,
    /// Births and ends without a record.
    lost: u64,
    missed: u64,
}

/// Follows how many are alive.
#[derive(Debug)]
pub struct Population {
    census: Census,
    namespaces: BTreeMap<u32, Namespace>,
    listings: u32,
    /// When the listing was over; whatever comes later closes it.
    over_ns: Option<u64>,
    filtered: bool,
    missed: u64,
}

impl Population {
    /// `filtered`: a filter is set, so that not all of a namespace's mini-sockets are seen.
    #[must_use]
    pub fn new(filtered: bool) -> Self {
        Self {
            census: Census::new(),
            namespaces: BTreeMap::new(),
            listings: 0,
            over_ns: None,
            filtered,
            missed: 0,
        }
    }

    /// Takes an event and says what it did to the number of those alive.
    pub fn event(&mut self, event: &Event) -> Change {
        let change = self.census.event(event);
        let Some(namespace) = self.namespace(event.flow().netns) else {
            return change;
        };
        match change {
            Change::Seeded(substate) => namespace.seeded[substate as usize] += 1,
            Change::SeedEnded(substate)
            | Change::BornOverSeed {
                seeded: substate, ..
            } => {
                namespace.seeded[substate as usize] -= 1;
            }
            Change::Lost => namespace.lost += 1,
            Change::Nothing | Change::Born(_) | Change::Ended | Change::UnlistedEnded => {}
        }
        match event {
            Event::End(end) => {
                let substate = substate(end.in_time_wait);
                if matches!(change, Change::SeedEnded(_) | Change::UnlistedEnded) {
                    namespace.old_ended[substate as usize] += 1;
                }
                if substate == BornAs::FinWait2 && !only_in_fin_wait_2(end.reason) {
                    namespace.left_fin_wait_2 += 1;
                }
            }
            Event::Overflow(overflow) => namespace.last_overflow = Some(*overflow),
            _ => {}
        }
        change
    }

    /// Takes what was found by asking.
    pub fn found(&mut self, found: &Found) {
        match found {
            Found::Listing { at_ns } => self.begin(*at_ns),
            Found::Listed(listed) => {
                if let Some(namespace) = self.namespace(listed.netns) {
                    namespace.listed = Some(listed.clone());
                }
            }
            Found::ListingOver { at_ns } => self.over_ns = Some(*at_ns),
            Found::Survey(survey) => {
                if let Some(namespace) = self.namespace(survey.netns) {
                    namespace.limit = Some(survey.rules.tcp_max_tw_buckets.into());
                }
            }
            Found::Clock(_) => {}
        }
    }

    /// Takes totals.
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        for counters in &snapshot.counters {
            if let Some(namespace) = self.namespace(counters.netns) {
                namespace.now = Totals::of(counters);
            }
        }
        self.missed = snapshot.missed.unwrap_or(0);
        if self.over_ns.is_some_and(|over| over < snapshot.at_ns) {
            self.close();
        }
    }

    /// The first listing belongs to the start of tracing, whenever it begins.
    fn begin(&mut self, at_ns: u64) {
        self.listings += 1;
        self.over_ns = None;
        if self.listings == 1 {
            return;
        }
        self.census.begin(at_ns);
        for namespace in self.namespaces.values_mut() {
            namespace.before = namespace.now;
            namespace.seeded = [0; 2];
            namespace.old_ended = [0; 2];
            namespace.left_fin_wait_2 = 0;
            namespace.lost = 0;
            namespace.listed = None;
        }
    }

    fn close(&mut self) {
        self.over_ns = None;
        self.census.close();
        for namespace in self.namespaces.values_mut() {
            let Totals { lost, promoted, .. } = namespace.since_listing();
            namespace.lost += lost;
            namespace.promoted_meanwhile = promoted.unsigned_abs();
        }
    }

    /// How many listings have begun.
    #[must_use]
    pub fn listings(&self) -> u32 {
        self.listings
    }

    /// Whether the old ones are known.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        !self.census.is_open()
    }

    /// All namespaces in which there is something to say, the fullest first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .namespaces
            .iter()
            .filter(|&(&netns, _)| netns != 0)
            .map(|(&netns, namespace)| self.row(netns, namespace))
            .filter(|row| row.alive.all() > 0 || row.overflows > 0)
            .collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.alive.all()), row.netns));
        rows
    }

    /// One namespace, by its inode number.
    #[must_use]
    pub fn of(&self, netns: u32) -> Option<Row> {
        Some(self.row(netns, self.namespaces.get(&netns)?))
    }

    /// All together.
    #[must_use]
    pub fn alive(&self) -> Alive {
        self.rows().iter().fold(Alive::default(), |sum, row| Alive {
            time_wait: sum.time_wait + row.alive.time_wait,
            fin_wait_2: sum.fin_wait_2 + row.alive.fin_wait_2,
        })
    }

    fn row(&self, netns: u32, namespace: &Namespace) -> Row {
        Row {
            netns,
            alive: namespace.alive(),
            uncertain: namespace.lost + namespace.now.missed + self.missed,
            substate_uncertain: namespace.promoted_meanwhile,
            partial: namespace
                .listed
                .as_ref()
                .is_none_or(|listed| listed.interrupted || listed.by == Lister::Nothing),
            limit: namespace.limit.filter(|_| !self.filtered),
            overflows: namespace.now.overflows,
            last_overflow: namespace.last_overflow,
        }
    }

    fn namespace(&mut self, netns: u32) -> Option<&mut Namespace> {
        if self.namespaces.len() >= MAX_NAMESPACES && !self.namespaces.contains_key(&netns) {
            return None;
        }
        Some(self.namespaces.entry(netns).or_default())
    }
}

impl Namespace {
    fn since_listing(&self) -> Totals {
        let (now, before) = (&self.now, &self.before);
        Totals {
            born_fin_wait_2: now.born_fin_wait_2 - before.born_fin_wait_2,
            born_time_wait: now.born_time_wait - before.born_time_wait,
            ended: now.ended - before.ended,
            ended_fin_wait_2: now.ended_fin_wait_2 - before.ended_fin_wait_2,
            promoted: now.promoted - before.promoted,
            overflows: now.overflows,
            lost: now.lost - before.lost,
            missed: now.missed,
        }
    }

    fn alive(&self) -> Alive {
        let since = self.since_listing();
        let [fin_wait_2, time_wait] = [0, 1].map(|at| self.seeded[at] + self.old_ended[at]);
        let born = since.born_fin_wait_2 + since.born_time_wait;
        let all = (fin_wait_2 + time_wait + born - since.ended).max(0);
        let waiting = fin_wait_2 + since.born_fin_wait_2
            - since.promoted
            - since.ended_fin_wait_2
            - self.left_fin_wait_2;
        let waiting = waiting.clamp(0, all);
        Alive {
            time_wait: (all - waiting).unsigned_abs(),
            fin_wait_2: waiting.unsigned_abs(),
        }
    }
}

impl Totals {
    fn of(counters: &Counters) -> Self {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let ended = |reason: Reason| count(counters.ended[reason as usize]);
        Self {
            born_fin_wait_2: count(counters.born_fin_wait_2),
            born_time_wait: count(counters.born_time_wait),
            ended: count(counters.ended.iter().sum()),
            ended_fin_wait_2: Reason::ALL
                .into_iter()
                .filter(|reason| only_in_fin_wait_2(*reason))
                .map(ended)
                .sum(),
            promoted: count(counters.promoted),
            overflows: counters.overflowed,
            lost: counters.birth_ring_full + counters.end_ring_full + counters.map_full,
            missed: counters.missed,
        }
    }
}

/// The reasons that end only FIN_WAIT2; others may end either substate.
fn only_in_fin_wait_2(reason: Reason) -> bool {
    matches!(reason, Reason::FinWait2Timeout | Reason::FinWait2Reset)
}

fn substate(in_time_wait: bool) -> BornAs {
    if in_time_wait {
        BornAs::TimeWait
    } else {
        BornAs::FinWait2
    }
}

#[cfg(test)]
mod tests;
