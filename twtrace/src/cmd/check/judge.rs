//! Compares what a scenario made with what the tracer and the kernel say. Pure.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use twtrace_common::counters::Counters;

use super::life::{Life, Made, Refused, Window, sum};
use crate::event::{
    BornAs, End, Event, Family, Flow, KernelCounters, Overflow, Reason, TwCountedAt,
};

/// The kernel stamps events with its fast clock, which may differ a little from ours.
const CLOCK_GRACE: Duration = Duration::from_millis(1);
/// `tw_entry_stamp` is in ms.
const STAMP_GRACE: Duration = Duration::from_millis(3);

/// All that is known of one case.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) family: Family,
    pub(super) uid: u32,
    pub(super) netns: u32,
    pub(super) made: &'a Made,
    /// The namespace's TcpExt counters at the end of the scenario.
    pub(super) kernel: &'a KernelCounters,
    /// Mini-sockets in the socket table at that time.
    pub(super) left: usize,
    /// Events of this namespace, from the scenario's beginning on.
    pub(super) events: &'a [Event],
    /// The tracer's own totals of this namespace, if it has any.
    pub(super) counters: Option<&'a Counters>,
    pub(super) counted_at: TwCountedAt,
    /// The kernel keeps `tw_entry_stamp`, so even old mini-sockets have an age.
    pub(super) has_stamp: bool,
}

/// What does not fit, in words.
pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<String> {
    let mut failures = Failures(Vec::new());
    if evidence.made.churned > 0 {
        judge_churn(evidence, &mut failures);
    } else {
        judge_lives(evidence, &mut failures);
        judge_overflows(evidence, &mut failures);
        judge_totals(evidence, &mut failures);
        let Evidence {
            made,
            kernel,
            left,
            counted_at,
            ..
        } = *evidence;
        failures.0.extend(witnesses(made, kernel, left, counted_at));
    }
    judge_losses(evidence, &mut failures);
    failures.0
}

struct Failures(Vec<String>);

impl Failures {
    fn equal<T: PartialEq + std::fmt::Display>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.0.push(format!("{what}: {found}, expected {expected}"));
        }
    }

    fn check(&mut self, good: bool, complaint: impl FnOnce() -> String) {
        if !good {
            self.0.push(complaint());
        }
    }
}

fn ends(events: &[Event]) -> impl Iterator<Item = &End> {
    events.iter().filter_map(|event| match event {
        Event::End(end) => Some(end),
        Event::Overflow(_) => None,
    })
}

fn overflows(events: &[Event]) -> impl Iterator<Item = &Overflow> {
    events.iter().filter_map(|event| match event {
        Event::Overflow(overflow) => Some(overflow),
        Event::End(_) => None,
    })
}

/// Every life has one end event, and every end event one life.
fn judge_lives(evidence: &Evidence<'_>, failures: &mut Failures) {
    for life in &evidence.made.lives {
        let mut found = ends(evidence.events).filter(|end| is(&end.flow, life.local, life.remote));
        match (found.next(), found.count()) {
            (Some(end), 0) => judge_end(evidence, life, end, failures),
            (Some(_), more) => {
                let times = more + 1;
                failures
                    .0
                    .push(format!("{} reported {times} times", name(life)));
            }
            (None, _) => failures.0.push(format!("{} not reported", name(life))),
        }
    }
    let lives: HashSet<_> = evidence
        .made
        .lives
        .iter()
        .map(|life| (life.local, life.remote))
        .collect();
    let unknown = |flow: &Flow| {
        !lives
            .iter()
            .any(|(local, remote)| is(flow, *local, *remote))
    };
    for end in ends(evidence.events).filter(|end| unknown(&end.flow)) {
        failures
            .0
            .push(format!("nobody made what was reported: {end:?}"));
    }
}

fn judge_end(evidence: &Evidence<'_>, life: &Life, end: &End, failures: &mut Failures) {
    let before = failures.0.len();
    let name = name(life);
    let reason = (end.reason.name(), life.reason.name());
    failures.equal(&format!("{name} reason"), reason.0, reason.1);
    judge_flow(evidence, &name, &end.flow, !life.preexisting, failures);
    failures.equal(&format!("{name} re-arms"), end.rearms, life.rearms);
    failures.equal(
        &format!("{name} untracked"),
        end.untracked,
        life.preexisting,
    );
    failures.equal(
        &format!("{name} in TIME_WAIT"),
        end.in_time_wait,
        life.time_wait.is_some(),
    );
    failures.check(life.ended.holds(end.ended_ns, CLOCK_GRACE), || {
        format!("{name} ended {}", off(end.ended_ns, life.ended))
    });
    if life.preexisting {
        judge_old_times(evidence, life, end, failures);
    } else {
        judge_times(life, end, failures);
    }
    if failures.0.len() > before {
        failures.0.push(format!("the event: {end:?}"));
    }
}

fn judge_times(life: &Life, end: &End, failures: &mut Failures) {
    let name = name(life);
    let born_as = (
        format!("{:?}", end.born_as),
        format!("{:?}", Some(life.born_as)),
    );
    failures.equal(&format!("{name} born as"), born_as.0, born_as.1);
    let Some(born) = end.born_ns else {
        return failures.0.push(format!("{name} has no birth"));
    };
    failures.check(life.born.holds(born, CLOCK_GRACE), || {
        format!("{name} born {}", off(born, life.born))
    });
    match (life.time_wait, end.time_wait_ns) {
        (Some(window), Some(stamp)) => {
            failures.check(window.holds(stamp, CLOCK_GRACE), || {
                format!("{name} entered TIME_WAIT {}", off(stamp, window))
            });
            lasts(
                &name,
                "TIME_WAIT",
                stamp,
                end.ended_ns,
                &life.time_wait_lasts,
                failures,
            );
        }
        (None, None) => {}
        (_, found) => failures
            .0
            .push(format!("{name} time of TIME_WAIT: {found:?}")),
    }
    if life.born_as == BornAs::FinWait2 {
        let until = end.time_wait_ns.unwrap_or(end.ended_ns);
        lasts(
            &name,
            "FIN_WAIT2",
            born,
            until,
            &life.fin_wait_2_lasts,
            failures,
        );
    }
}

