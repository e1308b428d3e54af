//! What was run, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expect::{Behaviour, Group, Shown};
use super::life::Clients;
use crate::event::{Event, Family, Meta};
use crate::text::Text;

/// One scenario with one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Of the scenario.
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) behaviour: &'static Behaviour,
    pub(super) family: Family,
    pub(super) uid: u32,
}

/// How a case ended.
#[derive(Debug)]
pub(super) enum Verdict {
    Pass,
    Skip(String),
    Fail(Vec<String>),
}

/// A case and its verdict.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) case: Case,
    pub(super) verdict: Verdict,
    /// Mini-sockets and overflows that it made.
    pub(super) sockets: usize,
    /// How long its scenario ran.
    pub(super) took: Duration,
    /// What was found where kernels differ.
    pub(super) found: BTreeMap<String, String>,
    /// The counters of its namespace that moved.
    pub(super) counters: BTreeMap<Text, u64>,
    /// What was traced of it.
    pub(super) events: Vec<Event>,
    /// Its connections came as they liked.
    pub(super) crowd: bool,
    pub(super) clients: Option<Clients>,
}

/// Everything that was run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) meta: &'a Meta,
    /// What the kernel shows of itself; the expectations follow it.
    pub(super) shown: &'a Shown,
    /// In the order of the scenarios.
    pub(super) outcomes: &'a [Outcome],
    pub(super) took: Duration,
}

/// How many cases came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Tally {
    pub(super) fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Pass => tally.passed += 1,
                Verdict::Fail(_) => tally.failed += 1,
                Verdict::Skip(_) => tally.skipped += 1,
            }
        }
        tally
    }
}

impl Run<'_> {
    /// The outcomes of each group that has any, and in it of each scenario.
    pub(super) fn groups(&self) -> Vec<(Group, Vec<&[Outcome]>)> {
        let mut groups: Vec<(Group, Vec<&[Outcome]>)> = Vec::new();
        let same = |a: &Outcome, b: &Outcome| a.case.name == b.case.name;
        for scenario in self.outcomes.chunk_by(same) {
            let group = scenario[0].case.group;
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, scenarios)) => scenarios.push(scenario),
                None => groups.push((group, vec![scenario])),
            }
        }
        groups.sort_by_key(|(group, _)| *group);
        groups
    }
}

pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
        Family::Ipv4Mapped => "ipv4-mapped",
    }
}
