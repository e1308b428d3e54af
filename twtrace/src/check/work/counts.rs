//! What the kernel's own counters show, and what they do not.

use std::thread;
use std::time::Duration;

use crate::check::expect::Sign;
use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How, after_fin};
use crate::check::lab::step::{Step, Stop};
use crate::check::life::{Made, Window, now_ns};
use crate::check::work::forged::{answer_all, in_fin_wait_2, older, rst, syn};
use crate::check::work::reopens::accepted;
use crate::check::work::takeover::bound_reused;
use crate::check::work::timers::fin_wait_2_timeout;
use crate::event::{Reason, Rule};

/// Longer than a tick, so that a restarted timer has a different expiry time.
const APART: Duration = Duration::from_millis(30);
/// All counters of TIME_WAIT and its refusals.
const ALL: [&str; 8] = [
    "TW",
    "TWKilled",
    "TWRecycled",
    "TCPTimeWaitOverflow",
    "PAWSEstab",
    "PAWSTimewait",
    "TCPACKSkippedTimeWait",
    "TCPACKSkippedFinWait2",
];

/// TW counts births or expirations, depending on the kernel; nothing has expired yet.
pub(in super::super) fn births(lab: &Lab<'_>) -> Step<Made> {
    let born = match lab.shows(Sign::TwKill) {
        true => 0,
        false => lab.count as u64,
    };
    let made = Group::time_wait(lab, lab.connect_all()?)?.left();
    Ok(made.counted("TW", born).counted("TWKilled", 0))
}

/// Mini-sockets that expire after one second in FIN_WAIT2 count as TWKilled.
pub(in super::super) fn short(lab: &Lab<'_>) -> Step<Made> {
    let made = fin_wait_2_timeout(lab)?;
    if lab.counter("TW")? > 0 {
        // 3.5 times the retransmission timeout exceeded 4 s.
        return Err(Stop::Disturbed("the machine is too slow for 1 s".into()));
    }
    Ok(made.counted("TWKilled", lab.count as u64))
}

/// Each takeover counts once.
pub(in super::super) fn recycled(lab: &Lab<'_>) -> Step<Made> {
    Ok(bound_reused(lab)?.counted("TWRecycled", lab.count as u64))
}

/// A refusal by timestamp counts as PAWSTimewait or as PAWSEstab, depending on the kernel.
pub(in super::super) fn paws(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    refuse(lab, &mut group, How::answered(Rule::Paws))?;
    let (moved, still) = match lab.shows(Sign::PawsTimewait) {
        true => ("PAWSTimewait", "PAWSEstab"),
        false => ("PAWSEstab", "PAWSTimewait"),
    };
    let made = group.left().found("refused by timestamp counts as", moved);
    Ok(made.counted(moved, lab.count as u64).counted(still, 0))
}

/// Answers left out by the rate limit.
pub(in super::super) fn skipped(lab: &Lab<'_>) -> Step<Made> {
    limit_answers(lab)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    refuse(lab, &mut group, How::answered(Rule::Paws))?;
    refuse(lab, &mut group, How::rate_limited(Rule::Paws))?;
    let made = group.left();
    Ok(made.counted("TCPACKSkippedTimeWait", lab.count as u64))
}

/// FIN_WAIT2 has no counter for what it refuses.
pub(in super::super) fn fin_wait_2(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let group = refuse_in_fin_wait_2(lab, &[How::answered(Rule::Paws)])?;
    let made = group.left();
    Ok(made.counted("PAWSEstab", 0).counted("PAWSTimewait", 0))
}

/// FIN_WAIT2 does have a counter for answers left out by the rate limit.
pub(in super::super) fn fin_wait_2_skipped(lab: &Lab<'_>) -> Step<Made> {
    limit_answers(lab)?;
    let hows = [How::answered(Rule::Paws), How::rate_limited(Rule::Paws)];
    let made = refuse_in_fin_wait_2(lab, &hows)?.left();
    Ok(made.counted("TCPACKSkippedFinWait2", lab.count as u64))
}

/// Ends by a RST move no counter.
pub(in super::super) fn reset(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::time_wait(lab, lab.connect_all()?)?;
    let before = all(lab)?;
    let start = now_ns();
    group.forge(lab, |at| rst(after_fin(at)))?;
    group.await_gone(lab)?;
    let made = group.ended(Reason::Reset, Window::since(start));
    Ok(unmoved(made, &before))
}

/// SYNs accepted over TIME_WAIT move no counter.
pub(in super::super) fn reopen(lab: &Lab<'_>) -> Step<Made> {
    let made = accepted(lab, 1, |at| at.clock)?;
    let births = match lab.shows(Sign::TwKill) {
        true => 0,
        false => lab.count as u64,
    };
    let others = ALL
        .iter()
        .skip(1)
        .map(|name| (*name, 0))
        .collect::<Vec<_>>();
    Ok(unmoved(made.counted("TW", births), &others))
}

/// Long enough not to pass even on the slowest machine.
fn limit_answers(lab: &Lab<'_>) -> Step<()> {
    lab.sysctl("tcp_invalid_ratelimit", 30_000)
}

fn refuse(lab: &Lab<'_>, group: &mut Group, how: How) -> Step<()> {
    thread::sleep(APART);
    group.forge_refused(lab, how.rearming(), |at| syn(at, older(at, 1), 1))
}

fn refuse_in_fin_wait_2(lab: &Lab<'_>, hows: &[How]) -> Step<Group> {
    let mut group = Group::deaf_fin_wait_2(lab, lab.connect_all()?)?;
    for how in hows {
        group.forge_refused(lab, *how, |at| in_fin_wait_2(syn(at, older(at, 1), 0)))?;
    }
    Ok(group)
}

fn all(lab: &Lab<'_>) -> Step<Vec<(&'static str, u64)>> {
    let each = ALL.iter().map(|name| Ok((*name, lab.counter(name)?)));
    each.collect()
}

fn unmoved(made: Made, before: &[(&'static str, u64)]) -> Made {
    before
        .iter()
        .fold(made, |made, (name, value)| made.counted(name, *value))
}
