//! connect() has only one local port to choose: it takes over the TIME_WAIT there, or must not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::Group;
use crate::check::lab::sockets::{Pair, sequence, tcp_socket};
use crate::check::lab::step::{Attempt, PATIENCE, Step, Stop};
use crate::check::life::{Made, TICK, now_ns};
use crate::check::net::add_own_address;
use crate::check::work::takeover::{finish, must_be_taken};
use crate::event::{Family, Reason};
use crate::kernel::sock_diag::Substate;

const DELAY: &str = "tcp_tw_reuse_delay";
/// On kernels without tcp_tw_reuse_delay, the clock's second has changed after this.
const NEXT_SECOND: Duration = Duration::from_millis(1_050);
/// The delay that [`delay`] sets, in ms; the default is 1000.
const SHORT: u64 = 200;
/// A port without a listener, and how long a local answer may take.
const CLOSED: u16 = 9;
const ANSWER: Duration = Duration::from_millis(100);
/// How far the new ISN is ahead of the old connection.
const ISN_AHEAD: u32 = 65_537;

/// The port is taken over as soon as tcp_tw_reuse=1 allows it.
pub(in super::super) fn connect_reused(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    taken_over(lab)
}

/// The same with tcp_tw_reuse=2, which applies to loopback only.
pub(in super::super) fn loopback(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 2)?;
    taken_over(lab)
}

/// The same with a shorter tcp_tw_reuse_delay.
pub(in super::super) fn delay(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    set_delay(lab, SHORT)?;
    let start = now_ns();
    let made = taken_over(lab)?;
    let took = Duration::from_nanos(now_ns() - start);
    if took < Duration::from_secs(1) {
        return Ok(made);
    }
    // The machine may just have been slow.
    Err(Stop::Disturbed(format!(
        "all was taken over after {took:?} only"
    )))
}

/// With the longest delay nothing is taken over.
pub(in super::super) fn delay_long(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    set_delay(lab, 60_000)?;
    let field = OnePort::open(lab, lab.address(0).ip())?;
    let group = Group::time_wait(lab, field.connect_all(lab)?)?;
    thread::sleep(NEXT_SECOND);
    field.must_be_full(lab)?;
    Ok(group.left())
}

/// The valid range of the delay.
pub(in super::super) fn delay_range(lab: &Lab<'_>) -> Step<Made> {
    set_delay(lab, 1)?;
    set_delay(lab, 60_000)?;
    for wrong in ["0", "60001"] {
        match lab.try_sysctl(DELAY, wrong) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => return Err(Stop::Fail(format!("{DELAY}={wrong}: {other:?}"))),
        }
    }
    Ok(Made::default())
}

/// The new connection's ISN is ahead of the old connection.
pub(in super::super) fn isn(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    let field = OnePort::open(lab, lab.address(0).ip())?;
    let group = Group::time_wait(lab, field.connect_all(lab)?)?;
    let start = now_ns();
    let again = field.connect_all(lab)?;
    for (mini, pair) in group.all.iter().zip(&again) {
        // `own` is past the SYN and past a FIN yet to come.
        let own = sequence(&pair.passive)
            .attempt("read sequence numbers")?
            .own;
        let ahead = own.wrapping_sub(2).wrapping_sub(mini.sequence.own);
        if ahead != ISN_AHEAD {
            return Err(Stop::Fail(format!("the ISN is {ahead} ahead")));
        }
    }
    finish(lab, group, again, Reason::ConnectReused, start)
}

/// tcp_tw_reuse=2 refuses if neither address is in the loopback network.
pub(in super::super) fn loopback_only(lab: &Lab<'_>) -> Step<Made> {
    let own: IpAddr = match lab.family {
        Family::Ipv6 => Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, 9).into(),
        Family::Ipv4 | Family::Ipv4Mapped => Ipv4Addr::new(10, 9, 9, 9).into(),
    };
    add_own_address(own)?;
    // IPv6 adds the routes with a short delay, and a SYN may get out before its answer can.
    lab.poll("an answer from an address of our own", || {
        let closed = TcpStream::connect_timeout(&(own, CLOSED).into(), ANSWER);
        let error = closed.err().map(|error| error.kind());
        Ok(error == Some(io::ErrorKind::ConnectionRefused))
    })?;
    lab.sysctl("tcp_tw_reuse", 2)?;
    refused(lab, own)
}

/// tcp_tw_reuse=0 refuses.
pub(in super::super) fn off(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 0)?;
    refused(lab, lab.address(0).ip())
}

/// Without timestamps nothing is taken over.
pub(in super::super) fn no_timestamps(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    lab.sysctl("tcp_timestamps", 0)?;
    refused(lab, lab.address(0).ip())
}

