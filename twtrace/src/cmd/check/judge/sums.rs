//! The tracer's totals, the kernel's counters and the socket table say the same as the lives.

use std::collections::HashSet;

use twtrace_common::counters::Counters;

use super::{Evidence, Failures, ends};
use crate::cmd::check::life::{Life, sum};
use crate::event::{BornAs, Reason, TwCountedAt};

/// The tracer's totals say the same as the lives.
pub(super) fn judge_totals(evidence: &Evidence<'_>, failures: &mut Failures) {
    let counters = *evidence.counters.unwrap_or(&Counters::ZERO);
    let born = |as_| {
        evidence
            .made
            .count(|life| !life.preexisting && life.born_as == as_)
    };
    let promoted = evidence.made.count(|life| life.promoted);
    let rearmed = evidence
        .made
        .lives
        .iter()
        .map(|life| u64::from(life.rearms))
        .sum();
    failures.equal(
        "total born in FIN_WAIT2",
        counters.born_fin_wait_2,
        born(BornAs::FinWait2),
    );
    failures.equal(
        "total born in TIME_WAIT",
        counters.born_time_wait,
        born(BornAs::TimeWait),
    );
    failures.equal("total promoted", counters.promoted, promoted);
    failures.equal("total re-armed", counters.rearmed, rearmed);
    failures.equal(
        "total overflowed",
        counters.overflowed,
        evidence.made.overflows.len() as u64,
    );
    failures.equal(
        "total untracked",
        counters.end_untracked,
        evidence.made.count(|life| life.preexisting),
    );
    for reason in Reason::ALL {
        let what = format!("total {}", reason.name());
        let expected = evidence.made.count(|life| life.reason == reason);
        failures.equal(&what, counters.ended[reason as usize], expected);
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

/// Nobody knows the single lives, but the sums must fit.
pub(super) fn judge_churn(evidence: &Evidence<'_>, failures: &mut Failures) {
    let counters = *evidence.counters.unwrap_or(&Counters::ZERO);
    let births = counters.born_fin_wait_2 + counters.born_time_wait;
    let ended: u64 = counters.ended.iter().sum();
    failures.equal("births and ends", births, ended);
    failures.equal("untracked", counters.end_untracked, 0);
    failures.equal("reason other", counters.ended[Reason::Other as usize], 0);
    // Each connection leaves one mini-socket; two if both ends close at once.
    let made = evidence.made.churned as u64;
    failures.check((made..=2 * made).contains(&births), || {
        format!("{births} births of {made} connections")
    });
    for reason in Reason::ALL {
        let reported = ends(evidence.events)
            .filter(|end| end.reason == reason)
            .count() as u64;
        let what = format!("{} reported and counted", reason.name());
        failures.equal(&what, reported, counters.ended[reason as usize]);
    }
    let left = counters.ended[Reason::NetnsExit as usize];
    failures.equal(
        "ended with the namespace and left in the table",
        left,
        evidence.left as u64,
    );
    if evidence.counted_at == TwCountedAt::Birth {
        let tw = sum(evidence.kernel, &["TW"]);
        failures.equal("the kernel's TW and births", tw, births);
    }
    let mut seen = HashSet::new();
    for end in ends(evidence.events) {
        let key = (end.flow.lport, end.flow.rport, end.born_ns);
        failures.check(seen.insert(key), || format!("reported twice: {end:?}"));
    }
}

pub(super) fn judge_losses(evidence: &Evidence<'_>, failures: &mut Failures) {
    let counters = *evidence.counters.unwrap_or(&Counters::ZERO);
    failures.equal("ends lost by the ring", counters.end_ring_full, 0);
    failures.equal("overflows lost by the ring", counters.overflow_ring_full, 0);
    failures.equal("births without a slot", counters.map_full, 0);
    failures.equal("missed by return probes", counters.missed, 0);
}
