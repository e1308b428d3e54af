//! What restarts the timer of TIME_WAIT, and what must not. All segments are forged; the peers are
//! deaf, so no RST answers the replies.

use std::thread;
use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How, after_fin};
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::Sequence;
use crate::check::lab::step::Step;
use crate::check::life::{Made, TIME_WAIT_LASTS, now_ns};
use crate::check::work::forged::{answer_all, older, rst, syn};
use crate::event::Rule;

/// Longer than a tick, so that a restarted timer has a different expiry time.
const APART: Duration = Duration::from_millis(100);

/// A retransmitted FIN: the peer did not get our last ACK.
pub(in super::super) fn duplicate(lab: &Lab<'_>) -> Step<Made> {
    refused(lab, Rule::OldSequence, duplicate_fin)
}

/// A byte below the expected sequence number.
pub(in super::super) fn data(lab: &Lab<'_>) -> Step<Made> {
    refused(lab, Rule::OldSequence, old_data)
}

/// An ACK whose sequence number is too high.
pub(in super::super) fn ahead(lab: &Lab<'_>) -> Step<Made> {
    refused(lab, Rule::OutOfWindow, |at| Segment {
        sequence: after_fin(at).wrapping_add(1_000),
        ..bare_ack(at)
    })
}

/// A SYN whose timestamp is behind.
pub(in super::super) fn refused_syn(lab: &Lab<'_>) -> Step<Made> {
    refused(lab, Rule::Paws, |at| syn(at, older(at, 1), 1))
}

/// An ACK with the expected sequence number is not refused.
pub(in super::super) fn ack(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    thread::sleep(APART);
    let before = group.timers(lab)?;
    group.forge(lab, bare_ack)?;
    group.await_restart(lab, &before)?;
    Ok(group.rearmed(1).left())
}

/// A SYN that is old only by its sequence number.
pub(in super::super) fn kept_old_syn(lab: &Lab<'_>) -> Step<Made> {
    kept(lab, How::answered(Rule::OldSequence), |at| {
        syn(at, at.clock, 0)
    })
}

/// A RST off by one.
pub(in super::super) fn kept_reset(lab: &Lab<'_>) -> Step<Made> {
    kept(lab, How::ignored(Rule::OutOfWindow), |at| {
        rst(after_fin(at).wrapping_add(1))
    })
}

fn refused(lab: &Lab<'_>, rule: Rule, make: fn(Sequence) -> Segment<'static>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    thread::sleep(APART);
    let before = group.timers(lab)?;
    group.forge_refused(lab, How::answered(rule).rearming(), make)?;
    group.await_restart(lab, &before)?;
    Ok(group.left())
}

fn kept(lab: &Lab<'_>, how: How, make: fn(Sequence) -> Segment<'static>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    thread::sleep(APART);
    let before = group.timers(lab)?;
    group.forge_refused(lab, how, make)?;
    group.check_kept(lab, &before)?;
    Ok(group.left())
}

/// A duplicate FIN, old data and a bare ACK each restart the 60 s.
pub(in super::super) fn rearm(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    let start = now_ns();
    for refused in [duplicate_fin, old_data] {
        thread::sleep(APART);
        let before = group.timers(lab)?;
        // Answers to data are not rate-limited.
        group.forge_refused(lab, How::answered(Rule::OldSequence).rearming(), refused)?;
        group.await_restart(lab, &before)?;
    }
    thread::sleep(APART);
    let before = group.timers(lab)?;
    group.forge(lab, bare_ack)?;
    group.await_restart(lab, &before)?;
    let more = Duration::from_nanos(now_ns() - start);
    let lasts = TIME_WAIT_LASTS.start + APART * 3..TIME_WAIT_LASTS.end + more;
    let group = group.rearmed(1).time_wait_lasts(lasts);
    group.expire(lab)
}

fn duplicate_fin(at: Sequence) -> Segment<'static> {
    let acknowledgement = Some(at.own);
    Segment {
        sequence: at.peer,
        acknowledgement,
        fin: true,
        ..Segment::default()
    }
}

fn old_data(at: Sequence) -> Segment<'static> {
    let sequence = at.peer.wrapping_sub(1);
    Segment {
        sequence,
        acknowledgement: Some(at.own),
        data: b"x",
        ..Segment::default()
    }
}

fn bare_ack(at: Sequence) -> Segment<'static> {
    let sequence = at.peer.wrapping_add(1);
    Segment {
        sequence,
        acknowledgement: Some(at.own),
        ..Segment::default()
    }
}
