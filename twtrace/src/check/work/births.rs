//! Ways into TIME_WAIT and FIN_WAIT2, and closes that lead to neither.

use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, acknowledge};
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::{Sequence, set_linger2};
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Made, TICK, now_ns};
use crate::check::work::timers::fin_wait_2_runs_out;

/// How far tcp_fin_timeout exceeds 60 s.
const EXCESS: Duration = Duration::from_secs(1);

/// Both ends close before either has seen the other's FIN.
pub(in super::super) fn closing(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::deaf_born_in_time_wait(
        lab,
        lab.connect_all()?,
        &[
            |at| Segment {
                acknowledgement: Some(at.own.wrapping_sub(1)),
                ..fin(at)
            },
            |at| Segment {
                sequence: at.peer.wrapping_add(1),
                ..acknowledge(at)
            },
        ],
    )?;
    Ok(group.left())
}

/// The peer's FIN acknowledges ours.
pub(in super::super) fn fin_with_ack(lab: &Lab<'_>) -> Step<Made> {
    Ok(Group::deaf_born_in_time_wait(lab, lab.connect_all()?, &[fin])?.left())
}

/// The peer has acknowledged our FIN before we close.
pub(in super::super) fn close_after_shutdown(lab: &Lab<'_>) -> Step<Made> {
    Ok(Group::deaf_shut_down(lab, lab.connect_all()?)?.left())
}

/// TCP_LINGER2 below 0: the ACK of our FIN is answered with a RST.
pub(in super::super) fn linger2_negative(lab: &Lab<'_>) -> Step<Made> {
    let mut peers = Vec::new();
    for pair in lab.connect_all()? {
        set_linger2(&pair.active, -1).attempt("set TCP_LINGER2")?;
        peers.push(pair.passive);
    }
    // The peers are still open: only a RST can have closed them.
    lab.await_table("RSTs, and no mini-socket", |table| {
        table.is_settled() && table.mini_sockets.is_empty()
    })?;
    drop(peers);
    Ok(Made::default())
}

/// 60 s are subtracted twice: from the time as a full socket, and from the time as a mini-socket.
pub(in super::super) fn timeout_over_60(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_fin_timeout", 60 + EXCESS.as_secs())?;
    let start = now_ns();
    let made = fin_wait_2_runs_out(lab, lab.connect_all()?, EXCESS)?;
    let took = Duration::from_nanos(now_ns() - start);
    if took < EXCESS * 2 - TICK * 2 {
        return Err(Stop::Fail(format!("full and mini-socket took {took:?}")));
    }
    Ok(made)
}

fn fin(at: Sequence) -> Segment<'static> {
    Segment {
        fin: true,
        ..acknowledge(at)
    }
}
