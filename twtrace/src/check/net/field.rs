//! A server, and clients that come to it through a NAT or not.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use socket2::SockRef;

use super::nat::{Mapping, Nat};
use super::{End, default_route, join};
use crate::check::lab::socket_table::SocketTable;
use crate::check::lab::sockets::bound;
use crate::error::{Error, Result};
use crate::kernel::netns::Netns;

sockopt_impl!(
    /// What this socket would say as its TSval now.
    Timestamp,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_TIMESTAMP,
    u32
);

/// Where the server listens.
const SERVER_PORT: u16 = 443;
/// The one port that the NAT gives to all, and the first that the clients use.
const OUTER_PORT: u16 = 4_000;
/// The ports that come back where there are more of them.
const RANGE: RangeInclusive<u16> = 20_000..=20_100;
const BACKLOG: i32 = 128;
/// For a SYN that was refused, and those after it, to find a free port.
const PATIENT: Duration = Duration::from_secs(8);
/// Between two looks at what has not ended yet.
const LOOK: Duration = Duration::from_millis(10);

/// How clients reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One client on the server's own wire, with few ports.
    Direct,
    /// Two clients behind a NAT that has one address and one port for both.
    OnePort,
    /// One client behind a NAT that gives it few ports at random: `MASQUERADE --random-fully`.
    RandomPorts,
}

/// Clients that came at once.
#[derive(Clone, Debug)]
pub struct Round {
    /// How long connect() took, of those that came through.
    pub delays: Vec<Duration>,
    /// Until the last had gone or given up.
    pub took: Duration,
}

/// The server is in the namespace of the thread that made it.
#[derive(Debug)]
pub struct Field {
    pub listener: TcpListener,
    clients: Vec<Netns>,
    nat: Option<Nat>,
    ipv6: bool,
}

impl Field {
    /// Makes it all; `make` gives new namespaces.
    pub fn new<E: From<Error>>(
        way: Way,
        ipv6: bool,
        mut make: impl FnMut() -> std::result::Result<Netns, E>,
    ) -> std::result::Result<Self, E> {
        let at = |network, host| address(ipv6, network, host);
        let server = Netns::current()?;
        let outside = make()?;
        let inner = end(&outside, "outside", at(0, 1));
        join(inner, end(&server, "field", at(0, 2)))?;
        let (clients, nat) = if way == Way::Direct {
            let range = format!("{} {}", RANGE.start(), RANGE.end());
            set_in(&outside, "ip_local_port_range", &range)?;
            (vec![outside], None)
        } else {
            let mut clients = Vec::new();
            for number in 1..=if way == Way::OnePort { 2 } else { 1 } {
                let client = make()?;
                let (device, gateway) = (format!("inside{number}"), at(number, 1));
                let near = end(&client, "eth0", at(number, 2));
                join(near, end(&outside, &device, gateway))?;
                default_route(&client, gateway)?;
                clients.push(client);
            }
            let mapping = match way {
                Way::RandomPorts => Mapping::Random(RANGE),
                _ => Mapping::One(SocketAddr::new(at(0, 1), OUTER_PORT)),
            };
            (clients, Some(Nat::start(outside, "outside", &mapping)?))
        };
        Ok(Self {
            listener: listen(at(0, 2))?,
            clients,
            nat,
            ipv6,
        })
    }

    /// The NAT gives its ports away again. What is still under way is lost.
    pub fn forget(&self) -> Result<()> {
        self.nat.as_ref().map_or(Ok(()), Nat::forget)
    }

    /// Sets a sysctl of net.ipv4 for a client.
    pub fn set(&self, client: usize, name: &str, value: &str) -> Result<()> {
        set_in(&self.clients[client], name, value)
    }

    /// Connects a client to the server, from the same port each time.
    pub fn connect(&self, client: usize, limit: Duration) -> Result<io::Result<TcpStream>> {
        let server = self.server()?;
        let local = SocketAddr::new(unspecified(self.ipv6), OUTER_PORT);
        self.clients[client].run(|| {
            let socket = bound(local)?;
            socket.connect_timeout(&server.into(), limit)?;
            Ok(socket.into())
        })
    }

