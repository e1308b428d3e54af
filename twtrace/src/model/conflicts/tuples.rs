//! Open conflicts, by addresses and ports.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt as _};
use twtrace_common::tcp::RST;

use super::{Ended, GAPS, Outcome, STUCK_NS, STUCK_SYNS, StuckBy};
use crate::event::{End, Flow, Reason, Refusal, Reply, Rule, Stage};
use crate::model::Refused;

/// Most conflicts that can be open at once; beyond it, the oldest is given up as unknown.
const MOST: usize = 65_536;
/// Most addresses and ports that are told apart when they are counted.
const MOST_SEEN: usize = 262_144;
/// After so long without a SYN and without an end, the end was missed: a TIME_WAIT lives half as
/// long after the last SYN that restarted it.
const FORGOTTEN_NS: u64 = 130_000_000_000;

/// Addresses and ports, and their namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    netns: u32,
    laddr: IpAddr,
    lport: u16,
    raddr: IpAddr,
    rport: u16,
}

impl Key {
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            netns: flow.netns,
            laddr: flow.laddr,
            lport: flow.lport,
            raddr: flow.raddr,
            rport: flow.rport,
        }
    }
}

/// A conflict that is open.
#[derive(Clone, Debug)]
pub(super) struct Tuple {
    pub(super) flow: Flow,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) syns: u32,
    pub(super) gaps: Vec<i32>,
    /// It was given as stuck.
    pub(super) stuck: bool,
    pub(super) stage: Stage,
    /// When its mini-socket entered TIME_WAIT, which tells it from a later one.
    time_wait_ns: Option<u64>,
    /// SYNs with a record.
    records: u32,
    acks: u32,
    rst: Option<StuckBy>,
    /// FIN_WAIT2 answered a SYN by a RST: its client was told that nobody listens.
    pub(super) turned_away: bool,
    serial: u64,
}

/// The effect of adding a SYN.
#[derive(Debug)]
pub(super) struct Added {
    /// SYNs that are new: more than one if records are missing.
    pub(super) syns: u32,
    /// It is the first of its conflict.
    pub(super) first: bool,
    /// Its client has sent it again, for the first time as far as was seen.
    pub(super) again: bool,
    /// No conflict was seen before with these addresses and ports.
    pub(super) new_tuple: bool,
    /// It made its client stuck.
    pub(super) stuck: bool,
    /// The conflict that had to give way.
    pub(super) evicted: Option<Tuple>,
}

