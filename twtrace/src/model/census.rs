//! Which listed mini-sockets are new, and which have been counted already.
//!
//! A listing takes a while, and sockets are born and end meanwhile. What is *old* was alive when
//! it began: its birth was not seen, or was seen before. There is one mini-socket per tuple at a
//! time, and each birth and each old end was seen, because the hooks were there first. So:
//!
//! * a listed tuple that was born meanwhile is counted by its birth: if an old one of the same
//!   tuple was listed, that has ended;
//! * a listed tuple whose old one ended meanwhile is gone: if a new one was listed, its birth
//!   was seen;
//! * all other listed tuples are old and alive.
//!
//! This holds in whatever order seeds and events arrive. Only while a listing runs are tuples
//! remembered; later a birth is one more and an end one less.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

use crate::event::{BornAs, End, Event, Flow};

/// Tuples remembered at most, 17 bytes each. Others count as lost.
const MAX_TUPLES: usize = 1 << 22;

/// What an event does to the number of live mini-sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// A new one.
    Born(BornAs),
    /// A new one, in place of one that was counted when it was listed.
    BornOverSeed {
        born_as: BornAs,
        seeded: BornAs,
    },
    /// One from before the trace.
    Seeded(BornAs),
    /// One that was counted has ended.
    Ended,
    /// One that was counted when it was listed has ended while the listing ran.
    SeedEnded(BornAs),
    /// One has ended before it was listed.
    UnlistedEnded,
    /// One could not be remembered.
    Lost,
}

impl Change {
    /// By how many the number alive changes.
    #[must_use]
    pub fn alive(self) -> i32 {
        match self {
            Self::Born(_) | Self::Seeded(_) => 1,
            Self::Ended | Self::SeedEnded(_) => -1,
            Self::Nothing | Self::BornOverSeed { .. } | Self::UnlistedEnded | Self::Lost => 0,
        }
    }
}

/// Tells what each event does to the number of live mini-sockets.
#[derive(Debug)]
pub(super) struct Census {
    /// Tuples by their hash while a listing runs: two of 200,000 are the same once in a billion
    /// times.
    open: Option<HashMap<u64, Tuple>>,
    hasher: RandomState,
    /// What was born before is old.
    since_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tuple {
    /// Listed, and counted.
    Seeded(BornAs),
    /// Born or ended meanwhile: it no longer counts, listed or not.
    Decided,
}

impl Census {
    /// The first listing runs from the start of tracing.
    pub(super) fn new() -> Self {
        Self {
            open: Some(HashMap::new()),
            hasher: RandomState::new(),
            since_ns: 0,
        }
    }

    /// Begins another listing: what was counted before is void.
    pub(super) fn begin(&mut self, at_ns: u64) {
        self.open = Some(HashMap::new());
        self.since_ns = at_ns;
    }

    /// The listing is over, and all events of its time were seen.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn event(&mut self, event: &Event) -> Change {
        match event {
            Event::Birth(birth) if birth.at_ns >= self.since_ns => match self.decide(&birth.flow) {
                Some(Tuple::Seeded(seeded)) => Change::BornOverSeed {
                    born_as: birth.born_as,
                    seeded,
                },
                _ => Change::Born(birth.born_as),
            },
            Event::Seed(seed) => self.seed(&seed.flow, seed.substate),
            Event::End(end) if end.ended_ns >= self.since_ns => self.end(end),
            _ => Change::Nothing,
        }
    }

    fn seed(&mut self, flow: &Flow, substate: BornAs) -> Change {
        let Some(tuples) = &mut self.open else {
            return Change::Nothing;
        };
        let hash = hash(&self.hasher, flow);
        if tuples.len() >= MAX_TUPLES {
            return Change::Lost;
        }
        match tuples.entry(hash) {
            Entry::Vacant(place) => {
                place.insert(Tuple::Seeded(substate));
                Change::Seeded(substate)
            }
            // Includes one that the kernel has listed twice because its table changed meanwhile.
            Entry::Occupied(_) => Change::Nothing,
        }
    }

    fn end(&mut self, end: &End) -> Change {
        let old = end.untracked || end.born_ns.is_some_and(|born| born < self.since_ns);
        if self.open.is_none() || !old {
            return Change::Ended;
        }
        match self.decide(&end.flow) {
            Some(Tuple::Seeded(substate)) => Change::SeedEnded(substate),
            _ => Change::UnlistedEnded,
        }
    }

    /// What was known of the tuple before.
    fn decide(&mut self, flow: &Flow) -> Option<Tuple> {
        let tuples = self.open.as_mut()?;
        let hash = hash(&self.hasher, flow);
        if tuples.len() >= MAX_TUPLES && !tuples.contains_key(&hash) {
            return None;
        }
        tuples.insert(hash, Tuple::Decided)
    }
}

fn hash(hasher: &RandomState, flow: &Flow) -> u64 {
    hasher.hash_one((
        flow.netns,
        flow.family,
        flow.laddr,
        flow.lport,
        flow.raddr,
        flow.rport,
    ))
}
