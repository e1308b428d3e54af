//! The workload: each part makes a prime number of connections in a namespace of its own and
//! brings their mini-sockets to one kind of end.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::TcpHeader;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use twtrace::check::net::field::{Field, Way};

use crate::namespace::{Namespace, mini_sockets, sysctl};
use crate::nat;
use crate::say;

const SERVER_PORT: u16 = 80;
/// The only local port in part `reuse`, where connect() has to take over a TIME_WAIT.
const CLIENT_PORT: u16 = 50_000;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// tcp_max_tw_buckets in part `overflow`.
const ROOM: u16 = 2;
/// Between the birth of mini-sockets and what ends them.
const PAUSE: Duration = Duration::from_millis(800);
/// Between one end and the next, so that they differ.
const STEP: Duration = Duration::from_millis(130);
/// Between two checks of what has not ended yet, and between two lines about it.
const LOOK: Duration = Duration::from_millis(200);
const REMIND: Duration = Duration::from_secs(10);
/// Limits for a local port to become free, and for all timers to expire.
const RETRY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// Sockets that stay open until the demo is over.
type Kept = Vec<TcpStream>;

pub(super) struct Part {
    /// Also the name of its namespace.
    pub(super) name: &'static str,
    what: &'static str,
    connections: u16,
    make: fn(u16) -> Result<Kept>,
    /// How their mini-sockets end; connections beyond [`ROOM`] get none.
    ends: &'static str,
}

/// The slowest come first.
pub(super) const PARTS: &[Part] = &[
    Part {
        name: "expiry",
        what: "clients hang up first and wait, as TCP wants it: 60 s from now",
        connections: 11,
        make: expire,
        ends: "expired",
    },
    Part {
        name: "half-close",
        what: "servers never close their side; tcp_fin_timeout is 2 s",
        connections: 3,
        make: half_close,
        ends: "fin-wait-2-timeout",
    },
    Part {
        name: "overflow",
        what: "clients hang up where tcp_max_tw_buckets leaves room for 2",
        connections: 7,
        make: overflow,
        ends: "expired",
    },
    Part {
        name: "reset",
        what: "old segments make TIME_WAIT answer, and the peer resets (RFC 1337)",
        connections: 7,
        make: reset,
        ends: "reset",
    },
    Part {
        name: "nat",
        what: "clients hang up, and others come from the same port of the same NAT, their clocks behind",
        connections: 3,
        make: behind_nat,
        ends: "reset",
    },
    Part {
        name: "reopen",
        what: "clients come back from the same port with a new SYN",
        connections: 5,
        make: reopen,
        ends: "syn-reopened",
    },
    Part {
        name: "bound",
        what: "clients bind the port they had before and connect again",
        connections: 5,
        make: reuse_bound,
        ends: "bound-reused",
    },
    Part {
        name: "reuse",
        what: "clients find the only local port in TIME_WAIT; tcp_tw_reuse is 1",
        connections: 3,
        make: reuse,
        ends: "connect-reused",
    },
    Part {
        name: "exit",
        what: "connections lose their namespace, as when a container stops",
        connections: 5,
        make: expire,
        ends: "netns-exit",
    },
];
/// The part whose namespace is removed before the end.
const LEAVING: &str = "exit";

/// How many mini-sockets must end for this reason.
pub(super) fn ends(reason: &str) -> u64 {
    let parts = PARTS.iter().filter(|part| part.ends == reason);
    parts
        .map(|part| u64::from(part.connections - part.refused()))
        .sum()
}

/// How many connections must get no mini-socket.
pub(super) fn overflows() -> u64 {
    PARTS.iter().map(|part| u64::from(part.refused())).sum()
}

/// Connections that the parts make and close; connections that take over from them do not count.
pub(super) fn connections() -> u64 {
    PARTS.iter().map(|part| u64::from(part.connections)).sum()
}

/// How many SYNs must be refused.
pub(super) fn syns_refused() -> u64 {
    let nat = PARTS.iter().filter(|part| part.name == "nat");
    nat.map(|part| u64::from(part.connections)).sum()
}

