//! What differs between two runs, and whether that is for the worse. Pure.
//!
//! Thresholds: kernel timers fire late by up to a granule of the timer wheel, which follows HZ; and
//! machines are slow at times. What lies within both is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Baseline, Case, Clients, Judged, Times};
use crate::check::expect::{self, By, Differs, Sign};
use crate::text::Text;

/// What a busy machine may add to a lifetime.
const NOISE: Duration = Duration::from_millis(1_500);
/// A client that took longer was hit by a retransmission timeout.
const SLOW: Duration = Duration::from_millis(500);
/// Shares of clients differ so much by what the machine does,
const SHARE: f64 = 0.15;
/// and by so many standard deviations of what is counted, by chance.
const DEVIATIONS: f64 = 4.0;
/// Ends whose time the kernel alone decides, by clock and end reason.
const BY_KERNEL: [&str; 3] = [
    "time-wait expired",
    "fin-wait-2 fin-wait-2-timeout",
    "time-wait connect-reused",
];

/// For the worse, for the better, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Kind {
    Regression,
    Improvement,
    Changed,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Difference {
    pub(in super::super) kind: Kind,
    /// Scenario and family.
    pub(in super::super) name: String,
    pub(in super::super) family: String,
    pub(in super::super) what: String,
    pub(in super::super) was: String,
    pub(in super::super) is: String,
    /// What the kernels show that explains it.
    pub(in super::super) because: Vec<String>,
}

/// All differences.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Comparison {
    pub(in super::super) was: String,
    pub(in super::super) is: String,
    /// The worst first.
    pub(in super::super) differences: Vec<Difference>,
    /// Cases in which nothing differs.
    pub(in super::super) same: usize,
    /// Cases that only one of the two has.
    pub(in super::super) alone: usize,
}

impl Kind {
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Improvement => "improvement",
            Self::Changed => "changed",
        }
    }
}

impl Comparison {
    pub(in super::super) fn count(&self, kind: Kind) -> usize {
        let found = self.differences.iter().filter(|one| one.kind == kind);
        found.count()
    }
}

/// Compares a run with an earlier one, of the same kernel or another.
pub(in super::super) fn compare(was: &Baseline, is: &Baseline) -> Comparison {
    let mut comparison = Comparison {
        was: was.kernel.to_string(),
        is: is.kernel.to_string(),
        differences: Vec::new(),
        same: 0,
        alone: 0,
    };
    let mut known = 0;
    let mut counters = BTreeMap::new();
    for new in &is.cases {
        let same = |old: &&Case| (&old.name, &old.family) == (&new.name, &new.family);
        let Some(old) = was.cases.iter().find(same) else {
            comparison.alone += 1;
            continue;
        };
        known += 1;
        let mut found = Found(Vec::new());
        found.case(old, new, Ticks(was.tick_ns.max(is.tick_ns)));
        found.take_explained(was, is, &mut counters);
        comparison.same += usize::from(found.0.is_empty());
        for one in found.0 {
            let counter = [old, new].map(|case| case.counters.contains_key(one.what.as_str()));
            let one = Difference {
                name: new.name.to_string(),
                family: new.family.to_string(),
                because: because(&new.name, counter != [false; 2], was, is),
                ..one
            };
            add(&mut comparison.differences, one);
        }
    }
    comparison.alone += was.cases.len() - known;
    comparison.differences.extend(counters.into_values());
    comparison.differences.sort_by_key(|one| one.kind);
    comparison
}

/// The same with another address family is no other difference.
fn add(differences: &mut Vec<Difference>, one: Difference) {
    let same = |known: &&mut Difference| {
        let other = Difference {
            family: one.family.clone(),
            ..(**known).clone()
        };
        other == one
    };
    match differences.iter_mut().find(same) {
        Some(known) => known.family += &format!(", {}", one.family),
        None => differences.push(one),
    }
}

/// By what the two kernels differ that this behaviour depends on, and what may differ by rights
/// though nothing shows it.
fn because(name: &str, counter: bool, was: &Baseline, is: &Baseline) -> Vec<String> {
    let Some((_, behaviour)) = expect::find(name) else {
        return Vec::new();
    };
    let told = behaviour
        .differs
        .iter()
        .filter_map(|differs| match differs.by {
            // It explains itself, and no other counter.
            By::Sign(sign) if counter && sign.is_counter() => None,
            By::Sign(_) => explain(differs, was, is),
            By::Trying => Some(differs.told(None)),
        });
    told.collect()
}

/// What is right on the later kernel, if its sign is what the two differ by.
fn explain(differs: &Differs, was: &Baseline, is: &Baseline) -> Option<String> {
    let By::Sign(sign) = differs.by else {
        return None;
    };
    let has = |one: &Baseline| {
        one.shows
            .get(sign.name().as_str())
            .copied()
            .unwrap_or_default()
    };
    let (right, word) = match (has(was), has(is)) {
        (false, true) => (differs.with, "has"),
        (true, false) => (differs.without, "has no"),
        _ => return None,
    };
    Some(format!("{} {word} {}: {right}", is.kernel, sign.name()))
}

struct Found(Vec<Difference>);

impl Found {
    fn put(&mut self, kind: Kind, what: &str, was: impl ToString, is: impl ToString) {
        self.0.push(Difference {
            kind,
            name: String::new(),
            family: String::new(),
            what: what.to_owned(),
            was: was.to_string(),
            is: is.to_string(),
            because: Vec::new(),
        });
    }