/// Kernels differ in whether FIN_WAIT2 is taken over.
pub(in super::super) fn fin_wait_2(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_tw_reuse", 1)?;
    let field = OnePort::open(lab, lab.address(0).ip())?;
    let mut group = Group::fin_wait_2(lab, field.connect_all(lab)?)?;
    group.lose_peers()?;
    outwait_age(lab)?;
    let start = now_ns();
    const WHAT: &str = "FIN_WAIT2 under connect()";
    let Ok(first) = field.try_connect(lab, 0)? else {
        field.must_be_full(lab)?;
        group.await_substate(lab, Substate::FinWait2)?;
        return Ok(group.left().found(WHAT, "kept"));
    };
    let mut again = vec![lab.accept(&field.listeners[0], first)?];
    for listener in &field.listeners[1..] {
        again.push(lab.connect_to(listener)?);
    }
    let made = finish(lab, group, again, Reason::ConnectReused, start)?;
    Ok(made.found(WHAT, "taken over"))
}

fn taken_over(lab: &Lab<'_>) -> Step<Made> {
    let field = OnePort::open(lab, lab.address(0).ip())?;
    let group = Group::time_wait(lab, field.connect_all(lab)?)?.time_wait_lasts(reuse_after(lab));
    let start = now_ns();
    let again = field.connect_all(lab)?;
    finish(lab, group, again, Reason::ConnectReused, start)
}

/// No TIME_WAIT is taken over, though all are old enough.
fn refused(lab: &Lab<'_>, ip: IpAddr) -> Step<Made> {
    let field = OnePort::open(lab, ip)?;
    let group = Group::time_wait(lab, field.connect_all(lab)?)?;
    outwait_age(lab)?;
    field.must_be_full(lab)?;
    group.await_substate(lab, Substate::TimeWait)?;
    Ok(group.left())
}

/// Waits until age cannot be the reason for a refusal.
fn outwait_age(lab: &Lab<'_>) -> Step<()> {
    match lab.try_sysctl(DELAY, "1") {
        Ok(()) => thread::sleep(TICK),
        Err(_) => lab.sleep_until(now_ns() + u64::try_from(NEXT_SECOND.as_nanos()).unwrap_or(0)),
    }
    Ok(())
}

fn set_delay(lab: &Lab<'_>, ms: u64) -> Step<()> {
    if lab.sysctl_value(DELAY).is_none() {
        return Err(Stop::Skip(format!("this kernel has no {DELAY}")));
    }
    lab.sysctl(DELAY, ms)
}

/// Kernels with tcp_tw_reuse_delay wait for it; the others until the clock's second changes.
fn reuse_after(lab: &Lab<'_>) -> Range<Duration> {
    let delay = lab.sysctl_value(DELAY).map(Duration::from_millis);
    delay.unwrap_or_default().saturating_sub(TICK)..PATIENCE
}

/// Listeners, and a single local port to connect to them from.
struct OnePort {
    listeners: Vec<TcpListener>,
}

impl OnePort {
    fn open(lab: &Lab<'_>, ip: IpAddr) -> Step<Self> {
        let listen = |_| TcpListener::bind((ip, 0)).attempt("listen");
        let listeners = (0..lab.count).map(listen).collect::<Step<Vec<_>>>()?;
        // Its listener is closed on return.
        let free = TcpListener::bind((ip, 0)).attempt("find a free port")?;
        let port = free
            .local_addr()
            .attempt("ask for a socket's address")?
            .port();
        lab.sysctl("ip_local_port_range", format!("{port} {port}"))?;
        Ok(Self { listeners })
    }

    fn connect_all(&self, lab: &Lab<'_>) -> Step<Vec<Pair>> {
        let each = self.listeners.iter();
        each.map(|listener| lab.connect_to(listener)).collect()
    }

    /// Tries once; the port may be taken.
    fn try_connect(&self, lab: &Lab<'_>, index: usize) -> Step<io::Result<TcpStream>> {
        let remote = self.listeners[index].local_addr();
        let remote = remote.attempt("ask for a listener's address")?;
        let socket = tcp_socket(remote).attempt("make a socket")?;
        let local = SocketAddr::new(remote.ip(), 0);
        Ok(lab.calls.connect(socket, local, remote, None))
    }

    /// The one port is taken for every listener.
    fn must_be_full(&self, lab: &Lab<'_>) -> Step<()> {
        for index in 0..self.listeners.len() {
            must_be_taken(self.try_connect(lab, index)?)?;
        }
        Ok(())
    }
}
