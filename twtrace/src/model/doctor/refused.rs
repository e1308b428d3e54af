//! Refused segments, by the kernel's counters: while doctor looks, and those that no other finding
//! tells of. A SYN that is refused for its sequence number moves none of them.

use super::{Finding, Rate, Severity, What, counters};
use crate::event::facts::{Facts, Namespace};

/// All that count segments which an old or a living connection refused.
const ALL: [&str; 6] = [
    "PAWSTimewait",
    "PAWSEstab",
    "TCPACKSkippedTimeWait",
    "TCPACKSkippedFinWait2",
    "TCPACKSkippedPAWS",
    "TCPSYNChallenge",
];
/// Those of them that move without a refusal in TIME_WAIT by timestamp.
const APART: [&str; 2] = ["TCPACKSkippedFinWait2", "TCPSYNChallenge"];

/// By how much counters of refused segments moved, and within what time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub counters: Vec<(&'static str, u64)>,
    pub within_ns: u64,
}

impl Moved {
    /// At this pace.
    pub(super) fn per_hour(&self) -> u64 {
        const HOUR_NS: u128 = 3_600_000_000_000;
        let count: u64 = self.counters.iter().map(|(_, count)| count).sum();
        let per_hour = u128::from(count) * HOUR_NS / u128::from(self.within_ns.max(1));
        u64::try_from(per_hour).unwrap_or(u64::MAX)
    }
}

/// What they did between the two readings; `None` if there was only one.
pub(super) fn watched(namespace: &Namespace) -> Option<Moved> {
    let later = namespace.later.as_ref()?;
    let moved = |name: &'static str| {
        let now = later.counters.get(name).copied().unwrap_or(0);
        let by = now.saturating_sub(namespace.counter(name));
        (by > 0).then_some((name, by))
    };
    Some(Moved {
        counters: ALL.into_iter().filter_map(moved).collect(),
        within_ns: later.at_ns.saturating_sub(namespace.read_at_ns),
    })
}

pub(super) fn find(facts: &Facts, namespace: &Namespace, findings: &mut Vec<Finding>) {
    let mut found = |severity, what| {
        findings.push(Finding::new(severity, Some(namespace.netns), what));
    };
    if let Some(moved) = watched(namespace)
        && !moved.counters.is_empty()
    {
        found(Severity::Warning, What::RefusedNow(moved));
    }
    let mut names = APART.to_vec();
    // Else it is told beside the counter of refusals by timestamp.
    if counters::refused(namespace).0 == 0 {
        names.push("TCPACKSkippedTimeWait");
    }
    let counters: Vec<_> = names
        .into_iter()
        .map(|name| (name, Rate::new(namespace.counter(name), facts.uptime_s)))
        .filter(|(_, rate)| rate.count > 0)
        .collect();
    if !counters.is_empty() {
        found(Severity::Note, What::RefusedElsewhere { counters });
    }
}