/// The birth was not seen: what is told of it is true all the same.
fn judge_old_times(evidence: &Evidence<'_>, life: &Life, end: &End, failures: &mut Failures) {
    let name = name(life);
    failures.check(end.born_as.is_none_or(|told| told == life.born_as), || {
        format!("{name} born as {:?}", end.born_as)
    });
    failures.check(
        end.born_ns
            .is_none_or(|told| life.born.holds(told, STAMP_GRACE)),
        || format!("{name} born {:?}, not in {:?}", end.born_ns, life.born),
    );
    match (life.time_wait, end.time_wait_ns) {
        (Some(window), Some(stamp)) => {
            failures.check(window.holds(stamp, STAMP_GRACE), || {
                format!("{name} entered TIME_WAIT {}", off(stamp, window))
            });
            lasts(
                &name,
                "TIME_WAIT",
                stamp,
                end.ended_ns,
                &life.time_wait_lasts,
                failures,
            );
        }
        (Some(_), None) => failures.check(!evidence.has_stamp, || {
            format!("{name} has no age, though this kernel keeps tw_entry_stamp")
        }),
        (None, found) => failures.check(found.is_none(), || {
            format!("{name} time of TIME_WAIT: {found:?}")
        }),
    }
}

fn lasts(
    name: &str,
    state: &str,
    from: u64,
    to: u64,
    allowed: &Range<Duration>,
    failures: &mut Failures,
) {
    let lasted = Duration::from_nanos(to.saturating_sub(from));
    let allowed = allowed.start.saturating_sub(STAMP_GRACE)..allowed.end;
    failures.check(allowed.contains(&lasted), || {
        format!("{name} was in {state} for {lasted:.3?}, expected {allowed:.3?}")
    });
}

fn judge_flow(
    evidence: &Evidence<'_>,
    name: &str,
    flow: &Flow,
    owned: bool,
    failures: &mut Failures,
) {
    let family = (
        format!("{:?}", flow.family),
        format!("{:?}", evidence.family),
    );
    failures.equal(&format!("{name} family"), family.0, family.1);
    failures.equal(&format!("{name} netns"), flow.netns, evidence.netns);
    let uid = owned.then_some(evidence.uid);
    failures.check(flow.uid == uid, || {
        format!("{name} uid: {:?}, expected {uid:?}", flow.uid)
    });
}

fn judge_overflows(evidence: &Evidence<'_>, failures: &mut Failures) {
    for Refused { local, remote, at } in &evidence.made.overflows {
        let name = format!("overflow of {local} > {remote}");
        let mut found = overflows(evidence.events).filter(|one| is(&one.flow, *local, *remote));
        match (found.next(), found.count()) {
            (Some(one), 0) => {
                judge_flow(evidence, &name, &one.flow, true, failures);
                failures.check(at.holds(one.at_ns, CLOCK_GRACE), || {
                    format!("{name} happened {}", off(one.at_ns, *at))
                });
            }
            (found, more) => {
                let times = usize::from(found.is_some()) + more;
                failures.0.push(format!("{name} reported {times} times"));
            }
        }
    }
    let reported = overflows(evidence.events).count();
    failures.equal(
        "overflows reported",
        reported,
        evidence.made.overflows.len(),
    );
}

/// The tracer's totals say the same as the lives.
fn judge_totals(evidence: &Evidence<'_>, failures: &mut Failures) {
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
pub(super) fn witnesses(
    made: &Made,
    kernel: &KernelCounters,
    left: usize,
    counted_at: TwCountedAt,
) -> Vec<String> {
    let mut failures = Failures(Vec::new());
    failures.equal(
        "mini-sockets in the socket table at the end",
        left,
        made.left(),
    );
    let counted = |life: &Life| match counted_at {
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
        failures.equal(&what, sum(kernel, names), expected);
    }
    failures.0
}

/// Nobody knows the single lives, but the sums must fit.
fn judge_churn(evidence: &Evidence<'_>, failures: &mut Failures) {
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

fn judge_losses(evidence: &Evidence<'_>, failures: &mut Failures) {
    let counters = *evidence.counters.unwrap_or(&Counters::ZERO);
    failures.equal("ends lost by the ring", counters.end_ring_full, 0);
    failures.equal("overflows lost by the ring", counters.overflow_ring_full, 0);
    failures.equal("births without a slot", counters.map_full, 0);
    failures.equal("missed by return probes", counters.missed, 0);
}

fn is(flow: &Flow, local: SocketAddr, remote: SocketAddr) -> bool {
    let same = |ip: IpAddr, port: u16, address: SocketAddr| {
        ip.to_canonical() == address.ip().to_canonical() && port == address.port()
    };
    same(flow.laddr, flow.lport, local) && same(flow.raddr, flow.rport, remote)
}

fn name(life: &Life) -> String {
    format!("{} > {}", life.local, life.remote)
}

/// How far a time stamp lies outside its window.
fn off(stamp: u64, window: Window) -> String {
    let (from, to) = (window.from, window.to);
    if stamp < from {
        format!("{:.3?} too early", Duration::from_nanos(from - stamp))
    } else {
        format!("{:.3?} too late", Duration::from_nanos(stamp - to))
    }
}
