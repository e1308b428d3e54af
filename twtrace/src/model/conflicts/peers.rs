//! What is known of the remote addresses.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt as _};
use hdrhistogram::Histogram;

use super::evidence::Evidence;
use super::told::{OUTCOMES, StuckBy};
use crate::event::Flow;
use crate::model::stats::{self, Percentiles};

/// Most addresses that are told apart. One with no refusal gives way; what finds no room then is
/// counted with the others.
const MOST: usize = 4_096;

/// Longer delays are counted as this one, a day.
const LONGEST_NS: u64 = 86_400_000_000_000;

/// A remote address. It may mean another host in another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    pub netns: u32,
    pub raddr: IpAddr,
}

/// What was counted of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// SYNs refused.
    pub refused: u64,
    /// SYNs accepted over a TIME_WAIT.
    pub accepted: u64,
    /// Different addresses and ports that had a conflict.
    pub tuples: u64,
    /// Conflicts by outcome.
    pub outcomes: [u64; OUTCOMES],
    /// Conflicts that were stuck at some time, whatever became of them.
    pub stuck: u64,
    /// What kept those stuck, as far as was known when they became so.
    pub stuck_by: [u64; StuckBy::ALL.len()],
}

/// One remote address.
#[derive(Debug)]
pub struct Peer {
    pub counts: Counts,
    pub(super) evidence: Evidence,
    /// Delays in ns; made with the first, and as long as the longest needs.
    delays: Option<Histogram<u32>>,
}

#[derive(Debug)]
pub(super) struct Peers {
    known: HashMap<PeerKey, Peer>,
    /// Addresses in the order in which they were first seen, those with conflicts possibly left
    /// out.
    order: VecDeque<PeerKey>,
    pub(super) others: Peer,
    /// Of all addresses together.
    pub(super) all: Counts,
}

impl PeerKey {
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            netns: flow.netns,
            raddr: flow.raddr,
        }
    }
}

impl Peers {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
            others: Peer::new(),
            all: Counts::default(),
        }
    }

    /// Counts for the address and for all.
    pub(super) fn count(&mut self, address: PeerKey, add: impl Fn(&mut Counts)) -> &mut Peer {
        add(&mut self.all);
        let peer = self.of(address);
        add(&mut peer.counts);
        peer
    }

    pub(super) fn get(&self, address: PeerKey) -> &Peer {
        self.known.get(&address).unwrap_or(&self.others)
    }

    pub(super) fn of(&mut self, address: PeerKey) -> &mut Peer {
        if !self.known.contains_key(&address) {
            if self.known.len() >= MOST && !self.make_room() {
                return &mut self.others;
            }
            self.order.push_back(address);
        }
        self.known.entry(address).or_insert_with(Peer::new)
    }

    pub(super) fn with_conflicts(&self) -> usize {
        self.known.values().filter(|peer| peer.conflicts()).count()
    }

    /// Those with conflicts; the most refused SYNs first.
    pub(super) fn sorted(&self) -> Vec<(PeerKey, &Peer)> {
        let mut all: Vec<_> = self.known.iter().map(|(key, peer)| (*key, peer)).collect();
        all.retain(|(_, peer)| peer.conflicts());
        all.sort_by_key(|&(key, peer)| (std::cmp::Reverse(peer.counts.refused), key));
        all
    }

    /// Forgets the oldest address without a conflict.
    fn make_room(&mut self) -> bool {
        while let Some(oldest) = self.order.pop_front() {
            if self.known.get(&oldest).is_some_and(|one| !one.conflicts()) {
                self.known.remove(&oldest);
                return true;
            }
        }
        false
    }
}

impl Counts {
    /// Adds those of another address.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            refused,
            accepted,
            tuples,
            outcomes,
            stuck,
            stuck_by,
        } = other;
        self.refused += refused;
        self.accepted += accepted;
        self.tuples += tuples;
        self.stuck += stuck;
        for (sum, count) in self.outcomes.iter_mut().zip(outcomes) {
            *sum += count;
        }
        for (sum, count) in self.stuck_by.iter_mut().zip(stuck_by) {
            *sum += count;
        }
    }

    pub(super) fn stuck(&mut self, by: Option<StuckBy>) {
        self.stuck += 1;
        if let Some(by) = by {
            self.stuck_by[by as usize] += 1;
        }
    }
}

impl Peer {
    fn new() -> Self {
        Self {
            counts: Counts::default(),
            evidence: Evidence::default(),
            delays: None,
        }
    }

    /// From the first refused SYN of each conflict to what let the client in.
    #[must_use]
    pub fn delays(&self) -> Option<Percentiles> {
        self.delays.as_ref().map(stats::percentiles)
    }

    pub(super) fn delayed(&mut self, ns: u64) {
        self.delays
            .get_or_insert_with(stats::growing)
            // It grows as needed, so the only error is a value beyond 2^63.
            .record(ns.min(LONGEST_NS))
            .unwrap_or_default();
    }

    fn conflicts(&self) -> bool {
        self.counts.refused > 0
    }
}
