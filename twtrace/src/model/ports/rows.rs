//! From what was counted to rows.

use std::cmp::Reverse;

use super::capacity::Capacity;
use super::failures::Failures;
use super::holders::{Holders, Sight};
use super::reuse::reuse;
use super::row::{Key, Reuse, Row, Why, in_use, percent};
use super::{Destination, Namespace, Ports};
use crate::event::Call;
use crate::event::found::OnPort;

impl Ports {
    /// The destinations with the highest share of ports in use, and sources of bind(), at most `n`.
    #[must_use]
    pub fn rows(&self, n: usize) -> Vec<Row> {
        self.first(n, |destination, candidates| {
            let in_use = in_use(destination.time_wait, destination.others, candidates);
            let failures = destination.failures.count;
            (in_use > 0 || failures > 0).then(|| (percent(in_use, candidates), in_use, failures))
        })
    }

    /// The destinations that came closest to running out of ports, at most `n`.
    #[must_use]
    pub fn worst(&self, n: usize) -> Vec<Row> {
        self.first(n, |destination, candidates| {
            let peak = destination.peak.min(candidates);
            Some((percent(peak, candidates), destination.failures.count))
        })
    }

    /// Those `n` with the highest rank, in its order; `None` leaves one out. There may be very
    /// many, so rows are made of those only.
    fn first<R: Ord>(&self, n: usize, rank: impl Fn(&Destination, u32) -> Option<R>) -> Vec<Row> {
        let sources = self.sources.of_bind();
        let sources = sources.map(|(key, source)| (key, &source.all));
        let ranked = |(key, destination): (&Key, &Destination)| {
            let rank = rank(destination, self.candidates(key.netns))?;
            Some((Reverse(rank), *key))
        };
        let all = self.destinations.iter().chain(sources);
        let mut all: Vec<_> = all.filter_map(ranked).collect();
        if n < all.len() {
            all.select_nth_unstable(n);
            all.truncate(n);
        }
        all.sort_unstable();
        all.iter().filter_map(|(_, key)| self.of(*key)).collect()
    }

    /// Ports that callers named and did not get, those with most failures first, at most `n`.
    #[must_use]
    pub fn named(&self, n: usize) -> Vec<Row> {
        let keys = self.named.first(n).into_iter();
        keys.filter_map(|key| self.of(key)).collect()
    }

    pub(super) fn candidates(&self, netns: u32) -> u32 {
        self.namespaces
            .get(&netns)
            .map_or(Capacity::default().candidates(), |namespace| {
                namespace.capacity.candidates()
            })
    }

    /// One destination, source or port.
    #[must_use]
    pub fn of(&self, key: Key) -> Option<Row> {
        if key.lport > 0 {
            return Some(self.row_of_port(key, self.named.get(&key)?));
        }
        if key.is_source() {
            let source = &self.sources.get(&key)?.all;
            let mut row = self.row(key, source);
            if key.laddr.is_unspecified() {
                row.time_wait = self.on_any(key);
                row.peak = row.peak.max(row.in_use());
            }
            return Some(self.forecast(row, source));
        }
        let destination = self.destinations.get(&key)?;
        let row = self.row(key, destination);
        let Some(source) = self.sources.get(&key.source()).filter(|one| one.is_bound()) else {
            return Some(self.forecast(row, destination));
        };
        let of_source = self.row(key.source(), &source.all);
        Some(Row {
            reuse: Reuse::No(Why::Bind),
            full_in_ns: self.forecast(of_source, &source.all).full_in_ns,
            ..row
        })
    }

    /// What was counted, without whether reuse can help and when it is full.
    fn row(&self, key: Key, counted: &Destination) -> Row {
        let candidates = self.candidates(key.netns);
        let (arrivals, growth) = counted.window.rates(self.started_ns, self.latest_ns);
        Row {
            key,
            time_wait: counted.time_wait,
            others: counted.others,
            candidates,
            arrivals,
            growth,
            full_in_ns: None,
            reuse: Reuse::Unknown,
            peak: counted.peak.min(candidates),
            failures: counted.failures.count,
            last_failure: counted.failures.last.as_deref().copied(),
            holders: None,
        }
    }