    /// The clients of [`Way::OnePort`], the one whose clock is ahead first. Nothing is left of the
    /// connections that tell.
    pub fn by_clock(&self) -> Result<[usize; 2]> {
        let clocks = [self.clock_of(0)?, self.clock_of(1)?];
        let ahead = clocks[1].wrapping_sub(clocks[0]).cast_signed() > 0;
        Ok(if ahead { [1, 0] } else { [0, 1] })
    }

    /// What the clock of a client says on the connection that [`Self::connect`] makes.
    fn clock_of(&self, client: usize) -> Result<u32> {
        let stream = self.connect(client, PATIENT)?;
        let read = || -> io::Result<u32> {
            let stream = stream?;
            let (mut accepted, _) = self.listener.accept()?;
            let clock = clock(&stream)?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            drop(stream);
            // Its RST has come.
            let _ = accepted.read(&mut [0]);
            Ok(clock)
        };
        let clock = read()
            .map_err(|error| Error::new(format!("cannot read the clock of a client: {error}")))?;
        self.forget()?;
        Ok(clock)
    }

    /// The first client connects so often at once, and the server closes each connection first. All
    /// that they sent has arrived when this is over.
    pub fn round(&self, at_once: usize) -> Result<Round> {
        let server = self.server()?;
        // The round before has ended it.
        SockRef::from(&self.listener)
            .listen(BACKLOG)
            .map_err(|error| Error::new(format!("cannot listen again: {error}")))?;
        let came = thread::scope(|scope| {
            scope.spawn(|| while self.listener.accept().is_ok() {});
            let came = self.clients[0].run(|| visitors(server, at_once));
            // Ends the server.
            let ended = SockRef::from(&self.listener).shutdown(Shutdown::Both);
            ended.map_err(|error| Error::new(format!("cannot end a listener: {error}")))?;
            came
        })?;
        self.clients[0].run(await_silence)??;
        Ok(came)
    }

    fn server(&self) -> Result<SocketAddr> {
        let address = self.listener.local_addr();
        address.map_err(|error| Error::new(format!("cannot ask for an address: {error}")))
    }
}

/// What a socket would say as its TSval now.
pub fn clock(socket: &impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(socket, Timestamp)?)
}

/// So many at once, each in a thread of its own.
fn visitors(server: SocketAddr, at_once: usize) -> Round {
    let start = Instant::now();
    let delays = thread::scope(|scope| {
        let visitors: Vec<_> = (0..at_once)
            .map(|_| scope.spawn(|| visit(server)))
            .collect();
        let came = visitors.into_iter().map(thread::ScopedJoinHandle::join);
        came.filter_map(|came| came.ok()?.ok()).collect()
    });
    Round {
        delays,
        took: start.elapsed(),
    }
}

/// Waits until all connections of the calling thread's namespace are over, the last ACK included: a
/// NAT that forgets too early loses a FIN.
fn await_silence() -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < PATIENT {
        let table = SocketTable::read();
        let table =
            table.map_err(|error| Error::new(format!("cannot read the socket table: {error}")))?;
        if table.is_settled() {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    Err(Error::new("the clients' connections do not end"))
}

/// Connects, and stays until the server hangs up: how long it took to connect.
fn visit(server: SocketAddr) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&server, PATIENT)?;
    let took = start.elapsed();
    stream.set_read_timeout(Some(PATIENT))?;
    match stream.read(&mut [0])? {
        0 => Ok(took),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn set_in(netns: &Netns, name: &str, value: &str) -> Result<()> {
    let set = netns.run(|| fs::write(format!("/proc/sys/net/ipv4/{name}"), value))?;
    set.map_err(|error| Error::new(format!("cannot set {name} to {value}: {error}")))
}

fn listen(address: IpAddr) -> Result<TcpListener> {
    TcpListener::bind((address, SERVER_PORT))
        .map_err(|error| Error::new(format!("cannot listen on {address}: {error}")))
}

fn end<'a>(netns: &'a Netns, device: &'a str, address: IpAddr) -> End<'a> {
    End {
        netns,
        device,
        address,
    }
}

/// A host of a network; 0 is the server's.
fn address(ipv6: bool, network: u8, host: u8) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0xfd00, 0, 0, network.into(), 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, 0, network, host).into()
    }
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}