    /// Takes out counters that the two kernels count otherwise by their signs: that is one difference,
    /// in however many cases it shows.
    fn take_explained(
        &mut self,
        was: &Baseline,
        is: &Baseline,
        counters: &mut BTreeMap<String, Difference>,
    ) {
        self.0.retain(|one| {
            let sign = Sign::of_counter(&one.what);
            let all = expect::TABLE.iter().flat_map(|(_, behaviours)| *behaviours);
            let mut by_sign = all
                .flat_map(|behaviour| behaviour.differs)
                .filter(|differs| sign.is_some_and(|sign| differs.by == By::Sign(sign)));
            let Some(because) = by_sign.find_map(|differs| explain(differs, was, is)) else {
                return true;
            };
            counters
                .entry(one.what.clone())
                .or_insert_with(|| Difference {
                    name: "counters".into(),
                    family: "all".into(),
                    what: format!("TcpExt {}", one.what),
                    because: vec![because],
                    ..one.clone()
                });
            false
        });
    }

    fn case(&mut self, was: &Case, is: &Case, ticks: Ticks) {
        if was.verdict != is.verdict {
            let kind = match (was.verdict, is.verdict) {
                (_, Judged::Fail) => Kind::Regression,
                (Judged::Fail, Judged::Pass) => Kind::Improvement,
                _ => Kind::Changed,
            };
            return self.put(kind, "verdict", told(was), told(is));
        }
        if is.verdict != Judged::Pass {
            return;
        }
        for (what, old, new) in pairs(&was.found, &is.found) {
            let [old, new] = [old, new].map(|one| one.map_or("not seen", Text::as_str));
            if old != new {
                self.put(Kind::Changed, what, old, new);
            }
        }
        if !(was.crowd || is.crowd) {
            for (what, old, new) in pairs(&was.counters, &is.counters) {
                let [old, new] = [old, new].map(|one| one.copied().unwrap_or(0));
                if old != new {
                    self.put(Kind::Changed, what, old, new);
                }
            }
            for name in BY_KERNEL {
                if let (Some(old), Some(new)) = (was.lifetimes.get(name), is.lifetimes.get(name)) {
                    self.times(name, old, new, ticks);
                }
            }
        }
        if let (Some(old), Some(new)) = (&was.clients, &is.clients) {
            self.clients(old, new);
        }
    }

    fn times(&mut self, what: &str, was: &Times, is: &Times, ticks: Ticks) {
        for (which, old, new) in [
            ("median", was.median(), is.median()),
            ("longest", was.max(), is.max()),
        ] {
            let allowed = ticks.granule(old.max(new)) + NOISE;
            if old.abs_diff(new) > allowed {
                let [old, new] = [old, new].map(|one| format!("{one:.2?}"));
                self.put(Kind::Changed, &format!("{which} {what}"), old, new);
            }
        }
    }

    fn clients(&mut self, was: &Clients, is: &Clients) {
        let slow = |one: &Clients| one.delays.over(SLOW) + one.tried - one.came_through;
        self.share("SYNs refused per client", was, is, |one| one.refused_syns);
        self.share("clients that took over 0.5 s", was, is, slow);
    }

    /// More of it is worse.
    fn share(&mut self, what: &str, was: &Clients, is: &Clients, of: impl Fn(&Clients) -> u64) {
        let share = |one: &Clients| of(one) as f64 / one.tried.max(1) as f64;
        let (old, new) = (share(was), share(is));
        let variance = |one: &Clients| share(one) / one.tried.max(1) as f64;
        let chance = DEVIATIONS * (variance(was) + variance(is)).sqrt();
        if (old - new).abs() > SHARE.max(chance) {
            let kind = match new > old {
                true => Kind::Regression,
                false => Kind::Improvement,
            };
            let told = |one: &Clients| {
                let per_second = one.per_second;
                format!("{:.2} ({per_second:.0} connections/s)", share(one))
            };
            self.put(kind, what, told(was), told(is));
        }
    }
}

fn told(case: &Case) -> String {
    let word = match case.verdict {
        Judged::Pass => "pass",
        Judged::Fail => "fail",
        Judged::Skip => "skip",
    };
    match &case.reason {
        Some(reason) => format!("{word} ({reason})"),
        None => word.to_owned(),
    }
}

/// Each name that either has, with both values.
fn pairs<'a, V>(
    was: &'a BTreeMap<Text, V>,
    is: &'a BTreeMap<Text, V>,
) -> impl Iterator<Item = (&'a str, Option<&'a V>, Option<&'a V>)> {
    let names: BTreeSet<&Text> = was.keys().chain(is.keys()).collect();
    let each = names.into_iter();
    each.map(|name| (name.as_str(), was.get(name), is.get(name)))
}

/// The length of a tick in ns.
#[derive(Clone, Copy)]
struct Ticks(u64);

impl Ticks {
    /// How late the timer wheel may fire: a level holds 64 times its granule, and each next level's
    /// is 8 times as long (kernel/time/timer.c, LVL_START and LVL_GRAN).
    fn granule(self, timeout: Duration) -> Duration {
        const LEVEL_BITS: u32 = 3;
        const SLOTS: u128 = 63;
        const DEEPEST: u32 = 8;
        let ticks = timeout.as_nanos() / u128::from(self.0.max(1));
        let level = (0..DEEPEST)
            .find(|level| ticks < SLOTS << (level * LEVEL_BITS))
            .unwrap_or(DEEPEST);
        Duration::from_nanos(self.0 << (level * LEVEL_BITS))
    }
}

#[cfg(test)]
mod tests;
