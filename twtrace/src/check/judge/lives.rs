//! Every life has its event, and every event its life.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use super::{Evidence, Failures, ends, overflows};
use crate::check::life::{Life, Refused, Window};
use crate::event::{BornAs, End, Flow, Reason};

/// The kernel stamps events with its fast clock, which may differ a little from ours.
pub(super) const CLOCK_GRACE: Duration = Duration::from_millis(1);
/// `tw_entry_stamp` is in ms.
const STAMP_GRACE: Duration = Duration::from_millis(3);

/// Every life has one end event, and every end event one life.
pub(super) fn judge_lives(evidence: &Evidence<'_>, failures: &mut Failures) {
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
            .push(format!("reported, but no scenario made it: {end:?}"));
    }
}

fn judge_end(evidence: &Evidence<'_>, life: &Life, end: &End, failures: &mut Failures) {
    let before = failures.0.len();
    let name = name(life);
    let reason = (end.reason.name(), life.reason.name());
    failures.equal(&format!("{name} reason"), reason.0, reason.1);
    judge_flow(evidence, &name, &end.flow, !life.preexisting, failures);
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
    // In a crowd nobody knows them one by one.
    if evidence.made.crowd.is_none() {
        failures.equal(&format!("{name} re-arms"), end.rearms, life.rearms);
        judge_syns(&name, life, end, failures);
    }
    if life.preexisting {
        judge_old_times(evidence, life, end, failures);
    } else {
        judge_times(life, end, failures);
    }
    if failures.0.len() > before {
        failures.0.push(format!("the event: {end:?}"));
    }
}

/// The SYNs that it refused, and the one that was accepted over it.
fn judge_syns(name: &str, life: &Life, end: &End, failures: &mut Failures) {
    failures.equal(&format!("{name} refused"), end.refused, life.refused);
    match (life.first_refused, end.first_refused_ns) {
        (Some(window), Some(stamp)) => failures.check(window.holds(stamp, CLOCK_GRACE), || {
            format!("{name} refused the first {}", off(stamp, window))
        }),
        (None, None) => {}
        (_, found) => failures
            .0
            .push(format!("{name} refused the first at {found:?}")),
    }
    let reopened = end.reason == Reason::SynReopened;
    let good = match life.accepted {
        Some(_) => end.accepted == life.accepted,
        None => end.accepted.is_some() == reopened,
    };
    failures.check(good, || {
        let (found, expected) = (end.accepted, life.accepted);
        format!("{name} accepted {found:?}, expected {expected:?}")
    });
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
            judge_time_wait(life, window, stamp..end.ended_ns, CLOCK_GRACE, failures);
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
            judge_time_wait(life, window, stamp..end.ended_ns, STAMP_GRACE, failures);
        }
        (Some(_), None) => failures.check(!evidence.has_stamp, || {
            format!("{name} has no age, though this kernel keeps tw_entry_stamp")
        }),
        (None, found) => failures.check(found.is_none(), || {
            format!("{name} time of TIME_WAIT: {found:?}")
        }),
    }
}

/// Entered within the window, and lasted as long as it may.
fn judge_time_wait(
    life: &Life,
    window: Window,
    told: Range<u64>,
    grace: Duration,
    failures: &mut Failures,
) {
    let name = name(life);
    failures.check(window.holds(told.start, grace), || {
        format!("{name} entered TIME_WAIT {}", off(told.start, window))
    });
    let allowed = &life.time_wait_lasts;
    lasts(&name, "TIME_WAIT", told.start, told.end, allowed, failures);
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
    let cgroup = evidence.made.cgroup.or(evidence.cgroup);
    if let Some(cgroup) = cgroup {
        let cgroup = owned.then_some(cgroup);
        failures.check(flow.cgroup == cgroup, || {
            format!("{name} cgroup: {:?}, expected {cgroup:?}", flow.cgroup)
        });
    }
}

pub(super) fn judge_overflows(evidence: &Evidence<'_>, failures: &mut Failures) {
    for refused in &evidence.made.overflows {
        let Refused {
            local,
            remote,
            at,
            room,
        } = refused;
        let name = format!("overflow of {local} > {remote}");
        let mut found = overflows(evidence.events).filter(|one| is(&one.flow, *local, *remote));
        match (found.next(), found.count()) {
            (Some(one), 0) => {
                judge_flow(evidence, &name, &one.flow, true, failures);
                failures.check(at.holds(one.at_ns, CLOCK_GRACE), || {
                    format!("{name} happened {}", off(one.at_ns, *at))
                });
                failures.check(one.room == Some(*room), || {
                    format!("{name} met {:?}, expected {room:?}", one.room)
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
pub(super) fn off(stamp: u64, window: Window) -> String {
    let (from, to) = (window.from, window.to);
    if stamp < from {
        format!("{:.3?} too early", Duration::from_nanos(from - stamp))
    } else {
        format!("{:.3?} too late", Duration::from_nanos(stamp - to))
    }
}
