//! Who is about to run out of local ports: per namespace, source, destination and destination
//! port.
//!
//! connect() may use a port of the ephemeral range for each destination once: what another
//! connection or a mini-socket between the same addresses holds is blocked. A listener, or a
//! socket that is only bound, keeps its port from all destinations (`__inet_hash_connect`). So
//! does bind() before connect(): there the source runs out of ports, not the destination.

mod capacity;
mod failures;
mod holders;
mod rate;
mod reuse;
mod row;
mod rows;
mod sources;

use foldhash::{HashMap, HashMapExt as _};
use std::cmp::Reverse;
use std::collections::BTreeMap;

use self::capacity::Capacity;
pub(in crate::model) use self::capacity::usable;
use self::failures::{Failures, Named};
#[cfg(test)]
pub(crate) use self::holders::Sides;
pub(crate) use self::holders::{Holder, Holders, Sight};
use self::rate::Window;
pub(crate) use self::row::{Failed, Key, Reuse, Row, Why};
use self::sources::{Place, Sources, Step};
use super::census::Change;
use super::population::{MAX_NAMESPACES, Population};
use crate::event::found::{Found, Peer, PortLook, PortRules, Survey};
use crate::event::{BornAs, Call, End, Event, Meta, PortFailure, Snapshot};

/// Destinations that are told apart; the rest is counted together.
pub(crate) const MAX_KEYS: usize = 65_536;
/// Share of the ports in use from which on a destination is under pressure, in percent.
const HIGH: u64 = 90;
/// Below this percentage in use, a short time until exhaustion is only the start of a burst.
const LOW: u64 = 10;
/// Ports that wait to be looked at: each look lists sockets.
const MAX_UNLOOKED: usize = 16;
/// Warnings between two ticks.
const MAX_WARNINGS: usize = 16;

#[derive(Debug, Default)]
struct Destination {
    time_wait: u32,
    /// Of these, born in FIN_WAIT2: their promotion is only counted, per namespace.
    born_fin_wait_2: u32,
    others: u32,
    window: Window,
    failures: Failures,
    peak: u32,
    warned: bool,
}

#[derive(Debug, Default)]
struct Namespace {
    capacity: Capacity,
    /// `None` until it was looked at.
    rules: Option<PortRules>,
    held_fin_wait_2: Option<u64>,
    /// Ports that listeners and sockets that are only bound had when it was last looked.
    taken: Vec<(u16, u16)>,
    /// Mini-sockets that were born in FIN_WAIT2, whatever their ports.
    born_fin_wait_2: u64,
    /// A survey was asked for.
    asked: bool,
}

impl Namespace {
    /// Whether a listener or a socket that was only bound had this port; `None` out of the range.
    fn taken_before(&self, port: u16) -> Option<bool> {
        let has = |&(from, to): &(u16, u16)| (from..=to).contains(&port);
        let surveyed = self.rules.is_some() && self.capacity.ranges_over(port);
        surveyed.then(|| self.taken.iter().any(has))
    }
}

/// Follows the use of ports.
#[derive(Debug)]
pub struct Ports {
    population: Population,
    namespaces: BTreeMap<u32, Namespace>,
    destinations: HashMap<Key, Destination>,
    sources: Sources,
    named: Named,
    /// Mini-sockets of destinations that found no room.
    beyond: u64,
    started_ns: u64,
    latest_ns: u64,
    calls: u64,
    /// Births and ends that the ring lost: up to now, and before the last listing.
    lost: [u64; 2],
    /// Not all mini-sockets are seen.
    filtered: bool,
    /// Ports to look at, that bind() did not get.
    unlooked: Vec<(u32, u16)>,
    /// What counts as a port of the range was changed after mini-sockets were counted.
    moved: bool,
}

impl Ports {
    #[must_use]
    pub fn new(meta: &Meta) -> Self {
        Self {
            population: Population::new(meta.filtered),
            namespaces: BTreeMap::new(),
            destinations: HashMap::new(),
            sources: Sources::default(),
            named: Named::default(),
            beyond: 0,
            started_ns: meta.started_ns,
            latest_ns: meta.started_ns,
            calls: 0,
            lost: [0; 2],
            filtered: meta.filtered,
            unlooked: Vec::new(),
            moved: false,
        }
    }

