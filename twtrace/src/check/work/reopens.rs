//! SYNs that are accepted over a mini-socket. All are forged, so every number is known.

use crate::check::expect::Sign;
use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How, after_fin};
use crate::check::lab::segment::Ear;
use crate::check::lab::sockets::{Pair, Sequence, loopback};
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Made, Window, now_ns};
use crate::check::work::forged::{rst, syn};
use crate::event::{Reason, Rule};
use crate::kernel::sock_diag::Substate;

/// How far the SYN-ACK's sequence number is ahead of the old connection's.
const ISN_AHEAD: u32 = 65_537;
/// Neither ahead nor behind in 32-bit sequence arithmetic.
const HALF_CIRCLE: u32 = 1 << 31;

/// A SYN with a newer timestamp is accepted, whatever its sequence number.
pub(in super::super) fn newer(lab: &Lab<'_>) -> Step<Made> {
    accepted(lab, 0_u32.wrapping_sub(5_000), newer_by_one)
}

/// With an equal timestamp, a sequence number that is one ahead is enough.
pub(in super::super) fn equal_ahead(lab: &Lab<'_>) -> Step<Made> {
    accepted(lab, 1, |at| at.clock)
}

/// The furthest sequence number that still is ahead.
pub(in super::super) fn furthest(lab: &Lab<'_>) -> Step<Made> {
    accepted(lab, HALF_CIRCLE, |at| at.clock)
}

/// A timestamp that is as far behind as it is ahead.
pub(in super::super) fn half_circle(lab: &Lab<'_>) -> Step<Made> {
    accepted(lab, 0_u32.wrapping_sub(5_000), |at| {
        at.clock.map(|clock| clock.wrapping_sub(HALF_CIRCLE))
    })
}

/// If the SYN has no timestamp, only the sequence number decides.
pub(in super::super) fn no_option(lab: &Lab<'_>) -> Step<Made> {
    accepted(lab, 1, |_| None)
}

/// The same if the old connection has no timestamps either.
pub(in super::super) fn no_timestamps(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_timestamps", 0)?;
    let mut group = Group::deaf_time_wait(lab, passive_pairs(lab)?)?;
    if group.all.iter().any(|mini| mini.sequence.clock.is_some()) {
        let reason = "connections have timestamps in spite of tcp_timestamps=0";
        return Err(Stop::Fail(reason.into()));
    }
    group.forge_refused(lab, How::answered(Rule::OldSequence), |at| {
        syn(at, None, u32::MAX)
    })?;
    accept(lab, group, 1, |_| None)
}

/// The initial sequence number of the SYN-ACK.
pub(in super::super) fn isn(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, passive_pairs(lab)?)?;
    let ear = Ear::open(loopback(lab.family)).attempt("open a raw socket")?;
    let start = now_ns();
    group.forge_accepted(lab, |at| syn(at, newer_by_one(at), 1))?;
    for mini in &group.all {
        let answer = ear.next(mini.local, mini.remote);
        let answer = answer.attempt("hear a SYN-ACK")?;
        let ahead = answer.sequence_number.wrapping_sub(mini.sequence.own);
        let right = ahead == ISN_AHEAD || !lab.shows(Sign::TwIsn);
        if !(answer.syn && answer.ack && right) {
            return Err(Stop::Fail(format!("{ahead} ahead: {answer:?}")));
        }
    }
    let begins = match lab.shows(Sign::TwIsn) {
        true => "65,537 ahead",
        false => "anywhere",
    };
    let made = reopened(lab, group, start, 1)?;
    Ok(made.found("the SYN-ACK begins", begins))
}

/// The client's end has no listener: the SYN gets an ACK, and nothing ends.
pub(in super::super) fn no_listener(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    let ear = Ear::open(loopback(lab.family)).attempt("open a raw socket")?;
    group.send(lab, 1, |at| syn(at, newer_by_one(at), 1))?;
    for mini in &group.all {
        let answer = ear.next(mini.local, mini.remote);
        let answer = answer.attempt("hear an ACK")?;
        if answer.syn || answer.rst || answer.acknowledgment_number != after_fin(mini.sequence) {
            return Err(Stop::Fail(format!("it is no ACK: {answer:?}")));
        }
    }
    group.await_substate(lab, Substate::TimeWait)?;
    Ok(group.left())
}

/// The server closes first, so that a new SYN finds a listener.
pub(super) fn passive_pairs(lab: &Lab<'_>) -> Step<Vec<Pair>> {
    Ok(lab.connect_all()?.into_iter().map(Pair::swapped).collect())
}

fn newer_by_one(at: Sequence) -> Option<u32> {
    at.clock.map(|clock| clock.wrapping_add(1))
}

pub(super) fn accepted(
    lab: &Lab<'_>,
    ahead: u32,
    timestamp: fn(Sequence) -> Option<u32>,
) -> Step<Made> {
    let group = Group::deaf_time_wait(lab, passive_pairs(lab)?)?;
    accept(lab, group, ahead, timestamp)
}

fn accept(
    lab: &Lab<'_>,
    mut group: Group,
    ahead: u32,
    timestamp: fn(Sequence) -> Option<u32>,
) -> Step<Made> {
    let start = now_ns();
    group.forge_accepted(lab, |at| syn(at, timestamp(at), ahead))?;
    reopened(lab, group, start, ahead)
}

/// The SYN, whose sequence number was `ahead`, has replaced the mini-socket. A RST removes the
/// request before its SYN-ACK is retransmitted.
fn reopened(lab: &Lab<'_>, group: Group, start: u64, ahead: u32) -> Step<Made> {
    group.await_gone(lab)?;
    let ended = Window::since(start);
    group.forge(lab, |at| {
        rst(after_fin(at).wrapping_add(ahead).wrapping_add(1))
    })?;
    Ok(group.ended(Reason::SynReopened, ended))
}
