//! Which SYNs were refused, what became of their clients, and what may explain it.
//!
//! A conflict begins with the first SYN that is refused on a connection's addresses and ports, and
//! ends with the mini-socket that refused it. Memory is bounded: open conflicts and remote addresses
//! have a maximum; whatever exceeds it is still counted, but no longer by itself.

pub mod causes;
mod evidence;
mod hypothesis;
mod peers;
pub(super) mod told;
mod tuples;
pub mod what_if;

use hdrhistogram::Histogram;

use super::lifecycle::Life;
use super::refusal::Refused;
use super::report::Report;
use super::stats;
use crate::event::{End, Meta, Reason, Rule, Stage, TsOffset};
use causes::Hypothesis;
use peers::Peers;
pub use peers::{Counts, Peer, PeerKey};
pub use told::{Conflict, GAPS, OUTCOMES, Outcome, Reopen, StuckBy};
use tuples::{Key, Tuple, Tuples};
use what_if::Recycle;

/// How many SYNs make a client stuck, if they come over [`STUCK_NS`]: Linux sends its first three
/// within 3 s.
pub const STUCK_SYNS: u32 = 3;
pub const STUCK_NS: u64 = 3_000_000_000;

/// All conflicts of a trace and their outcomes.
#[derive(Debug)]
pub struct Conflicts {
    tuples: Tuples,
    peers: Peers,
    delays: Histogram<u64>,
    recycle: Recycle,
    ports_hashed: bool,
    /// When the last event was.
    now_ns: u64,
}

/// All remote addresses together.
#[derive(Clone, Copy, Debug)]
pub struct Overview {
    pub counts: Counts,
    /// Remote addresses of which a SYN was refused, as far as they could be told apart.
    pub addresses: usize,
    /// Over all addresses; `None` if nobody was let in.
    pub delays: Option<stats::Percentiles>,
}

/// The addresses that matter most.
#[derive(Clone, Debug)]
pub struct Top<'a> {
    pub peers: Vec<(PeerKey, &'a Peer)>,
    pub rest: Option<Rest>,
}

/// All other addresses with conflicts together.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    pub addresses: usize,
    /// There were even more addresses, which could not be told apart.
    pub more: bool,
    pub counts: Counts,
}

impl StuckBy {
    pub const ALL: [Self; 3] = [Self::Rfc1337, Self::WrongRst, Self::NoRst];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc1337 => "rfc1337",
            Self::WrongRst => "wrong-rst",
            Self::NoRst => "no-rst",
        }
    }
}

impl Conflicts {
    #[must_use]
    pub fn new(meta: &Meta) -> Self {
        Self {
            tuples: Tuples::new(),
            peers: Peers::new(),
            delays: stats::empty(),
            recycle: Recycle::new(),
            ports_hashed: meta.ts_offset == Some(TsOffset::Ports),
            now_ns: meta.started_ns,
        }
    }

    /// Takes the next event; appends the conflicts whose outcome is known now.
    pub fn event(&mut self, report: &Report, known: &mut Vec<Conflict>) {
        match report {
            Report::Refusal(refused) => {
                self.at(refused.refusal.at_ns, known);
                self.refusal(refused, known);
            }
            Report::End(life) => {
                self.at(life.end.ended_ns, known);
                self.end(life, known);
            }
            _ => {}
        }
    }

    /// Ends the trace: what is still open stays unknown, or stuck.
    pub fn finish(&mut self, known: &mut Vec<Conflict>) {
        for tuple in self.tuples.drain() {
            self.close(tuple, Ended::Unseen, known);
        }
    }