    /// How many mini-sockets are alive.
    #[must_use]
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// Takes an event. Returns a call that got no port if it is the first of its kind within a
    /// second: a call that is repeated again and again is reported once per second.
    pub fn event(&mut self, event: &Event) -> Option<Failed> {
        let change = self.population.event(event);
        self.latest_ns = self.latest_ns.max(event.at_ns());
        if let Event::PortFailure(failure) = event {
            return self.failure(failure);
        }
        self.fin_wait_2(event, change);
        if change != Change::Nothing {
            self.change(event, change);
        }
        None
    }

    /// Takes what was found by asking.
    pub fn found(&mut self, found: &Found) {
        self.population.found(found);
        match found {
            // What came before the first is not in it.
            Found::Listing { .. } if self.population.listings() > 1 => self.forget_mini_sockets(),
            Found::Survey(survey) => self.survey(survey),
            Found::Listing { .. }
            | Found::Listed(_)
            | Found::ListingOver { .. }
            | Found::Clock(_) => {}
        }
    }

    /// Ports that bind() did not get, and that it helps to look at; each is returned once for each
    /// report of it.
    pub fn unlooked(&mut self) -> Vec<(u32, u16)> {
        std::mem::take(&mut self.unlooked)
    }

    /// Takes what was seen on a port.
    pub fn looked(&mut self, look: &PortLook) {
        self.named.looked(look);
    }

    /// A failure with what is known now of what holds its port.
    #[must_use]
    pub fn again(&self, failed: Failed) -> Failed {
        let row = self.of(Key::of_call(&failed.failure));
        Failed {
            holders: row.and_then(|row| row.holders),
            ..failed
        }
    }

