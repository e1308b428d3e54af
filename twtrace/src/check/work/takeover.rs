//! Ends by a new connection on the same 4-tuple, from a port chosen explicitly.

use std::fmt::Debug;
use std::io;

use crate::check::lab::Lab;
use crate::check::lab::mini::Group;
use crate::check::lab::sockets::{Pair, reset};
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Made, Window, now_ns};
use crate::event::Reason;
use crate::kernel::sock_diag::Substate;

/// The client's new SYN is accepted over the server's TIME_WAIT.
pub(in super::super) fn syn_reopened(lab: &Lab<'_>) -> Step<Made> {
    let pairs = lab.connect_all()?.into_iter().map(Pair::swapped).collect();
    let group = Group::time_wait(lab, pairs)?;
    let start = now_ns();
    let again = group
        .all
        .iter()
        .map(|mini| lab.connect_from(mini.remote.port()));
    let again = again.collect::<Step<Vec<_>>>()?;
    finish(lab, group, again, Reason::SynReopened, start)
}

/// A bound socket's connect() takes over its own TIME_WAIT, whatever tcp_tw_reuse is.
pub(in super::super) fn bound_reused(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 0)?;
    let group = Group::time_wait(lab, connect_bound(lab)?)?;
    take_bound_over(lab, group)
}

/// The same over a mini-socket that is still in FIN_WAIT2.
pub(in super::super) fn bound_reused_fin_wait_2(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 0)?;
    let mut group = Group::fin_wait_2(lab, connect_bound(lab)?)?;
    group.lose_peers()?;
    take_bound_over(lab, group)
}

/// Without timestamps even a bound socket has to wait.
pub(in super::super) fn bound_no_timestamps(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_timestamps", 0)?;
    let group = Group::time_wait(lab, connect_bound(lab)?)?;
    let listening = lab.listening()?;
    for mini in &group.all {
        let socket = lab.calls.bind(mini.local, true).attempt("bind a socket")?;
        must_be_taken(lab.calls.connect(socket, mini.local, listening, Some(1)))?;
    }
    group.await_substate(lab, Substate::TimeWait)?;
    Ok(group.left())
}

/// Checks that connect() failed with EADDRNOTAVAIL.
pub(super) fn must_be_taken<T: Debug>(connected: io::Result<T>) -> Step<()> {
    match connected {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
        other => Err(Stop::Fail(format!(
            "connect over a mini-socket was not refused: {other:?}"
        ))),
    }
}

fn connect_bound(lab: &Lab<'_>) -> Step<Vec<Pair>> {
    let bound = || {
        let bound = lab.calls.bind(lab.address(0), true);
        bound.attempt("bind a socket")
    };
    (0..lab.count)
        .map(|_| lab.connect_bound(bound()?))
        .collect()
}

fn take_bound_over(lab: &Lab<'_>, group: Group) -> Step<Made> {
    let start = now_ns();
    let again = group
        .all
        .iter()
        .map(|mini| lab.connect_from(mini.local.port()));
    let again = again.collect::<Step<Vec<_>>>()?;
    finish(lab, group, again, Reason::BoundReused, start)
}

/// Waits until the mini-sockets are gone, and resets the connections that replaced them.
pub(super) fn finish(
    lab: &Lab<'_>,
    group: Group,
    again: Vec<Pair>,
    reason: Reason,
    start: u64,
) -> Step<Made> {
    group.await_gone(lab)?;
    let ended = Window::since(start);
    for pair in again {
        reset(pair.active).attempt("reset a connection")?;
    }
    Ok(group.ended(reason, ended))
}
