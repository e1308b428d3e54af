//! Who is about to run out of local ports: per namespace, source, destination and destination
//! port.
//!
//! connect() may use a port of the ephemeral range for each destination once: what another
//! connection or a mini-socket between the same addresses holds is blocked. A listener, or a
//! socket that is only bound, keeps its port from all destinations (`__inet_hash_connect`).

mod capacity;
mod rate;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt as _};

use self::capacity::Capacity;
pub(in crate::model) use self::capacity::usable;
use self::rate::Window;
use super::census::Change;
use super::population::{MAX_NAMESPACES, Population};
use crate::event::found::{Found, PortRules, Survey};
use crate::event::{Call, Event, Flow, Meta, PortFailure, Snapshot};

/// Destinations that are told apart; the rest is counted together.
pub(crate) const MAX_KEYS: usize = 65_536;
/// Share of the ports in use from which on a destination is under pressure, in percent.
const HIGH: u64 = 90;
/// Below this percentage in use, a short time until exhaustion is only the start of a burst.
const LOW: u64 = 10;
/// A destination that is full in less than this (ns) is under pressure.
const SOON_NS: u64 = 60_000_000_000;
/// Failures of one destination are reported once in this time (ns).
const TELL_NS: u64 = 1_000_000_000;
/// Warnings between two ticks.
const MAX_WARNINGS: usize = 16;

/// The ends between which ports are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Inode number of the namespace.
    pub netns: u32,
    pub laddr: IpAddr,
    pub raddr: IpAddr,
    pub rport: u16,
}

/// Whether tcp_tw_reuse can free ports here. As far as the sysctls of the namespace tell: the
/// peer must use timestamps too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is on for this destination: a TIME_WAIT blocks its port only for a while.
    On { delay_ms: Option<u32> },
    /// Setting it to 1 would help. `now` is 0, or 2 (loopback only).
    Would { now: u8, delay_ms: Option<u32> },
    /// tcp_timestamps is 0.
    NoTimestamps,
    /// The sysctls were not read.
    Unknown,
}

/// One destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub key: Key,
    /// Ports of the range held by mini-sockets, FIN_WAIT2 included.
    pub time_wait: u32,
    /// Ports of the range held by other connections, when it was last looked.
    pub others: u32,
    /// Ports that connect() may use: the range without what is reserved, listened on or bound.
    pub candidates: u32,
    /// New mini-sockets per second.
    pub arrivals: f64,
    /// New mini-sockets per second, less those that ended.
    pub growth: f64,
    /// When all candidates are in use at the present growth; `None` if it does not grow, or if
    /// tcp_tw_reuse frees them.
    pub full_in_ns: Option<u64>,
    pub reuse: Reuse,
    /// The most ports that were in use at once.
    pub peak: u32,
    /// Calls that got no port.
    pub failures: u64,
    pub last_failure: Option<PortFailure>,
}

/// A call that got no port, and what is known of where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    pub failure: PortFailure,
    /// Ports that it could have taken: 1 if it had named one; `None` if that is not known.
    pub candidates: Option<u32>,
    /// Others of this kind since the last one reported.
    pub untold: u64,
}

impl Row {
    /// Ports in use, of [`Row::candidates`]. No more than there are: a connection that was looked
    /// at as one of the others may be a mini-socket since.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        in_use(self.time_wait, self.others, self.candidates)
    }

    /// Share of the candidates in use, in percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        percent(self.in_use(), self.candidates)
    }

    /// The most that were in use at once, in percent of the candidates there are now.
    #[must_use]
    pub fn peak_percent(&self) -> u64 {
        percent(self.peak, self.candidates)
    }

    /// It runs out of ports soon, or has.
    #[must_use]
    pub fn under_pressure(&self) -> bool {
        let percent = self.percent();
        let soon = self.full_in_ns.is_some_and(|left| left < SOON_NS);
        !matches!(self.reuse, Reuse::On { .. }) && (percent >= HIGH || soon && percent >= LOW)
    }
}

fn in_use(time_wait: u32, others: u32, candidates: u32) -> u32 {
    (time_wait + others).min(candidates)
}

