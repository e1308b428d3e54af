//! Every call that got no port has its event, in the caller's own words, and nothing else has.

use std::process;

use super::lives::{CLOCK_GRACE, off};
use super::{Evidence, Failures, births, ends, port_failures};
use crate::check::life::PortFailed;
use crate::event::{BornAs, Call, PortFailure};

/// Longest name of a task.
const COMMAND: usize = 15;

/// The calls came one after the other, and so do their events.
pub(super) fn judge_port_failures(evidence: &Evidence<'_>, failures: &mut Failures) {
    let made = &evidence.made.port_failures;
    let reported = port_failures(evidence.events).count();
    failures.equal("port failures reported", reported, made.len());
    for (failed, found) in made.iter().zip(port_failures(evidence.events)) {
        judge_one(evidence, failed, found, failures);
    }
    for call in Call::ALL {
        let count = made.iter().filter(|failed| failed.call == call).count();
        let of = |counters: Option<&twtrace_common::counters::Counters>| {
            counters.map_or(0, |one| one.port_failures[call as usize])
        };
        failures.total(
            &format!("{}() calls without a port", call.name()),
            of(evidence.counters),
            of(evidence.shared),
            count as u64,
        );
    }
}

fn judge_one(
    evidence: &Evidence<'_>,
    failed: &PortFailed,
    found: &PortFailure,
    failures: &mut Failures,
) {
    let before = failures.0.len();
    let name = format!("{}() from {}", failed.call.name(), failed.local);
    failures.equal(
        &format!("{name} call"),
        found.call.name(),
        failed.call.name(),
    );
    failures.equal(&format!("{name} errno"), found.errno, failed.errno);
    judge_ends(evidence, &name, failed, found, failures);
    failures.check(failed.at.holds(found.at_ns, CLOCK_GRACE), || {
        format!("{name} failed {}", off(found.at_ns, failed.at))
    });
    if let Some(time_wait) = failed.time_wait {
        let what = format!("{name} candidates held by TIME_WAIT");
        failures.equal(&what, found.time_wait, time_wait);
    }
    failures.equal(&format!("{name} pid"), found.pid, process::id());
    let command: String = evidence.command.chars().take(COMMAND).collect();
    let told = found.command.text();
    failures.equal(&format!("{name} command"), &*told, &*command);
    if failures.0.len() > before {
        failures.0.push(format!("the event: {found:?}"));
    }
}

fn judge_ends(
    evidence: &Evidence<'_>,
    name: &str,
    failed: &PortFailed,
    found: &PortFailure,
    failures: &mut Failures,
) {
    let flow = &found.flow;
    let family = (
        format!("{:?}", flow.family),
        format!("{:?}", evidence.family),
    );
    failures.equal(&format!("{name} family"), family.0, family.1);
    failures.equal(&format!("{name} netns"), flow.netns, evidence.netns);
    let local = failed.local;
    failures.equal(
        &format!("{name} port given"),
        found.port_given,
        local.port() != 0,
    );
    let laddr = local.ip().to_canonical();
    failures.equal(&format!("{name} address"), flow.laddr.to_canonical(), laddr);
    failures.equal(&format!("{name} port"), flow.lport, local.port());
    let (raddr, rport) = match failed.remote {
        Some(remote) => (Some(remote.ip().to_canonical()), remote.port()),
        None => (None, 0),
    };
    let good = match raddr {
        Some(raddr) => flow.raddr.to_canonical() == raddr,
        None => flow.raddr.is_unspecified(),
    };
    failures.check(good, || format!("{name} to {}", flow.raddr));
    failures.equal(&format!("{name} to port"), flow.rport, rport);
    // Whoever makes a socket owns it, until somebody else is named.
    failures.check(flow.uid.is_some_and(|uid| uid != evidence.uid), || {
        format!("{name} uid: {:?}", flow.uid)
    });
}

/// Every life that began while tracing has its birth, and the end tells the same of it.
pub(super) fn judge_births(evidence: &Evidence<'_>, failures: &mut Failures) {
    let born = |as_what: BornAs| births(evidence.events).filter(move |one| one.born_as == as_what);
    for (what, as_what, of) in [
        ("FIN_WAIT2", BornAs::FinWait2, 0),
        ("TIME_WAIT", BornAs::TimeWait, 1),
    ] {
        let count = |counters: Option<&twtrace_common::counters::Counters>| {
            counters.map_or(0, |one| [one.born_fin_wait_2, one.born_time_wait][of])
        };
        let reported = born(as_what).count() as u64;
        let (own, shared) = (count(evidence.counters), count(evidence.shared));
        failures.check((own..=own + shared).contains(&reported), || {
            format!("births in {what} reported: {reported}, expected {own}")
        });
    }
    for end in ends(evidence.events).filter(|end| !end.untracked) {
        let found = births(evidence.events)
            .filter(|birth| birth.flow == end.flow && Some(birth.at_ns) == end.born_ns)
            .filter(|birth| Some(birth.born_as) == end.born_as);
        failures.equal("births reported of what ended", found.count(), 1);
    }
}
