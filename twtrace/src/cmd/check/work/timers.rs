//! Ends by the timer, promotion, and what restarts the timer.

use std::thread;
use std::time::Duration;

use crate::cmd::check::lab::{Attempt, Lab, PATIENCE, Step};
use crate::cmd::check::life::{Made, TICK, TIME_WAIT_LASTS, now_ns};
use crate::cmd::check::mini::{Group, How};
use crate::cmd::check::segment::Segment;
use crate::cmd::check::sockets::{Pair, Sequence, set_linger2};
use crate::event::Rule;

/// How long the promotion scenario stays in FIN_WAIT2.
const HELD: Duration = Duration::from_millis(300);
/// Longer than a tick, so that a restarted timer gets another expiry time.
const APART: Duration = Duration::from_millis(100);

/// TIME_WAIT runs out, having begun as FIN_WAIT2.
pub(in super::super) fn expired(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::time_wait(lab, lab.connect_all()?)?.time_wait_lasts(TIME_WAIT_LASTS);
    group.expire(lab)
}

/// TIME_WAIT runs out, having begun as such.
pub(in super::super) fn expired_direct(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::born_in_time_wait(lab, lab.connect_all()?)?.time_wait_lasts(TIME_WAIT_LASTS);
    group.expire(lab)
}

/// tcp_fin_timeout runs out before the peer's FIN comes.
pub(in super::super) fn fin_wait_2_timeout(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_fin_timeout", 1)?;
    fin_wait_2_runs_out(lab, lab.connect_all()?, Duration::from_secs(1))
}

/// TCP_LINGER2 of a socket runs out before the peer's FIN comes.
pub(in super::super) fn linger2_timeout(lab: &Lab<'_>) -> Step<Made> {
    let pairs = lab.connect_all()?;
    for pair in &pairs {
        set_linger2(&pair.active, 3).attempt("set TCP_LINGER2")?;
    }
    fin_wait_2_runs_out(lab, pairs, Duration::from_secs(3))
}

/// The kernel waits for at least 3.5 times the retransmission timeout, which is 0.7 s here and
/// more on a machine under load, so only the lower limit is exact.
fn fin_wait_2_runs_out(lab: &Lab<'_>, pairs: Vec<Pair>, limit: Duration) -> Step<Made> {
    let mut made = Group::short_lived(lab, pairs)?;
    for life in &mut made.lives {
        life.fin_wait_2_lasts = limit - TICK..PATIENCE;
    }
    Ok(made)
}

/// The peer's FIN comes late: two clocks for one life.
pub(in super::super) fn promotion(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::fin_wait_2(lab, lab.connect_all()?)?;
    thread::sleep(HELD);
    group.promote(lab)?;
    let group = group
        .fin_wait_2_lasts(HELD..PATIENCE * 2)
        .time_wait_lasts(Duration::ZERO..PATIENCE);
    Ok(group.left())
}

/// A duplicate FIN, old data and a bare ACK each restart the 60 s.
///
/// The peers are deaf, so nobody answers the answers by a RST.
pub(in super::super) fn rearm(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    let start = now_ns();
    for refused in [duplicate_fin, old_data] {
        thread::sleep(APART);
        let before = group.timers(lab)?;
        // Data is never too much to be answered.
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