    /// Takes totals.
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        self.population.snapshot(snapshot);
        self.latest_ns = self.latest_ns.max(snapshot.at_ns);
        let each = snapshot.counters.iter();
        self.lost[0] = each
            .map(|one| one.birth_ring_full + one.end_ring_full)
            .sum();
    }

    /// Namespaces that have turned up without having been surveyed; each is returned once.
    pub fn unsurveyed(&mut self) -> Vec<u32> {
        let new = self
            .namespaces
            .iter_mut()
            .filter(|(_, namespace)| namespace.rules.is_none() && !namespace.asked);
        new.map(|(&netns, namespace)| {
            namespace.asked = true;
            netns
        })
        .collect()
    }

    /// Births and ends that the ring lost since the last listing began: so many ports may be
    /// counted wrongly in all.
    #[must_use]
    pub fn uncertain(&self) -> u64 {
        self.lost[0] - self.lost[1]
    }

    /// Mini-sockets should be listed again: the counts of ports have gone wrong.
    #[must_use]
    pub fn wants_listing(&self) -> bool {
        self.population.is_listed() && (self.moved || self.uncertain() > 0)
    }

    /// Time has passed, in case no event says so. Returns destinations that have come under
    /// pressure since the last call, the fullest first; a bounded number.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Row> {
        self.latest_ns = self.latest_ns.max(now_ns);
        let mut found = Vec::new();
        let sources = self.sources.of_bind().map(|(key, _)| *key);
        let keys: Vec<_> = self.destinations.keys().copied().chain(sources).collect();
        for key in keys {
            let Some(row) = self.of(key) else { continue };
            let pressure = row.under_pressure();
            let calm = !pressure && row.percent() < HIGH - LOW;
            let destination = match key.is_source() {
                true => self.sources.get_mut(&key).map(|source| &mut source.all),
                false => self.destinations.get_mut(&key),
            };
            let Some(destination) = destination else {
                continue;
            };
            if pressure && !destination.warned {
                destination.warned = true;
                found.push(row);
            } else if calm {
                destination.warned = false;
            }
        }
        found.sort_by_key(|row| Reverse(row.percent()));
        found.truncate(MAX_WARNINGS);
        found
    }

    /// Destinations with a port in use, and mini-sockets of those that found no room.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        (self.destinations.len(), self.beyond)
    }

    /// Destinations, and sources of bind(), with a port in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let sources = self.sources.of_bind().map(|(_, source)| &source.all);
        let each = self.destinations.values().chain(sources);
        each.filter(|one| one.time_wait + one.others > 0).count()
    }

    /// The latest moment that was told of, CLOCK_MONOTONIC ns.
    #[must_use]
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Calls that got no port.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.calls
    }

    /// Full sockets in FIN_WAIT2 that a process holds, in all namespaces that were looked at; `None`
    /// if that is not known of any.
    #[must_use]
    pub fn held_fin_wait_2(&self) -> Option<u64> {
        let each = self.namespaces.values().map(|one| one.held_fin_wait_2);
        each.flatten().reduce(|sum, held| sum + held)
    }

    /// The rules of a namespace, if they were read.
    #[must_use]
    pub fn rules(&self, netns: u32) -> Option<&PortRules> {
        self.namespaces.get(&netns)?.rules.as_ref()
    }

    /// Namespaces beyond the maximum share one that belongs to none.
    fn namespace(&mut self, netns: u32) -> &mut Namespace {
        let full = self.namespaces.len() >= MAX_NAMESPACES;
        let beyond = full && !self.namespaces.contains_key(&netns);
        self.namespaces
            .entry(if beyond { 0 } else { netns })
            .or_default()
    }

    fn change(&mut self, event: &Event, change: Change) {
        let flow = event.flow();
        let key = Key::of(flow);
        let capacity = &self.namespace(flow.netns).capacity;
        let place = capacity.has(flow.lport).then(|| Place {
            odd: capacity.is_odd(flow.lport),
            candidates: capacity.candidates(),
        });
        let mut step = Step {
            alive: change.alive(),
            peer: match capacity.ranges_over(flow.rport) {
                true => Peer::Ephemeral,
                false => Peer::Fixed,
            },
            destinations: 0,
            at_ns: event.at_ns(),
            lives: !matches!(change, Change::Seeded(_)),
        };
        if place.is_some() {
            step.destinations = self.count(key, event, change);
        }
        self.sources.step(key.source(), flow.lport, place, step);
    }

    /// Counts a port of the range, and returns by how many destinations more are in use.
    fn count(&mut self, key: Key, event: &Event, change: Change) -> i32 {
        let (at_ns, alive) = (event.at_ns(), change.alive());
        let Some(destination) = self.destination(key, alive > 0) else {
            self.beyond = self.beyond.saturating_add_signed(alive.into());
            return 0;
        };
        let used = destination.time_wait > 0;
        destination.time_wait = destination.time_wait.saturating_add_signed(alive);
        destination.note_peak();
        match change {
            Change::Born(_) | Change::BornOverSeed { .. } => destination.window.born(at_ns),
            Change::Ended | Change::SeedEnded(_) => destination.window.ended(at_ns),
            _ => {}
        }
        i32::from(destination.time_wait > 0) - i32::from(used)
    }

    /// Counts those that were born in FIN_WAIT2.
    fn fin_wait_2(&mut self, event: &Event, change: Change) {
        let step = match (change, event) {
            (Change::Born(BornAs::FinWait2) | Change::Seeded(BornAs::FinWait2), _) => 1,
            (Change::SeedEnded(BornAs::FinWait2), _) => -1,
            (Change::Ended, Event::End(end)) if was_fin_wait_2(end) => -1,
            (Change::BornOverSeed { born_as, seeded }, _) => {
                i32::from(born_as == BornAs::FinWait2) - i32::from(seeded == BornAs::FinWait2)
            }
            _ => 0,
        };
        if step == 0 {
            return;
        }
        let flow = event.flow();
        let namespace = self.namespace(flow.netns);
        namespace.born_fin_wait_2 = namespace.born_fin_wait_2.saturating_add_signed(step.into());
        if namespace.capacity.has(flow.lport)
            && let Some(destination) = self.destination(Key::of(flow), step > 0)
        {
            destination.born_fin_wait_2 = destination.born_fin_wait_2.saturating_add_signed(step);
        }
    }

    fn failure(&mut self, failure: &PortFailure) -> Option<Failed> {
        self.calls += 1;
        let key = Key::of_call(failure);
        let untold = match (failure.port_given, failure.call) {
            (true, _) => self.named.note(key, failure),
            (false, Call::Connect) => match self.destination(key, true) {
                Some(destination) => destination.failures.note(failure),
                None => Some(0),
            },
            (false, Call::Bind) => match self.sources.source(key) {
                Some(source) => source.all.failures.note(failure),
                None => Some(0),
            },
        }?;
        if failure.port_given && failure.call == Call::Bind && self.unlooked.len() < MAX_UNLOOKED {
            self.unlooked.push((key.netns, key.lport));
        }
        let row = self.of(key);
        Some(Failed {
            failure: *failure,
            candidates: match failure.port_given {
                true => 1,
                false => self.candidates(key.netns),
            },
            in_use: row.map_or(0, |row| row.in_use()),
            holders: row.and_then(|row| row.holders),
            untold,
        })
    }

    fn forget_mini_sockets(&mut self) {
        self.beyond = 0;
        self.moved = false;
        self.lost[1] = self.lost[0];
        self.sources.forget_mini_sockets();
        for namespace in self.namespaces.values_mut() {
            namespace.born_fin_wait_2 = 0;
        }
        for destination in self.destinations.values_mut() {
            destination.time_wait = 0;
            destination.born_fin_wait_2 = 0;
        }
    }

    fn survey(&mut self, survey: &Survey) {
        let Survey {
            netns,
            at_ns,
            rules,
            taken,
            users,
            held_fin_wait_2,
        } = survey;
        self.latest_ns = self.latest_ns.max(*at_ns);
        let capacity = Capacity::new(rules, taken);
        let namespace = self.namespace(*netns);
        let moved = namespace.rules.is_some() && namespace.capacity != capacity;
        namespace.capacity = capacity;
        namespace.rules = Some(rules.clone());
        namespace.held_fin_wait_2 = *held_fin_wait_2;
        namespace.taken.clone_from(taken);
        self.moved |= moved;
        self.sources.forget_others(*netns);
        for (key, destination) in &mut self.destinations {
            if key.netns == *netns {
                destination.others = 0;
            }
        }
        for users in users {
            let key = Key {
                netns: *netns,
                laddr: users.laddr,
                lport: 0,
                raddr: users.raddr,
                rport: users.rport,
            };
            if let Some(destination) = self.destination(key, true) {
                destination.others = users.ports;
                destination.note_peak();
            }
            if let Some(source) = self.sources.source(key.source()) {
                source.all.others = source.all.others.saturating_add(users.ports);
                source.all.note_peak();
            }
        }
    }

    /// The destination of this key, made if it is wanted and there is room.
    fn destination(&mut self, key: Key, wanted: bool) -> Option<&mut Destination> {
        if !wanted {
            return self.destinations.get_mut(&key);
        }
        if self.destinations.len() >= MAX_KEYS && !self.destinations.contains_key(&key) {
            self.sweep();
            if self.destinations.len() >= MAX_KEYS {
                return None;
            }
        }
        Some(self.destinations.entry(key).or_default())
    }

    /// Makes room of destinations that have nothing to tell any more.
    fn sweep(&mut self) {
        let now = self.latest_ns;
        self.destinations.retain(|_, one| {
            one.time_wait > 0
                || one.others > 0
                || one.failures.count > 0
                || !one.window.is_empty(now)
        });
    }
}

impl Destination {
    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.time_wait + self.others);
    }
}

/// One from before the trace that was promoted since counts as born in TIME_WAIT.
fn was_fin_wait_2(end: &End) -> bool {
    match end.born_as {
        Some(born_as) => born_as == BornAs::FinWait2,
        None => !end.in_time_wait,
    }
}

#[cfg(test)]
mod tests;
