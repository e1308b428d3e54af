//! What the kernel has counted since boot, and what each counter means on this kernel.

use super::{Finding, Rate, Severity, What, share};
use crate::event::TwCountedAt;
use crate::event::facts::{Facts, Namespace};

/// From this many per hour on, somebody is affected.
const OFTEN: f64 = 60.0;
/// The same for a counter that also counts harmless events.
const OFTEN_IF_MIXED: f64 = 600.0;
/// Fewer than this are not a pattern.
const FEW: u64 = 10;
const SOME: f64 = 0.02;
const MANY: f64 = 0.2;

/// A counter, its value, and what it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    pub netns: u32,
    pub name: &'static str,
    pub rate: Rate,
    pub counts: Counts,
}

/// What a counter counts on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Mini-sockets, when they are made.
    Births,
    /// Mini-sockets, when their timer fires.
    Expiries,
    /// One of the two: BTF does not tell.
    BirthsOrExpiries,
    ShortBirths,
    ShortExpiries,
    Short,
    TakenOver,
    Overflows,
    RefusedInTimeWait,
    /// In TIME_WAIT and elsewhere.
    RefusedAnywhere,
    /// On live connections, and while they are made.
    RefusedAlive,
    OldAcks,
    WrongEcho,
    OddEcho,
    RefusedByRecycle,
    UnansweredTimeWait,
    UnansweredFinWait2,
    UnansweredAlive,
    UnansweredSynRecv,
    SynsOnAlive,
    SynsAgain,
    ListenDrops,
    ListenOverflows,
    QueueDrops,
    ClosedByReset,
    ActiveOpens,
    PassiveOpens,
}

/// Of our own namespace those that this kernel has, of others those that moved.
pub(super) fn rows(facts: &Facts) -> Vec<Counter> {
    let all = facts.namespaces.iter().enumerate();
    all.flat_map(|(index, namespace)| {
        let counts = counts(facts, namespace);
        counts.into_iter().filter_map(move |(name, counts)| {
            let value = *namespace.counters.get(name)?;
            (index == 0 || value > 0).then(|| Counter {
                netns: namespace.netns,
                name,
                rate: Rate::new(value, facts.uptime_s),
                counts,
            })
        })
    })
    .collect()
}

fn counts(facts: &Facts, namespace: &Namespace) -> [(&'static str, Counts); 22] {
    let (tw, killed) = match facts.tracing.tw_counted_at {
        Some(TwCountedAt::Birth) => (Counts::Births, Counts::ShortBirths),
        Some(TwCountedAt::Expiry) => (Counts::Expiries, Counts::ShortExpiries),
        None => (Counts::BirthsOrExpiries, Counts::Short),
    };
    let paws = if namespace.counters.contains_key("PAWSTimewait") {
        Counts::RefusedAlive
    } else {
        Counts::RefusedAnywhere
    };
    [
        ("TW", tw),
        ("TWKilled", killed),
        ("TWRecycled", Counts::TakenOver),
        ("TCPTimeWaitOverflow", Counts::Overflows),
        ("PAWSTimewait", Counts::RefusedInTimeWait),
        ("PAWSEstab", paws),
        ("PAWSOldAck", Counts::OldAcks),
        ("PAWSActive", Counts::WrongEcho),
        ("TSEcrRejected", Counts::OddEcho),
        ("PAWSPassive", Counts::RefusedByRecycle),
        ("TCPACKSkippedTimeWait", Counts::UnansweredTimeWait),
        ("TCPACKSkippedFinWait2", Counts::UnansweredFinWait2),
        ("TCPACKSkippedPAWS", Counts::UnansweredAlive),
        ("TCPACKSkippedSynRecv", Counts::UnansweredSynRecv),
        ("TCPSYNChallenge", Counts::SynsOnAlive),
        ("TCPSynRetrans", Counts::SynsAgain),
        ("ListenDrops", Counts::ListenDrops),
        ("ListenOverflows", Counts::ListenOverflows),
        ("TCPReqQFullDrop", Counts::QueueDrops),
        ("TCPAbortOnData", Counts::ClosedByReset),
        ("ActiveOpens", Counts::ActiveOpens),
        ("PassiveOpens", Counts::PassiveOpens),
    ]
}

/// Segments refused by timestamp, and whether those of TIME_WAIT are counted apart.
pub(super) fn refused(namespace: &Namespace) -> (u64, bool) {
    match namespace.counters.get("PAWSTimewait") {
        Some(&count) => (count, true),
        None => (namespace.counter("PAWSEstab"), false),
    }
}

pub(super) fn find(facts: &Facts, namespace: &Namespace, findings: &mut Vec<Finding>) {
    let mut found = |severity, what| {
        findings.push(Finding::new(severity, Some(namespace.netns), what));
    };
    let (refused, in_time_wait) = refused(namespace);
    if refused > 0 {
        let count = Rate::new(refused, facts.uptime_s);
        let often = if in_time_wait { OFTEN } else { OFTEN_IF_MIXED };
        let what = What::RefusedByTimestamp {
            count,
            in_time_wait,
            unanswered: namespace.counter("TCPACKSkippedTimeWait"),
        };
        found(by_rate(count, often), what);
    }
    // tcp_listendrop: every ListenOverflows counts there too.
    let drops = namespace.counter("ListenDrops");
    if drops > 0 {
        let count = Rate::new(drops, facts.uptime_s);
        found(by_rate(count, OFTEN), What::ListenDrops { count });
    }
    let opens = namespace.counter("ActiveOpens") + namespace.counter("PassiveOpens");
    let count = namespace.counter("TCPSynRetrans");
    if let Some(severity) = by_share(count, opens) {
        found(severity, What::SynsAgain { count, opens });
    }
    let count = namespace.counter("TCPAbortOnData");
    if by_share(count, opens).is_some() {
        found(Severity::Note, What::ClosedByReset { count, opens });
    }
}

fn by_rate(count: Rate, often: f64) -> Severity {
    if count.per_hour >= often && count.count >= FEW {
        Severity::Warning
    } else {
        Severity::Note
    }
}

fn by_share(count: u64, of: u64) -> Option<Severity> {
    let share = share(count, of);
    if count < FEW || share < SOME {
        return None;
    }
    Some(if share >= MANY {
        Severity::Warning
    } else {
        Severity::Note
    })
}