fn percent(ports: u32, candidates: u32) -> u64 {
    u64::from(ports) * 100 / u64::from(candidates.max(1))
}

#[derive(Debug, Default)]
struct Destination {
    time_wait: u32,
    others: u32,
    window: Window,
    failures: u64,
    last_failure: Option<Box<PortFailure>>,
    /// The last failure reported: when, and how many there were.
    told: Option<(u64, u64)>,
    peak: u32,
    warned: bool,
}

#[derive(Debug, Default)]
struct Namespace {
    capacity: Capacity,
    /// `None` until it was looked at.
    rules: Option<PortRules>,
    held_fin_wait_2: Option<u64>,
    /// A survey was asked for.
    asked: bool,
}

/// Follows the use of ports.
#[derive(Debug)]
pub struct Ports {
    population: Population,
    namespaces: BTreeMap<u32, Namespace>,
    destinations: HashMap<Key, Destination>,
    /// Mini-sockets of destinations that found no room.
    beyond: u64,
    started_ns: u64,
    latest_ns: u64,
    calls: u64,
    /// Births and ends that the ring lost: up to now, and before the last listing.
    lost: [u64; 2],
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
            beyond: 0,
            started_ns: meta.started_ns,
            latest_ns: meta.started_ns,
            calls: 0,
            lost: [0; 2],
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
        for key in self.destinations.keys().copied().collect::<Vec<_>>() {
            let Some(row) = self.of(key) else { continue };
            let pressure = row.under_pressure();
            let calm = !pressure && row.percent() < HIGH - LOW;
            let Some(destination) = self.destinations.get_mut(&key) else {
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

    /// The destinations with the highest share of ports in use, at most `n`.
    #[must_use]
    pub fn rows(&self, n: usize) -> Vec<Row> {
        self.first(n, |destination, candidates| {
            let in_use = in_use(destination.time_wait, destination.others, candidates);
            (in_use > 0 || destination.failures > 0)
                .then(|| (percent(in_use, candidates), in_use, destination.failures))
        })
    }

    /// The destinations that came closest to running out of ports, at most `n`.
    #[must_use]
    pub fn worst(&self, n: usize) -> Vec<Row> {
        self.first(n, |destination, candidates| {
            let peak = destination.peak.min(candidates);
            Some((percent(peak, candidates), destination.failures))
        })
    }

    /// Those `n` with the highest rank, in its order; `None` leaves one out. There may be very
    /// many, so rows are made of those only.
    fn first<R: Ord>(&self, n: usize, rank: impl Fn(&Destination, u32) -> Option<R>) -> Vec<Row> {
        let ranked = |(key, destination): (&Key, &Destination)| {
            let rank = rank(destination, self.candidates(key.netns))?;
            Some((Reverse(rank), *key))
        };
        let mut all: Vec<_> = self.destinations.iter().filter_map(ranked).collect();
        if n < all.len() {
            all.select_nth_unstable(n);
            all.truncate(n);
        }
        all.sort_unstable();
        all.iter().filter_map(|(_, key)| self.of(*key)).collect()
    }

    fn candidates(&self, netns: u32) -> u32 {
        self.namespaces
            .get(&netns)
            .map_or(Capacity::default().candidates(), |namespace| {
                namespace.capacity.candidates()
            })
    }

    /// One destination.
    #[must_use]
    pub fn of(&self, key: Key) -> Option<Row> {
        let destination = self.destinations.get(&key)?;
        let namespace = self.namespaces.get(&key.netns);
        let candidates = self.candidates(key.netns);
        let reuse = reuse(
            namespace.and_then(|namespace| namespace.rules.as_ref()),
            key,
        );
        let (arrivals, growth) = destination.window.rates(self.started_ns, self.latest_ns);
        let mut row = Row {
            key,
            time_wait: destination.time_wait,
            others: destination.others,
            candidates,
            arrivals,
            growth,
            full_in_ns: None,
            reuse,
            peak: destination.peak.min(candidates),
            failures: destination.failures,
            last_failure: destination.last_failure.as_deref().copied(),
        };
        let free = candidates.saturating_sub(row.in_use());
        if growth > 0.0 && !matches!(reuse, Reuse::On { .. }) {
            row.full_in_ns = Some((f64::from(free) / growth * 1e9) as u64);
        }
        Some(row)
    }

    /// Destinations with a port in use, and mini-sockets of those that found no room.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        (self.destinations.len(), self.beyond)
    }

    /// Destinations with a port in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let each = self.destinations.values();
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
        let capacity = &self.namespace(flow.netns).capacity;
        if !capacity.has(flow.lport) {
            return;
        }
        let at_ns = event.at_ns();
        let alive = change.alive();
        let Some(destination) = self.destination(Key::of(flow), alive > 0) else {
            self.beyond = self.beyond.saturating_add_signed(alive.into());
            return;
        };
        destination.time_wait = destination.time_wait.saturating_add_signed(alive);
        destination.note_peak();
        match change {
            Change::Born(_) | Change::BornOverSeed { .. } => destination.window.born(at_ns),
            Change::Ended | Change::SeedEnded(_) => destination.window.ended(at_ns),
            _ => {}
        }
    }