impl Part {
    fn refused(&self) -> u16 {
        match self.name {
            "overflow" => self.connections - ROOM,
            _ => 0,
        }
    }
}

/// Runs all parts and waits until the last mini-socket has ended.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    let mut kept = Vec::new();
    for part in PARTS {
        let Part {
            name,
            what,
            connections,
            ..
        } = part;
        say(&format!("· {name}: {connections} {what}"));
        let namespace = Namespace::of_name(name);
        let made = namespace.run(|| (part.make)(*connections));
        kept.extend(made.with_context(|| format!("part {name} of the demo"))?);
        if *name == LEAVING {
            thread::sleep(PAUSE);
            namespace.end()?;
        }
        thread::sleep(PAUSE);
    }
    await_ends(started)
}

fn await_ends(started: Instant) -> Result<()> {
    let mut reminded = Instant::now();
    loop {
        let alive = alive()?;
        if alive == 0 {
            return Ok(());
        }
        if reminded.elapsed() >= REMIND {
            reminded = Instant::now();
            let seconds = started.elapsed().as_secs();
            say(&format!(
                "· {alive} still wait, {seconds} s after the start"
            ));
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{alive} mini-sockets do not end"
        );
        thread::sleep(LOOK);
    }
}

fn alive() -> Result<u64> {
    let staying = PARTS.iter().filter(|part| part.name != LEAVING);
    let counts = staying.map(|part| Namespace::of_name(part.name).run(mini_sockets));
    counts.sum()
}

fn expire(connections: u16) -> Result<Kept> {
    for pair in pairs(V4, connections)? {
        close(pair.client, pair.server)?;
    }
    Ok(Kept::new())
}

fn half_close(connections: u16) -> Result<Kept> {
    sysctl("tcp_fin_timeout", "2")?;
    let pairs = pairs(V4, connections)?.into_iter();
    Ok(pairs.map(|Pair { server, .. }| server).collect())
}

fn overflow(connections: u16) -> Result<Kept> {
    sysctl("tcp_max_tw_buckets", &ROOM.to_string())?;
    expire(connections)
}

fn reset(connections: u16) -> Result<Kept> {
    let mut closed = Vec::new();
    for pair in pairs(V6, connections)? {
        closed.push((pair.server.local_addr()?, pair.client.local_addr()?));
        close(pair.client, pair.server)?;
    }
    thread::sleep(PAUSE);
    for (server, client) in closed {
        send_old_segment(server, client)?;
        thread::sleep(STEP);
    }
    Ok(Kept::new())
}

/// Each time, the first client's connection leaves a TIME_WAIT whose ts_recent is ahead of the
/// second client's SYN. The second client's connection leaves nothing.
fn behind_nat(connections: u16) -> Result<Kept> {
    let field = nat::field(Way::OnePort)?;
    let [first, second] = field.by_clock().map_err(nat::plain)?;
    for _ in 0..connections {
        let pair = through(&field, first)?;
        close(pair.server, pair.client)?;
        thread::sleep(PAUSE);
        field.forget().map_err(nat::plain)?;
        hang_up(through(&field, second)?)?;
        field.forget().map_err(nat::plain)?;
        thread::sleep(STEP);
    }
    Ok(Kept::new())
}

fn through(field: &Field, client: usize) -> Result<Pair> {
    let client = field.connect(client, RETRY).map_err(nat::plain)?;
    accept(
        &field.listener,
        client.context("cannot connect through the NAT")?,
    )
}

fn reopen(connections: u16) -> Result<Kept> {
    let listener = listen(V4, SERVER_PORT)?;
    let mut clients = Vec::new();
    for _ in 0..connections {
        let pair = accept(&listener, TcpStream::connect(listener.local_addr()?)?)?;
        clients.push(pair.client.local_addr()?);
        close(pair.server, pair.client)?;
    }
    thread::sleep(PAUSE);
    again(&listener, clients)
}

fn reuse_bound(connections: u16) -> Result<Kept> {
    let listener = listen(V4, SERVER_PORT)?;
    let mut clients = Vec::new();
    for _ in 0..connections {
        let client = connect_from(SocketAddr::new(V4, 0), &listener)?;
        clients.push(client.local_addr()?);
        let pair = accept(&listener, client)?;
        close(pair.client, pair.server)?;
    }
    thread::sleep(PAUSE);
    again(&listener, clients)
}

