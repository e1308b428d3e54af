//! Ends by a new connection of the same four-tuple.

use std::net::TcpListener;
use std::ops::Range;
use std::time::Duration;

use crate::cmd::check::lab::{Attempt, Lab, PATIENCE, Step};
use crate::cmd::check::life::{Made, TICK, Window, now_ns};
use crate::cmd::check::mini::Group;
use crate::cmd::check::sockets::{Pair, abort};
use crate::event::Reason;

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

/// A bound socket's connect() takes its own TIME_WAIT over, whatever tcp_tw_reuse says.
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

/// connect() picks the one local port there is, as soon as tcp_tw_reuse allows it.
pub(in super::super) fn connect_reused(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    let listen = |_| TcpListener::bind(lab.address(0)).attempt("listen");
    let listeners = (0..lab.count).map(listen).collect::<Step<Vec<_>>>()?;
    lab.sysctl("ip_local_port_range", only_free_port(lab)?)?;
    let connect = || {
        listeners
            .iter()
            .map(|listener| lab.connect_to(listener))
            .collect()
    };
    let pairs: Step<Vec<Pair>> = connect();
    let group = Group::time_wait(lab, pairs?)?.time_wait_lasts(reuse_after(lab));
    let start = now_ns();
    let again: Step<Vec<Pair>> = connect();
    finish(lab, group, again?, Reason::ConnectReused, start)
}

/// "PORT PORT", of a port that nobody listens on.
fn only_free_port(lab: &Lab<'_>) -> Step<String> {
    let free = TcpListener::bind(lab.address(0)).attempt("find a free port")?;
    let port = free
        .local_addr()
        .attempt("ask for a socket's address")?
        .port();
    Ok(format!("{port} {port}"))
}

/// Kernels with tcp_tw_reuse_delay wait for it; the others until the clock's second changes.
fn reuse_after(lab: &Lab<'_>) -> Range<Duration> {
    let delay = lab
        .sysctl_value("tcp_tw_reuse_delay")
        .map(Duration::from_millis);
    delay.unwrap_or_default().saturating_sub(TICK)..PATIENCE
}

/// The mini-sockets are gone and connections stand in their place.
fn finish(lab: &Lab<'_>, group: Group, again: Vec<Pair>, reason: Reason, start: u64) -> Step<Made> {
    group.await_gone(lab)?;
    let ended = Window::since(start);
    for pair in again {
        abort(pair.active).attempt("abort a connection")?;
    }
    Ok(group.ended(reason, ended))
}
