//! SYNs, data and RSTs that a mini-socket refuses. All are forged, so every number is known; the
//! peers are deaf, so no RST answers the replies.

use std::thread;
use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How, after_fin};
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::Sequence;
use crate::check::lab::step::Step;
use crate::check::life::{Made, Window, now_ns};
use crate::check::work::forged::{OLDEST, answer_all, in_fin_wait_2, older, rst, syn};
use crate::event::{Reason, Rule};

/// Longer than a tick, so that a restarted timer has a different expiry time.
const APART: Duration = Duration::from_millis(30);

/// Older timestamps, with sequence numbers on both sides of the expected one.
pub(in super::super) fn paws(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    for (behind, ahead) in [(1, 1), (1_000, 70_000), (OLDEST, u32::MAX)] {
        thread::sleep(APART);
        group.forge_refused(lab, How::answered(Rule::Paws).rearming(), |at| {
            syn(at, older(at, behind), ahead)
        })?;
    }
    Ok(group.left())
}

/// The second and the third in a row get no answer, but all restart the timer.
pub(in super::super) fn rate_limited(lab: &Lab<'_>) -> Step<Made> {
    // Long enough not to pass even on the slowest machine.
    lab.sysctl("tcp_invalid_ratelimit", 30_000)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    let limited = How::rate_limited(Rule::Paws);
    for how in [How::answered(Rule::Paws), limited, limited] {
        thread::sleep(APART);
        group.forge_refused(lab, how.rearming(), |at| syn(at, older(at, 1_000), 1_000))?;
    }
    answer_all(lab)?;
    thread::sleep(APART);
    let answered = How::answered(Rule::Paws).rearming();
    group.forge_refused(lab, answered, |at| syn(at, older(at, 1_000), 1_000))?;
    Ok(group.left())
}

/// An equal timestamp and an old sequence number.
pub(in super::super) fn old_sequence(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    for behind in [0, 1, OLDEST] {
        thread::sleep(APART);
        group.forge_refused(lab, How::answered(Rule::OldSequence), |at| {
            syn(at, at.clock, 0_u32.wrapping_sub(behind))
        })?;
    }
    Ok(group.left())
}

/// Data is refused by its timestamp, as a SYN is.
pub(in super::super) fn data(lab: &Lab<'_>) -> Step<Made> {
    old_data(lab, 1)
}

/// Data is answered every time, whatever tcp_invalid_ratelimit is.
pub(in super::super) fn data_unlimited(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_invalid_ratelimit", 30_000)?;
    old_data(lab, 3)
}

fn old_data(lab: &Lab<'_>, times: usize) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    for _ in 0..times {
        thread::sleep(APART);
        let answered = How::answered(Rule::Paws).rearming();
        group.forge_refused(lab, answered, |at| Segment {
            timestamp: older(at, 1),
            ..byte(at)
        })?;
    }
    Ok(group.left())
}

/// RSTs that end nothing: too old, or off by one.
pub(in super::super) fn resets(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    group.forge_refused(lab, How::ignored(Rule::Paws), |at| Segment {
        timestamp: older(at, 1),
        ..rst(after_fin(at))
    })?;
    for (rule, off) in [(Rule::OldSequence, u32::MAX), (Rule::OutOfWindow, 1)] {
        group.forge_refused(lab, How::ignored(rule), |at| Segment {
            timestamp: at.clock,
            ..rst(after_fin(at).wrapping_add(off))
        })?;
    }
    Ok(group.left())
}

/// A client answers the ACK for its SYN with a RST: TIME_WAIT assassination.
pub(in super::super) fn then_reset(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    thread::sleep(APART);
    let answered = How::answered(Rule::Paws).rearming();
    group.forge_refused(lab, answered, |at| syn(at, older(at, 1_000), 9))?;
    let start = now_ns();
    group.forge(lab, |at| rst(after_fin(at)))?;
    group.await_gone(lab)?;
    Ok(group.ended(Reason::Reset, Window::since(start)))
}

/// Old timestamps and old sequence numbers, then a SYN that FIN_WAIT2 answers with a RST.
pub(in super::super) fn fin_wait_2(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_fin_wait_2(lab, lab.connect_all()?)?;
    group.forge_refused(lab, How::answered(Rule::Paws), |at| {
        in_fin_wait_2(syn(at, older(at, 1), 0))
    })?;
    group.forge_refused(lab, How::answered(Rule::Paws), |at| Segment {
        acknowledgement: Some(at.own),
        syn: false,
        ..in_fin_wait_2(syn(at, older(at, OLDEST), 0))
    })?;
    group.forge_refused(lab, How::answered(Rule::OldSequence), |at| {
        in_fin_wait_2(syn(at, at.clock, 0_u32.wrapping_sub(1_000)))
    })?;
    let start = now_ns();
    group.forge_refused(lab, How::reset(Rule::Unexpected), |at| {
        in_fin_wait_2(syn(at, at.clock, 0))
    })?;
    group.await_gone(lab)?;
    Ok(group.ended(Reason::FinWait2Reset, Window::since(start)))
}

/// A byte after the FIN.
fn byte(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: after_fin(at),
        acknowledgement: Some(at.own),
        data: b"x",
        ..Segment::default()
    }
}