#[derive(Debug)]
pub(super) struct Tuples {
    open: HashMap<Key, Tuple>,
    /// When each must be looked at, roughly in order; the serial number tells whether the
    /// conflict is still the same.
    due: VecDeque<(u64, Key, u64)>,
    serial: u64,
    /// Hashes of all tuples seen so far.
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Tuples {
    pub(super) fn new() -> Self {
        Self {
            open: HashMap::new(),
            due: VecDeque::new(),
            serial: 0,
            seen: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Tuple> {
        self.open.get(key)
    }

    /// A RST that was refused may tell why a client is stuck.
    pub(super) fn rst(&mut self, key: &Key, refusal: &Refusal) {
        if refusal.tcp_flags & RST != 0
            && let Some(tuple) = self.open.get_mut(key)
        {
            tuple.rst = match refusal.rule {
                Rule::Rfc1337 => Some(StuckBy::Rfc1337),
                _ => tuple.rst.or(Some(StuckBy::WrongRst)),
            };
        }
    }

    /// The open conflict of an earlier mini-socket, whose end was missed.
    pub(super) fn take_older(&mut self, key: &Key, refusal: &Refusal) -> Option<Tuple> {
        let tuple = self.open.get(key)?;
        let other = match (tuple.time_wait_ns, refusal.time_wait_ns) {
            (Some(one), Some(other)) => one != other,
            _ => mini(tuple.stage) != mini(refusal.stage),
        };
        other.then(|| self.open.remove(key)).flatten()
    }

    /// Adds a SYN that was refused.
    pub(super) fn add(&mut self, key: Key, refused: &Refused) -> Added {
        let known = self.open.contains_key(&key);
        let evicted = if known { None } else { self.make_room() };
        let new_tuple = !known && self.first_time(&key);
        let serial = self.serial;
        let tuple = self.open.entry(key).or_insert_with(|| Tuple {
            serial,
            ..Tuple::new(&refused.refusal)
        });
        let before = tuple.syns;
        if before == 0 {
            self.serial += 1;
            self.due.push_back((tuple.forgotten_at(), key, serial));
        }
        tuple.add(refused);
        let (syns, stuck) = (tuple.syns - before, tuple.becomes_stuck());
        let again = before < 2 && tuple.syns >= 2;
        self.tidy();
        Added {
            syns,
            first: before == 0,
            again,
            new_tuple,
            stuck,
            evicted,
        }
    }

    /// The conflict that this end closes, if it was seen to begin.
    pub(super) fn take_ended(&mut self, key: &Key, end: &End) -> Option<Tuple> {
        let tuple = self.open.get(key)?;
        let same = mini(tuple.stage) && tuple.first_ns <= end.ended_ns;
        same.then(|| self.open.remove(key)).flatten()
    }

    /// One whose end must have been missed.
    pub(super) fn overdue(&mut self, now_ns: u64) -> Option<Tuple> {
        while self.due.front().is_some_and(|&(due, ..)| due <= now_ns) {
            let (_, key, serial) = self.due.pop_front()?;
            let Some(tuple) = self.open.get(&key).filter(|one| one.serial == serial) else {
                continue;
            };
            if tuple.forgotten_at() <= now_ns {
                return self.open.remove(&key);
            }
            self.due.push_back((tuple.forgotten_at(), key, serial));
        }
        None
    }

    /// All that are open, in the order in which they began.
    pub(super) fn drain(&mut self) -> Vec<Tuple> {
        let mut all: Vec<_> = self.open.drain().map(|(_, tuple)| tuple).collect();
        all.sort_by_key(|tuple| tuple.serial);
        self.due.clear();
        all
    }

    /// Drops what is not open any more before it is due, when that is the most.
    fn tidy(&mut self) {
        if self.due.len() > 2 * MOST {
            let open = &self.open;
            self.due
                .retain(|(_, key, serial)| open.get(key).is_some_and(|one| one.serial == *serial));
        }
    }

    fn make_room(&mut self) -> Option<Tuple> {
        if self.open.len() < MOST {
            return None;
        }
        loop {
            let (_, key, serial) = self.due.pop_front()?;
            if self.open.get(&key).is_some_and(|one| one.serial == serial) {
                return self.open.remove(&key);
            }
        }
    }

    /// Whether these addresses and ports have a conflict for the first time. Once too many are
    /// known, none has.
    pub(super) fn first_time(&mut self, key: &Key) -> bool {
        self.seen.len() < MOST_SEEN && self.seen.insert(self.hasher.hash_one(key))
    }
}

impl Tuple {
    fn new(refusal: &Refusal) -> Self {
        Self {
            flow: refusal.flow,
            first_ns: refusal.at_ns,
            last_ns: refusal.at_ns,
            syns: 0,
            gaps: Vec::new(),
            stuck: false,
            stage: refusal.stage,
            time_wait_ns: refusal.time_wait_ns,
            records: 0,
            acks: 0,
            rst: None,
            turned_away: false,
            serial: 0,
        }
    }

    /// A conflict without a record of its SYNs: its end knows of them.
    pub(super) fn unseen(end: &End) -> Self {
        let first_ns = end.first_refused_ns.unwrap_or(end.ended_ns);
        Self {
            flow: end.flow,
            first_ns,
            last_ns: first_ns,
            syns: 0,
            gaps: Vec::new(),
            stuck: false,
            stage: substate(end),
            time_wait_ns: end.time_wait_ns,
            records: 0,
            acks: 0,
            rst: None,
            turned_away: false,
            serial: 0,
        }
    }

    /// The mini-socket counts its SYNs, so that records that are missing do no harm; without a
    /// mini-socket, or a slot for it, each record is one. Nor are they fewer than their records: the
    /// end of the mini-socket that refused the first of them may have been missed.
    fn add(&mut self, refused: &Refused) {
        let refusal = &refused.refusal;
        self.records += 1;
        let counted = match refusal.refused {
            0 => self.syns + 1,
            counted => self.syns.max(counted),
        };
        self.syns = counted.max(self.records);
        self.turned_away |= refusal.rule == Rule::Unexpected;
        self.last_ns = self.last_ns.max(refusal.at_ns);
        self.stage = refusal.stage;
        self.time_wait_ns = self.time_wait_ns.or(refusal.time_wait_ns);
        if refusal.reply == Some(Reply::Ack) {
            self.acks += 1;
        }
        if let Some(gap) = refused.gap
            && self.gaps.len() < GAPS
        {
            self.gaps.push(gap);
        }
    }

    /// Takes over what its end knows better; returns how many SYNs were missed.
    pub(super) fn complete(&mut self, end: &End) -> u32 {
        let missed = end.refused.saturating_sub(self.syns);
        self.syns += missed;
        self.stage = substate(end);
        if let Some(first_ns) = end.first_refused_ns {
            self.first_ns = self.first_ns.min(first_ns);
        }
        missed
    }

    fn becomes_stuck(&mut self) -> bool {
        let already = self.stuck;
        self.stuck |= self.syns >= STUCK_SYNS && self.last_ns - self.first_ns >= STUCK_NS;
        self.stuck && !already
    }

    fn forgotten_at(&self) -> u64 {
        self.last_ns + FORGOTTEN_NS
    }

    pub(super) fn outcome(&self, ended: Ended<'_>) -> Outcome {
        match ended {
            Ended::Seen(end) => match end.reason {
                Reason::Reset => Outcome::Recovered,
                // It may have been our RST, in answer to the SYN.
                Reason::FinWait2Reset if self.records < self.syns => Outcome::Unknown,
                Reason::FinWait2Reset if !self.turned_away => Outcome::Recovered,
                Reason::SynReopened => Outcome::Reopened,
                // Over how long SYNs without a record came is unknown.
                _ if self.stuck || (self.syns >= STUCK_SYNS && self.records == 0) => Outcome::Stuck,
                _ => Outcome::GaveUp,
            },
            Ended::Unseen if self.stuck => Outcome::Stuck,
            Ended::Unseen => Outcome::Unknown,
        }
    }

    pub(super) fn stuck_by(&self) -> Option<StuckBy> {
        self.rst
            .or_else(|| (self.acks > 0).then_some(StuckBy::NoRst))
    }
}

/// In which it ended.
fn substate(end: &End) -> Stage {
    if end.in_time_wait {
        Stage::TimeWait
    } else {
        Stage::FinWait2
    }
}

fn mini(stage: Stage) -> bool {
    matches!(stage, Stage::TimeWait | Stage::FinWait2)
}