    fn forecast(&self, mut row: Row, counted: &Destination) -> Row {
        let fin_wait_2 = self.least_fin_wait_2(row.key.netns, counted);
        row.reuse = reuse(self.rules(row.key.netns), &row, fin_wait_2);
        let free = row.candidates.saturating_sub(row.in_use());
        if row.growth > 0.0 && !matches!(row.reuse, Reuse::On { .. }) {
            row.full_in_ns = Some((f64::from(free) / row.growth * 1e9) as u64);
        }
        row
    }

    /// A port that callers named was taken when they asked.
    fn row_of_port(&self, key: Key, failures: &Failures) -> Row {
        let last = failures.last.as_deref().copied();
        let bound = last.is_some_and(|failure| failure.call == Call::Bind);
        let holders = bound.then(|| self.holders(key, failures.look.as_deref()));
        Row {
            key,
            time_wait: match (&holders, last) {
                (Some(holders), _) => holders.mini_sockets.all(),
                (None, Some(failure)) => failure.time_wait,
                (None, None) => 0,
            },
            others: holders.map_or(0, |holders| holders.others()),
            candidates: 1,
            arrivals: 0.0,
            growth: 0.0,
            full_in_ns: None,
            reuse: Reuse::No(Why::PortNamed),
            peak: 1,
            failures: failures.count,
            last_failure: last,
            holders,
        }
    }

    /// What holds a port: what was seen on it when it was looked, or the mini-sockets that are known.
    fn holders(&self, key: Key, look: Option<&[OnPort]>) -> Holders {
        let Key {
            netns,
            laddr,
            lport,
            ..
        } = key;
        let namespace = self.namespaces.get(&netns);
        let ephemeral = namespace.is_some_and(|one| one.capacity.ranges_over(lport));
        let rules = self.rules(netns);
        let reserved = |&(from, to): &(u16, u16)| (from..=to).contains(&lport);
        let mut holders = Holders {
            sight: self.sight(namespace, lport, look.is_some()),
            chance: rules.is_some_and(|rules| ephemeral && !rules.reserved.iter().any(reserved)),
            ..Holders::default()
        };
        let mut add = |one: OnPort| holders.add(laddr, ephemeral, &one);
        match look {
            Some(sockets) => sockets.iter().copied().for_each(&mut add),
            None => self.sources.on_port(netns, lport).for_each(&mut add),
        }
        holders
    }

    fn sight(&self, namespace: Option<&Namespace>, port: u16, looked: bool) -> Sight {
        let kept = namespace.and_then(|one| one.taken_before(port));
        if looked {
            Sight::All
        } else if kept == Some(true) {
            Sight::Kept
        } else if self.population.is_listed() && self.uncertain() == 0 && !self.filtered {
            Sight::MiniSockets
        } else {
            Sight::Little
        }
    }

    /// How many mini-sockets of a destination are in FIN_WAIT2 at least. Promotions have no record,
    /// so this is what the namespace has, less what may be of others.
    fn least_fin_wait_2(&self, netns: u32, destination: &Destination) -> u32 {
        let (Some(alive), Some(namespace)) =
            (self.population.of(netns), self.namespaces.get(&netns))
        else {
            return 0;
        };
        if self.uncertain() > 0 {
            return 0;
        }
        let here = u64::from(destination.born_fin_wait_2);
        let others = namespace.born_fin_wait_2.saturating_sub(here);
        let doubtful = others + alive.substate_uncertain;
        let least = alive.alive.fin_wait_2.saturating_sub(doubtful).min(here);
        u32::try_from(least).unwrap_or(u32::MAX)
    }

    /// Ports that mini-sockets hold from a bind() to no address.
    fn on_any(&self, key: Key) -> u32 {
        let capacity = self.namespaces.get(&key.netns).map(|one| &one.capacity);
        self.sources.on_any(key, |port| {
            capacity.is_some_and(|capacity| capacity.has(port))
        })
    }
}