fn reuse(connections: u16) -> Result<Kept> {
    sysctl("tcp_tw_reuse", "1")?;
    sysctl(
        "ip_local_port_range",
        &format!("{CLIENT_PORT} {CLIENT_PORT}"),
    )?;
    let ports = SERVER_PORT..SERVER_PORT + connections;
    let listeners: Vec<_> = ports.map(|port| listen(V4, port)).collect::<Result<_>>()?;
    for listener in &listeners {
        let pair = accept(listener, TcpStream::connect(listener.local_addr()?)?)?;
        close(pair.client, pair.server)?;
    }
    for listener in &listeners {
        let address = listener.local_addr()?;
        let client = once_free(|| TcpStream::connect(address))?;
        hang_up(accept(listener, client)?)?;
        thread::sleep(STEP);
    }
    Ok(Kept::new())
}

/// One connection.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

fn pairs(address: IpAddr, connections: u16) -> Result<Vec<Pair>> {
    let listener = listen(address, SERVER_PORT)?;
    let connect = |_| accept(&listener, TcpStream::connect(listener.local_addr()?)?);
    (0..connections).map(connect).collect()
}

fn listen(address: IpAddr, port: u16) -> Result<TcpListener> {
    TcpListener::bind((address, port)).with_context(|| format!("cannot listen on {address}"))
}

fn accept(listener: &TcpListener, client: TcpStream) -> Result<Pair> {
    let (server, _) = listener.accept()?;
    Ok(Pair { client, server })
}

/// The first to close gets the mini-socket.
fn close(first: TcpStream, mut second: TcpStream) -> Result<()> {
    drop(first);
    ensure!(second.read(&mut [0])? == 0, "data came where none was sent");
    Ok(())
}

/// Connects from each of these addresses once more.
fn again(listener: &TcpListener, clients: Vec<SocketAddr>) -> Result<Kept> {
    for client in clients {
        let client = once_free(|| connect_from(client, listener))?;
        hang_up(accept(listener, client)?)?;
        thread::sleep(STEP);
    }
    Ok(Kept::new())
}

fn connect_from(client: SocketAddr, listener: &TcpListener) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(client), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&client.into())?;
    socket.connect(&listener.local_addr()?.into())?;
    Ok(socket.into())
}

/// Ends a connection with a RST, so that nothing is left of it.
fn hang_up(pair: Pair) -> Result<()> {
    SockRef::from(&pair.client).set_linger(Some(Duration::ZERO))?;
    drop(pair.client);
    Ok(())
}

/// Retries until the local address is free.
fn once_free(mut connect: impl FnMut() -> io::Result<TcpStream>) -> Result<TcpStream> {
    let started = Instant::now();
    loop {
        match connect() {
            Ok(stream) => return Ok(stream),
            Err(error) if !taken(&error) => return Err(error.into()),
            Err(error) if started.elapsed() > RETRY => bail!("no port became free: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable};
    matches!(error.kind(), AddrInUse | AddrNotAvailable)
}

/// An old ACK. TIME_WAIT answers it, and the peer, which has forgotten the connection, answers with
/// a RST that has exactly the sequence number that TIME_WAIT expects.
fn send_old_segment(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let (SocketAddr::V6(from), SocketAddr::V6(to)) = (from, to) else {
        bail!("{from} is not an IPv6 address");
    };
    let mut header = TcpHeader::new(from.port(), to.port(), 0, 0);
    header.ack = true;
    header.checksum = header.calc_checksum_ipv6_raw(from.ip().octets(), to.ip().octets(), &[])?;
    let mut bytes = Vec::new();
    header.write(&mut bytes)?;
    let raw = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::TCP))?;
    // A raw IPv6 socket takes no port.
    let to = SocketAddr::new(IpAddr::V6(*to.ip()), 0);
    raw.send_to(&bytes, &to.into())
        .context("cannot send a raw segment")?;
    Ok(())
}
