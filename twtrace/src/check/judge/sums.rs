//! The tracer's totals, the kernel's counters and the socket table say the same as the lives.

use std::collections::HashSet;

use twtrace_common::counters::Counters;

use super::{Evidence, Failures, ends, overflows};
use crate::check::life::{Life, Made, sum};
use crate::event::{BornAs, End, Event, Reason, TwCountedAt};

/// The tracer's totals say the same as the lives.
pub(super) fn judge_totals(evidence: &Evidence<'_>, failures: &mut Failures) {
    let expected = if evidence.made.churned > 0 || evidence.made.crowd.is_some() {
        totals_of_events(evidence.events)
    } else {
        totals_of_lives(evidence.made)
    };
    let found = evidence.counters.unwrap_or(&Counters::ZERO);
    let shared = evidence.shared.unwrap_or(&Counters::ZERO);
    for (name, of) in TOTALS {
        failures.total(name, of(found), of(shared), of(&expected));
    }
    for reason in Reason::ALL {
        let of = |counters: &Counters| counters.ended[reason as usize];
        failures.total(reason.name(), of(found), of(shared), of(&expected));
    }
}

/// A total's name, and where it is.
type Total = (&'static str, fn(&Counters) -> u64);

/// All but the ends by reason. Losses must be 0.
const TOTALS: [Total; 13] = [
    ("born in FIN_WAIT2", |counters| counters.born_fin_wait_2),
    ("born in TIME_WAIT", |counters| counters.born_time_wait),
    ("promoted", |counters| counters.promoted),
    ("re-armed", |counters| counters.rearmed),
    ("overflowed", |counters| counters.overflowed),
    ("untracked", |counters| counters.end_untracked),
    ("births without a slot", |counters| counters.map_full),
    ("ends lost by the ring", |counters| counters.end_ring_full),
    ("overflows lost by the ring", |counters| {
        counters.overflow_ring_full
    }),
    ("births lost by the ring", |counters| {
        counters.birth_ring_full
    }),
    ("port failures lost by the ring", |counters| {
        counters.port_failure_ring_full
    }),
    ("port failures beyond the rate", |counters| {
        counters.port_failure_limited
    }),
    ("missed by return probes", |counters| counters.missed),
];

fn totals_of_lives(made: &Made) -> Counters {
    let born = |born_as| made.count(|life| !life.preexisting && life.born_as == born_as);
    Counters {
        born_fin_wait_2: born(BornAs::FinWait2),
        born_time_wait: born(BornAs::TimeWait),
        promoted: made.count(|life| life.promoted),
        rearmed: made.lives.iter().map(|life| u64::from(life.rearms)).sum(),
        overflowed: made.overflows.len() as u64,
        end_untracked: made.count(|life| life.preexisting),
        ended: Reason::ALL.map(|reason| made.count(|life| life.reason == reason)),
        ..Counters::ZERO
    }
}

/// What the events of mini-sockets that were all born while tracing add up to.
fn totals_of_events(events: &[Event]) -> Counters {
    let count = |like: &dyn Fn(&End) -> bool| ends(events).filter(|end| like(end)).count() as u64;
    let fin_wait_2 = |end: &End| end.born_as == Some(BornAs::FinWait2);
    Counters {
        born_fin_wait_2: count(&fin_wait_2),
        born_time_wait: count(&|end| end.born_as == Some(BornAs::TimeWait)),
        promoted: count(&|end| fin_wait_2(end) && end.in_time_wait),
        rearmed: ends(events).map(|end| u64::from(end.rearms)).sum(),
        overflowed: overflows(events).count() as u64,
        ended: Reason::ALL.map(|reason| count(&|end| end.reason == reason)),
        ..Counters::ZERO
    }
}

/// The socket table and the kernel's counters say the same as the lives.
pub(super) fn judge_witnesses(evidence: &Evidence<'_>, failures: &mut Failures) {
    let made = evidence.made;
    failures.equal(
        "mini-sockets in the socket table at the end",
        evidence.left,
        made.left(),
    );
    let counted = |life: &Life| match evidence.counted_at {
        TwCountedAt::Birth => true,
        TwCountedAt::Expiry => matches!(life.reason, Reason::Expired | Reason::FinWait2Timeout),
    };
    let reused = |life: &Life| matches!(life.reason, Reason::ConnectReused | Reason::BoundReused);
    for (names, expected) in [
        // TWKilled where the timer was first set to 4 s or less.
        (&["TW", "TWKilled"][..], made.count(counted)),
        (&["TWRecycled"], made.count(reused)),
        (&["TCPTimeWaitOverflow"], made.overflows.len() as u64),
    ] {
        let what = format!("the kernel's {}", names.join(" + "));
        failures.equal(&what, sum(evidence.kernel, names), expected);
    }
}

/// The counters that a scenario is about.
pub(super) fn judge_counted(evidence: &Evidence<'_>, failures: &mut Failures) {
    for (name, expected) in &evidence.made.counted {
        let found = sum(evidence.kernel, &[name]);
        failures.equal(&format!("the kernel's {name}"), found, *expected);
    }
}

/// Nobody knows the single lives, but the sums must fit.
pub(super) fn judge_churn(evidence: &Evidence<'_>, failures: &mut Failures) {
    let reported = ends(evidence.events).count();
    // Each connection leaves one mini-socket; two if both ends close at once.
    let made = evidence.made.churned;
    failures.check((made..=2 * made).contains(&reported), || {
        format!("{reported} ends of {made} connections")
    });
    let left = ends(evidence.events)
        .filter(|end| end.reason == Reason::NetnsExit)
        .count();
    failures.equal(
        "ended with the namespace and left in the table",
        left,
        evidence.left,
    );
    if evidence.counted_at == TwCountedAt::Birth {
        let tw = sum(evidence.kernel, &["TW"]);
        failures.equal("the kernel's TW and ends", tw, reported as u64);
    }
    let mut seen = HashSet::new();
    for end in ends(evidence.events) {
        failures.check(end.reason != Reason::Other, || {
            format!("no reason: {end:?}")
        });
        failures.check(!end.untracked, || format!("untracked: {end:?}"));
        let key = (end.flow.lport, end.flow.rport, end.born_ns);
        failures.check(seen.insert(key), || format!("reported twice: {end:?}"));
    }
}