    fn failure(&mut self, failure: &PortFailure) -> Option<Failed> {
        self.calls += 1;
        let key = Key::of(&failure.flow);
        let namespace = self.namespace(key.netns);
        let candidates = match (failure.call, failure.port_given) {
            (_, true) => Some(1),
            (Call::Connect, false) => Some(namespace.capacity.candidates()),
            // bind() may share ports where connect() does not.
            (Call::Bind, false) => None,
        };
        let Some(destination) = self.destination(key, true) else {
            return Some(Failed {
                failure: *failure,
                candidates,
                untold: 0,
            });
        };
        destination.failures += 1;
        destination.last_failure = Some(Box::new(*failure));
        let before = match destination.told {
            Some((at_ns, _)) if failure.at_ns < at_ns + TELL_NS => return None,
            Some((_, count)) => count,
            None => 0,
        };
        destination.told = Some((failure.at_ns, destination.failures));
        Some(Failed {
            failure: *failure,
            candidates,
            untold: destination.failures - before - 1,
        })
    }

    fn forget_mini_sockets(&mut self) {
        self.beyond = 0;
        self.moved = false;
        self.lost[1] = self.lost[0];
        for destination in self.destinations.values_mut() {
            destination.time_wait = 0;
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
        self.moved |= moved;
        for (key, destination) in &mut self.destinations {
            if key.netns == *netns {
                destination.others = 0;
            }
        }
        for users in users {
            let key = Key {
                netns: *netns,
                laddr: users.laddr,
                raddr: users.raddr,
                rport: users.rport,
            };
            if let Some(destination) = self.destination(key, true) {
                destination.others = users.ports;
                destination.note_peak();
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
            one.time_wait > 0 || one.others > 0 || one.failures > 0 || !one.window.is_empty(now)
        });
    }
}

impl Destination {
    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.time_wait + self.others);
    }
}

impl Key {
    /// Of a connection, as its local end sees it.
    #[must_use]
    pub fn of(flow: &Flow) -> Self {
        Self {
            netns: flow.netns,
            laddr: flow.laddr,
            raddr: flow.raddr,
            rport: flow.rport,
        }
    }

    fn is_loopback(self) -> bool {
        self.laddr.is_loopback() || self.raddr.is_loopback()
    }
}

/// `tcp_twsk_unique`, as far as sysctls and addresses decide.
fn reuse(rules: Option<&PortRules>, key: Key) -> Reuse {
    let Some(rules) = rules else {
        return Reuse::Unknown;
    };
    let delay_ms = rules.tcp_tw_reuse_delay_ms;
    match rules.tcp_tw_reuse {
        _ if rules.tcp_timestamps == 0 => Reuse::NoTimestamps,
        1 => Reuse::On { delay_ms },
        2 if key.is_loopback() => Reuse::On { delay_ms },
        now => Reuse::Would { now, delay_ms },
    }
}

#[cfg(test)]
mod tests;
