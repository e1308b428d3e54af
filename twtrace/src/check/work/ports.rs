//! Calls that get no port, and others that still get one.
//!
//! The range has an even number of ports: `__inet_hash_connect` ignores the last one of an odd
//! number. connect() itself takes them all, because it passes over ports that bind() took.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::Group;
use crate::check::lab::sockets::{Pair, reset, tcp_socket};
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Made, Window, now_ns};
use crate::event::Reason;

/// First port of the range; listeners are outside.
const FIRST: usize = 20_000;
/// The port of other listeners, which no connection takes.
const ELSEWHERE: u16 = 30_011;
/// Long enough for every kernel to let a TIME_WAIT be taken over: the clock's second has changed,
/// and tcp_tw_reuse_delay has passed.
const REUSABLE: Duration = Duration::from_millis(2_100);

/// TIME_WAIT alone holds every port for one destination; another destination is not affected.
pub(in super::super) fn exhausted(lab: &Lab<'_>) -> Step<Made> {
    let ports = range(lab)?;
    let last_free = ports - 1;
    let group = Group::time_wait(lab, connect(lab, last_free)?)?;
    // This call passes over candidates held by TIME_WAIT and still finds a port.
    let last = Group::time_wait(lab, connect(lab, 1)?)?;
    held(lab, ports)?;
    for _ in 0..lab.count {
        refused_connect(lab, ports)?;
    }
    refused_bind(lab, lab.address(0))?;
    works_elsewhere(lab)?;
    refused_connect(lab, ports)?;
    Ok(group.left().and(last.left()))
}

/// Live connections hold half of the ports; those do not count as held by TIME_WAIT.
pub(in super::super) fn exhausted_by_both(lab: &Lab<'_>) -> Step<Made> {
    let ports = range(lab)?;
    let group = Group::time_wait(lab, connect(lab, lab.count)?)?;
    let living = connect(lab, ports - lab.count)?;
    held(lab, lab.count)?;
    for _ in 0..lab.count {
        refused_connect(lab, lab.count)?;
    }
    works_elsewhere(lab)?;
    all_aborted(living)?;
    Ok(group.left())
}

/// With tcp_tw_reuse the same range is enough.
pub(in super::super) fn reused(lab: &Lab<'_>) -> Step<Made> {
    let ports = range(lab)?;
    lab.sysctl("tcp_tw_reuse", 1)?;
    let group = Group::time_wait(lab, connect(lab, ports)?)?;
    thread::sleep(REUSABLE);
    let start = now_ns();
    let again = connect(lab, ports)?;
    group.await_gone(lab)?;
    let ended = Window::since(start);
    all_aborted(again)?;
    Ok(group.ended(Reason::ConnectReused, ended))
}

/// bind() without SO_REUSEADDR, as by a restarted server: first TIME_WAIT sockets hold the port,
/// then another listener does.
pub(in super::super) fn bind(lab: &Lab<'_>) -> Step<Made> {
    let local = lab.address(ELSEWHERE);
    let listener = listen(local)?;
    let pairs = (0..lab.count).map(|_| lab.connect_to(&listener).map(Pair::swapped));
    let group = Group::time_wait(lab, pairs.collect::<Step<_>>()?)?;
    drop(listener);
    for _ in 0..lab.count {
        refused_bind(lab, local)?;
    }
    for _ in 0..lab.count {
        refused_bind(lab, lab.listening()?)?;
    }
    Ok(group.left())
}

/// A bound socket has only one port to try. What holds its 4-tuple is a TIME_WAIT, which cannot be
/// taken over without timestamps, or a live connection.
pub(in super::super) fn taken(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_timestamps", 0)?;
    let bound = || {
        lab.calls
            .bind(lab.address(0), true)
            .attempt("bind a socket")
    };
    let pair = || lab.connect_bound(bound()?);
    let closed = (0..lab.count).map(|_| pair()).collect::<Step<_>>()?;
    let group = Group::time_wait(lab, closed)?;
    let living = (0..lab.count).map(|_| pair()).collect::<Step<Vec<_>>>()?;
    for mini in &group.all {
        refused_bound_connect(lab, mini.local, 1)?;
    }
    for pair in &living {
        let local = pair.active.local_addr().attempt("ask for an address")?;
        refused_bound_connect(lab, local, 0)?;
    }
    all_aborted(living)?;
    Ok(group.left())
}

/// Leaves two ports per connection of the scenario, and turns tcp_tw_reuse off.
fn range(lab: &Lab<'_>) -> Step<usize> {
    let ports = 2 * lab.count;
    let last = FIRST + ports - 1;
    lab.sysctl("ip_local_port_range", format_args!("{FIRST} {last}"))?;
    lab.sysctl("tcp_tw_reuse", 0)?;
    Ok(ports)
}

fn connect(lab: &Lab<'_>, count: usize) -> Step<Vec<Pair>> {
    (0..count).map(|_| lab.connect()).collect()
}

/// Waits until the socket table shows this many mini-sockets.
fn held(lab: &Lab<'_>, ports: usize) -> Step<()> {
    lab.await_table(&format!("{ports} mini-sockets"), |table| {
        table.mini_sockets.len() == ports
    })
}

fn refused_connect(lab: &Lab<'_>, time_wait: usize) -> Step<()> {
    let remote = lab.listening()?;
    let socket = tcp_socket(remote).attempt("make a socket")?;
    let time_wait = u32::try_from(time_wait).ok();
    let connected = lab.calls.connect(socket, lab.address(0), remote, time_wait);
    refused("connect()", connected, libc::EADDRNOTAVAIL)
}

fn refused_bound_connect(lab: &Lab<'_>, local: SocketAddr, time_wait: u32) -> Step<()> {
    let remote = lab.listening()?;
    let socket = lab.calls.bind(local, true).attempt("bind a socket")?;
    let connected = lab.calls.connect(socket, local, remote, Some(time_wait));
    refused("connect()", connected, libc::EADDRNOTAVAIL)
}

fn refused_bind(lab: &Lab<'_>, local: SocketAddr) -> Step<()> {
    refused("bind()", lab.calls.bind(local, false), libc::EADDRINUSE)
}

/// Checks that the call failed with this errno.
fn refused<T>(call: &str, result: io::Result<T>, errno: i32) -> Step<()> {
    match result {
        Ok(_) => Err(Stop::Fail(format!("{call} got a port that is taken"))),
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        Err(error) => Err(Stop::Fail(format!("{call} said something else: {error}"))),
    }
}

/// The same number of connections to another port succeed.
fn works_elsewhere(lab: &Lab<'_>) -> Step<()> {
    let listener = listen(lab.address(ELSEWHERE))?;
    let pairs = (0..lab.count).map(|_| lab.connect_to(&listener));
    all_aborted(pairs.collect::<Step<_>>()?)
}

fn listen(local: SocketAddr) -> Step<TcpListener> {
    TcpListener::bind(local).attempt(&format!("listen on {local}"))
}

fn all_aborted(pairs: Vec<Pair>) -> Step<()> {
    let mut pairs = pairs.into_iter();
    pairs.try_for_each(|pair| reset(pair.active).attempt("reset a connection"))
}