    /// The `most` addresses with the most refused SYNs, and what the rest adds up to.
    #[must_use]
    pub fn top(&self, most: usize) -> Top<'_> {
        let mut peers = self.peers.sorted();
        let rest = peers.split_off(most.min(peers.len()));
        let others = &self.peers.others.counts;
        let mut sum = *others;
        for (_, peer) in &rest {
            sum.add(&peer.counts);
        }
        Top {
            peers,
            rest: (sum.refused > 0).then_some(Rest {
                addresses: rest.len(),
                more: others.refused > 0,
                counts: sum,
            }),
        }
    }

    /// What may explain the conflicts of an address, the best first.
    #[must_use]
    pub fn causes(&self, peer: &Peer) -> Vec<Hypothesis> {
        causes::weigh(&peer.evidence.facts(self.ports_hashed))
    }

    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview {
            counts: self.peers.all,
            addresses: self.peers.with_conflicts(),
            delays: (!self.delays.is_empty()).then(|| stats::percentiles(&self.delays)),
        }
    }

    /// All delays, in ns.
    #[must_use]
    pub fn delays(&self) -> &Histogram<u64> {
        &self.delays
    }

    /// What tcp_tw_recycle would have done.
    #[must_use]
    pub fn recycle(&self) -> &Recycle {
        &self.recycle
    }

    /// Gives up on conflicts whose end must have been missed.
    fn at(&mut self, now_ns: u64, known: &mut Vec<Conflict>) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some(tuple) = self.tuples.overdue(self.now_ns) {
            self.close(tuple, Ended::Unseen, known);
        }
    }

    fn refusal(&mut self, refused: &Refused, known: &mut Vec<Conflict>) {
        let refusal = &refused.refusal;
        let key = Key::of(&refusal.flow);
        if !refusal.is_syn() {
            self.tuples.rst(&key, refusal);
            return;
        }
        let mini = matches!(refusal.stage, Stage::TimeWait | Stage::FinWait2);
        if mini {
            let address = PeerKey::of(&refusal.flow);
            let age_ns = refused.ts_recent_age_ns().unwrap_or(0);
            self.recycle
                .syn(address, refusal.at_ns, &refusal.numbers, age_ns);
        }
        if let Some(older) = self.tuples.take_older(&key, refusal) {
            self.close(older, Ended::Unseen, known);
        }
        let added = self.tuples.add(key, refused);
        let address = PeerKey::of(&refusal.flow);
        let peer = self.peers.count(address, |counts| {
            counts.refused += u64::from(added.syns);
            counts.tuples += u64::from(added.new_tuple);
        });
        peer.evidence.refused(refused, &added);
        if let Some(oldest) = added.evicted {
            self.close(oldest, Ended::Unseen, known);
        }
        if added.stuck
            && let Some(tuple) = self.tuples.get(&key)
        {
            let by = tuple.stuck_by();
            self.peers.count(address, |counts| counts.stuck(by));
            known.push(self.conflict(tuple, Outcome::Stuck, None));
        }
    }

    fn end(&mut self, life: &Life, known: &mut Vec<Conflict>) {
        let end = &life.end;
        let address = PeerKey::of(&end.flow);
        if end.reason == Reason::SynReopened {
            let peer = self.peers.count(address, |counts| counts.accepted += 1);
            peer.evidence.accepted(life);
            if let Some(numbers) = &end.accepted {
                let age_ns = life.time_wait_ns.unwrap_or(0);
                self.recycle.syn(address, end.ended_ns, numbers, age_ns);
            }
        }
        let key = Key::of(&end.flow);
        let (mut tuple, new_tuple) = match self.tuples.take_ended(&key, end) {
            Some(tuple) => (tuple, false),
            None if end.refused == 0 => return,
            None => (Tuple::unseen(end), self.tuples.first_time(&key)),
        };
        let missed = tuple.complete(end);
        self.peers.count(address, |counts| {
            counts.refused += u64::from(missed);
            counts.tuples += u64::from(new_tuple);
        });
        self.close(tuple, Ended::Seen(end), known);
    }

    fn close(&mut self, tuple: Tuple, ended: Ended<'_>, known: &mut Vec<Conflict>) {
        let outcome = tuple.outcome(ended);
        let delay_ns = match (outcome, ended) {
            (Outcome::Recovered | Outcome::Reopened, Ended::Seen(end)) => {
                end.ended_ns.checked_sub(tuple.first_ns)
            }
            _ => None,
        };
        let address = PeerKey::of(&tuple.flow);
        let stuck_unseen = outcome == Outcome::Stuck && !tuple.stuck;
        let peer = self.peers.count(address, |counts| {
            counts.outcomes[outcome as usize] += 1;
            if stuck_unseen {
                counts.stuck(None);
            }
        });
        if let Some(ns) = delay_ns {
            peer.delayed(ns);
            self.delays.saturating_record(ns);
        }
        if outcome != Outcome::Stuck || stuck_unseen {
            known.push(self.conflict(&tuple, outcome, delay_ns));
        }
    }

    fn conflict(&self, tuple: &Tuple, outcome: Outcome, delay_ns: Option<u64>) -> Conflict {
        let address = PeerKey::of(&tuple.flow);
        Conflict {
            flow: tuple.flow,
            stage: tuple.stage,
            turned_away: tuple.turned_away,
            first_ns: tuple.first_ns,
            at_ns: self.now_ns,
            syns: tuple.syns,
            outcome,
            delay_ns,
            span_ns: tuple.last_ns.saturating_sub(tuple.first_ns),
            gaps: tuple.gaps.clone(),
            stuck_by: (outcome == Outcome::Stuck)
                .then(|| tuple.stuck_by())
                .flatten(),
            causes: self.causes(self.peers.get(address)),
        }
    }
}

/// What is reported of an event where only conflicts matter. `all`: to programs. People are told what
/// keeps a client out: accepted SYNs are the rule, and other segments are refused every day.
#[must_use]
pub fn told(report: &Report, all: bool) -> Option<Report> {
    match report {
        Report::End(life) => Reopen::new(life).filter(|_| all).map(Report::Reopen),
        Report::Refusal(refused) => {
            let matters = refused.refusal.is_syn() || refused.refusal.rule == Rule::Rfc1337;
            (all || matters).then(|| report.clone())
        }
        _ => None,
    }
}

/// How a conflict ended.
#[derive(Clone, Copy)]
enum Ended<'a> {
    /// With its mini-socket.
    Seen(&'a End),
    /// Not while it was traced.
    Unseen,
}

#[cfg(test)]
mod tests;
