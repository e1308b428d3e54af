//! Segments that FIN_WAIT2 answers with a RST, and that end it. Just before, on the same CPU, other
//! mini-sockets refuse SYNs with entirely different numbers, which must not appear in the report of
//! these segments.

use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How};
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::Sequence;
use crate::check::lab::step::{Attempt, Step};
use crate::check::life::{Made, now_ns};
use crate::check::work::forged::{OLDEST, answer_all, in_fin_wait_2, older, syn};
use crate::check::work::resets::fin_wait_2_ended;
use crate::event::Rule;

/// Longer than a tick, so that a restarted timer has a different expiry time.
const APART: Duration = Duration::from_millis(30);
/// In the window, after a hole.
const HOLE: u32 = 1_000;
/// Values that no SYN here has.
const WINDOW: u16 = 1_031;
const TTL: u8 = 51;

/// Makes a segment that begins this far after what FIN_WAIT2 expects.
type Make = fn(Sequence, u32) -> Segment<'static>;

/// Data for a socket that is closed.
pub(in super::super) fn data(lab: &Lab<'_>) -> Step<Made> {
    answered_by_rst(lab, [0, HOLE], late)
}

/// The last bytes and the FIN in one segment, as sent with MSG_MORE, TCP_CORK or Nagle's algorithm.
pub(in super::super) fn data_and_fin(lab: &Lab<'_>) -> Step<Made> {
    answered_by_rst(lab, [0, HOLE], last)
}

/// A FIN that has overtaken the last bytes.
pub(in super::super) fn fin_ahead(lab: &Lab<'_>) -> Step<Made> {
    answered_by_rst(lab, [1, HOLE], |at, ahead| Segment {
        data: &[],
        ..last(at, ahead)
    })
}

/// A new SYN from a peer that has forgotten this connection.
pub(in super::super) fn syn_in_window(lab: &Lab<'_>) -> Step<Made> {
    answered_by_rst(lab, [0, 1], |at, ahead| {
        in_fin_wait_2(syn(at, at.clock, ahead))
    })
}

/// Each segment goes to mini-sockets of its own, once with a timestamp and once without.
fn answered_by_rst(lab: &Lab<'_>, ahead: [u32; 2], make: Make) -> Step<Made> {
    stay_on_this_cpu()?;
    answer_all(lab)?;
    let mut elsewhere = elsewhere(lab)?;
    let mut made = Made::default();
    for ahead in ahead {
        let with = |at| make(at, ahead);
        let without = |at| Segment {
            timestamp: None,
            ..make(at, ahead)
        };
        made = made.and(ended_by(lab, &mut elsewhere, with)?);
        made = made.and(ended_by(lab, &mut elsewhere, without)?);
    }
    Ok(made.and(elsewhere.left()))
}

fn ended_by(
    lab: &Lab<'_>,
    elsewhere: &mut Group,
    make: impl Fn(Sequence) -> Segment<'static>,
) -> Step<Made> {
    let mut group = Group::deaf_fin_wait_2(lab, lab.connect_all()?)?;
    thread::sleep(APART);
    elsewhere.forge_refused(lab, How::answered(Rule::Paws).rearming(), |at| {
        syn(at, older(at, OLDEST), 70_000)
    })?;
    let start = now_ns();
    group.forge_refused(lab, How::reset(Rule::Unexpected), make)?;
    fin_wait_2_ended(lab, group, start)
}

/// Mini-sockets in TIME_WAIT, on another listener and with other clocks.
fn elsewhere(lab: &Lab<'_>) -> Step<Group> {
    let listener = lab.listen()?;
    let pairs = (0..lab.count).map(|_| lab.connect_to(&listener));
    Group::deaf_time_wait_far_ahead(lab, pairs.collect::<Step<_>>()?)
}

/// Loopback packets are received on the CPU that sent them.
fn stay_on_this_cpu() -> Step<()> {
    let stay = || {
        let mut here = CpuSet::new();
        here.set(sched_getcpu()?)?;
        sched_setaffinity(Pid::from_raw(0), &here)
    };
    stay().map_err(Into::into).attempt("stay on a CPU")
}

fn late(at: Sequence, ahead: u32) -> Segment<'static> {
    Segment {
        sequence: at.peer.wrapping_add(ahead),
        acknowledgement: Some(at.own),
        data: b"late",
        timestamp: at.clock.map(|clock| clock.wrapping_add(5)),
        window: WINDOW,
        ttl: TTL,
        ..Segment::default()
    }
}

fn last(at: Sequence, ahead: u32) -> Segment<'static> {
    Segment {
        fin: true,
        ..late(at, ahead)
    }
}
