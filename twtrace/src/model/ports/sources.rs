//! Local ports by source, whatever the destination: bind() takes a port for all of them.
//!
//! Whether a port was chosen by bind() or by connect() is seen from where ports lie: while there is
//! room, connect() takes those an even distance from the low end of the range
//! (`__inet_hash_connect`), bind() the others (`inet_csk_find_open_port`). And connect() takes the
//! same port for several destinations.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::HashMap;

use super::row::{Key, percent};
use super::{Destination, LOW};
use crate::event::found::{OnPort, OnPortKind, Peer};

/// Ports that are told apart, by address.
const MAX_HELD: usize = 131_072;
/// Source addresses that are told apart.
const MAX_SOURCES: usize = 4_096;
/// From so many ports on, where they lie says who chose them.
const MANY: u32 = 10;

/// A local port of a namespace, and the address.
type Port = (u32, u16, IpAddr);

/// Follows which local ports mini-sockets hold.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Mini-sockets whose remote port is in the ephemeral range, and the others.
    held: BTreeMap<Port, [u32; 2]>,
    sources: HashMap<Key, Source>,
}

/// One source address.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Of all destinations together; each port counts once.
    pub(super) all: Destination,
    /// Mini-sockets on these ports.
    sockets: u32,
    /// Destinations that have mini-sockets.
    destinations: u32,
    /// Ports an odd distance from the low end of the range.
    odd: u32,
    /// bind() chooses the ports.
    bound: bool,
}

/// What an event did to the ports of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// One mini-socket more, or less.
    pub(super) alive: i32,
    pub(super) peer: Peer,
    /// Destinations more or less that have one.
    pub(super) destinations: i32,
    pub(super) at_ns: u64,
    /// What is counted happens now: it was not found by listing.
    pub(super) lives: bool,
}

/// Where a port lies in the range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) odd: bool,
    /// Ports that can be chosen from.
    pub(super) candidates: u32,
}

impl Sources {
    /// Takes a step on this port. `place` is `None` for a port that is not chosen from.
    pub(super) fn step(&mut self, source: Key, port: u16, place: Option<Place>, step: Step) {
        let port = (source.netns, port, source.laddr);
        let Some(taken) = self.hold(port, step.peer, step.alive) else {
            return;
        };
        let Some(place) = place else { return };
        if let Some(source) = self.source(source) {
            source.step(taken, place, step);
        }
    }

    /// By how many ports more are held; `None` if there is no room to know.
    fn hold(&mut self, port: Port, peer: Peer, alive: i32) -> Option<i32> {
        let side = peer as usize;
        if alive <= 0 {
            let sockets = self.held.get_mut(&port)?;
            // It was on the other side if the range has changed since.
            let side = if sockets[side] > 0 { side } else { 1 - side };
            sockets[side] = sockets[side].saturating_add_signed(alive);
            let freed = *sockets == [0; 2];
            if freed {
                self.held.remove(&port);
            }
            return Some(-i32::from(freed));
        }
        if self.held.len() >= MAX_HELD && !self.held.contains_key(&port) {
            return None;
        }
        let sockets = self.held.entry(port).or_default();
        sockets[side] += 1;
        Some(i32::from(sockets[0] + sockets[1] == 1))
    }

    /// The source of this key, made if there is room.
    pub(super) fn source(&mut self, key: Key) -> Option<&mut Source> {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&key) {
            self.sources.retain(|_, one| one.says_something());
            if self.sources.len() >= MAX_SOURCES {
                return None;
            }
        }
        Some(self.sources.entry(key).or_default())
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Source> {
        self.sources.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Source> {
        self.sources.get_mut(key)
    }

    /// Those whose ports bind() chooses, or where it failed to.
    pub(super) fn of_bind(&self) -> impl Iterator<Item = (&Key, &Source)> {
        self.sources.iter().filter(|(_, one)| one.is_of_bind())
    }

    /// Ports of the range that mini-sockets hold on any address that stands in the way of `source`,
    /// which has none of its own.
    pub(super) fn on_any(&self, source: Key, has: impl Fn(u16) -> bool) -> u32 {
        let netns = source.netns;
        let mut last = None;
        let mut ports = 0;
        for (&(_, port, laddr), _) in self.of_ports(netns, 0, u16::MAX) {
            if has(port) && last != Some(port) && (laddr.is_ipv4() || source.laddr.is_ipv6()) {
                last = Some(port);
                ports += 1;
            }
        }
        ports
    }

    /// Mini-sockets on a port, by local address.
    pub(super) fn on_port(&self, netns: u32, port: u16) -> impl Iterator<Item = OnPort> {
        let each = self.of_ports(netns, port, port);
        each.flat_map(|(&(_, _, local), sockets)| {
            [Peer::Ephemeral, Peer::Fixed].map(|peer| OnPort {
                local,
                kind: OnPortKind::MiniSocket(peer),
                number: sockets[peer as usize],
            })
        })
    }

    fn of_ports(&self, netns: u32, from: u16, to: u16) -> Range<'_, Port, [u32; 2]> {
        let lowest = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let highest = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
        self.held
            .range((netns, from, lowest)..=(netns, to, highest))
    }

    /// Others than mini-sockets were counted anew.
    pub(super) fn forget_others(&mut self, netns: u32) {
        for (key, source) in &mut self.sources {
            if key.netns == netns {
                source.all.others = 0;
            }
        }
    }

    pub(super) fn forget_mini_sockets(&mut self) {
        self.held.clear();
        for source in self.sources.values_mut() {
            source.all.time_wait = 0;
            source.sockets = 0;
            source.destinations = 0;
            source.odd = 0;
        }
    }
}

impl Source {
    fn step(&mut self, taken: i32, place: Place, step: Step) {
        self.sockets = self.sockets.saturating_add_signed(step.alive);
        self.destinations = self.destinations.saturating_add_signed(step.destinations);
        self.all.time_wait = self.all.time_wait.saturating_add_signed(taken);
        if place.odd {
            self.odd = self.odd.saturating_add_signed(taken);
        }
        match taken {
            1 if step.lives => self.all.window.born(step.at_ns),
            -1 if step.lives => self.all.window.ended(step.at_ns),
            _ => {}
        }
        self.all.note_peak();
        let shared = self.sockets > self.all.time_wait;
        self.bound = !shared && (self.bound || self.looks_bound(place.candidates));
    }

    /// Of ports that bind() chose, all are odd at first, and half when all are taken. connect() takes
    /// odd ones only when a destination has used up the others, which it then shares with the next.
    fn looks_bound(&self, candidates: u32) -> bool {
        let ports = self.all.time_wait;
        self.destinations > 1
            && ports >= MANY
            && percent(ports, candidates) >= LOW
            && self.odd * 5 >= ports * 2
    }

    /// bind() chooses the ports.
    pub(super) fn is_bound(&self) -> bool {
        self.bound
    }

    fn is_of_bind(&self) -> bool {
        self.bound || self.all.failures.count > 0
    }

    fn says_something(&self) -> bool {
        self.all.time_wait > 0 || self.all.others > 0 || self.is_of_bind()
    }
}
