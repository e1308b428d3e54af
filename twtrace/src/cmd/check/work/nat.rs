//! Clients behind a real NAT: their SYNs meet the TIME_WAIT of another, or of themselves with
//! another clock.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::cmd::check::lab::{Attempt, Lab, Step, Stop};
use crate::cmd::check::life::{Crowd, Made, Window, now_ns};
use crate::cmd::check::mini::{Group, How};
use crate::cmd::check::net::nat::{Mapping, Nat};
use crate::cmd::check::net::{End, default_route, join};
use crate::cmd::check::segment::Segment;
use crate::cmd::check::sockets::{abort, bound, clock};
use crate::error::Result;
use crate::event::{Family, Reason, Rule};
use crate::kernel::netns::Netns;

/// The one port that the NAT gives to all, and the one that the clients use.
const OUTER_PORT: u16 = 4_000;
const CLIENT_PORT: u16 = 40_000;
/// Longer than a tick, so that a restarted timer gets another expiry time.
const APART: Duration = Duration::from_millis(30);
/// Less than the first retransmission timeout of a SYN, which is 1 s: the client was quicker.
const QUICK: Duration = Duration::from_millis(900);
/// Time for the SYNs at 0 s, after the first answer, and at 1 s.
const LONG: Duration = Duration::from_millis(2_500);
/// For a SYN that was refused, and those after it, to find a free port.
const PATIENT: Duration = Duration::from_secs(8);

/// A server in the lab's namespace, and clients, each in its own, behind a NAT or not.
struct Field {
    listener: TcpListener,
    clients: Vec<Netns>,
    nat: Option<Nat>,
}

impl Field {
    /// Clients behind a NAT whose outer address is that of [`outer`]. Where this cannot be made,
    /// the scenario is skipped.
    fn behind_nat(lab: &Lab<'_>, clients: u8, mapping: &Mapping) -> Step<Self> {
        let router = lab.another_namespace()?;
        let made = (0..clients).map(|_| lab.another_namespace());
        let clients = made.collect::<Step<Vec<_>>>()?;
        let build = || -> Result<Nat> {
            join(
                end(&router, "outside", outer(lab).ip()),
                end(&Netns::current()?, "eth0", server(lab)),
            )?;
            for (client, number) in clients.iter().zip(1..) {
                let device = format!("inside{number}");
                let gateway = address(lab, number, 1);
                let inner = end(client, "eth0", address(lab, number, 2));
                join(inner, end(&router, &device, gateway))?;
                default_route(client, gateway)?;
            }
            Nat::start(router, "outside", mapping)
        };
        let nat = build().map_err(|error| Stop::Skip(error.message().to_owned()))?;
        Ok(Self {
            listener: listen(lab)?,
            clients,
            nat: Some(nat),
        })
    }

    /// One client on the same wire as the server.
    fn without_nat(lab: &Lab<'_>) -> Step<Self> {
        let client = lab.another_namespace()?;
        let join = || -> Result<()> {
            join(
                end(&client, "eth0", outer(lab).ip()),
                end(&Netns::current()?, "eth0", server(lab)),
            )
        };
        join().map_err(|error| Stop::Skip(error.message().to_owned()))?;
        Ok(Self {
            listener: listen(lab)?,
            clients: vec![client],
            nat: None,
        })
    }

    /// The NAT gives its ports away again.
    fn forget(&self) -> Step<()> {
        Ok(self.nat.as_ref().map_or(Ok(()), Nat::forget)?)
    }

    /// Connects from [`CLIENT_PORT`] of a client.
    fn connect(
        &self,
        lab: &Lab<'_>,
        client: usize,
        limit: Duration,
    ) -> Step<io::Result<TcpStream>> {
        let server = self.listener.local_addr().attempt("ask for an address")?;
        let local = SocketAddr::new(unspecified(lab), CLIENT_PORT);
        Ok(self.clients[client].run(|| {
            let socket = bound(local)?;
            socket.connect_timeout(&server.into(), limit)?;
            Ok(socket.into())
        })?)
    }

    /// What the clock of a client says on this connection. Nothing is left of it.
    fn clock_of(&self, lab: &Lab<'_>, client: usize) -> Step<u32> {
        let stream = self.connect(lab, client, PATIENT)?;
        let stream = stream.attempt("connect through the NAT")?;
        let (mut accepted, _) = self.listener.accept().attempt("accept a connection")?;
        let clock = clock(&stream).attempt("read a client's clock")?;
        abort(stream).attempt("abort a connection")?;
        // Its RST has come.
        let _ = accepted.read(&mut [0]);
        self.forget()?;
        Ok(clock)
    }
}

/// The second client's clock is behind: its SYN is refused, its RST for the answer ends TIME_WAIT,
/// and its next SYN opens.
pub(in super::super) fn recovered(lab: &Lab<'_>) -> Step<Made> {
    let (field, mut group, second) = first_come(lab)?;
    let start = now_ns();
    let stream = field.connect(lab, second, PATIENT)?;
    let took = Duration::from_nanos(now_ns() - start);
    let stream = stream.attempt("connect over the TIME_WAIT of another")?;
    group.await_gone(lab)?;
    let at = Window::since(start);
    group.refused(How::answered(Rule::Paws).rearming(), at, |_| any_syn());
    abort(stream).attempt("abort a connection")?;
    if took > QUICK {
        return Err(Stop::Fail(format!("it took {took:?} to connect")));
    }
    Ok(group.ended(Reason::Reset, at))
}

/// With tcp_rfc1337 the RST ends nothing, and the client does not get through.
pub(in super::super) fn stuck(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_rfc1337", 1)?;
    let (field, group, second) = first_come(lab)?;
    lab.step_aside();
    match field.connect(lab, second, LONG)? {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
        other => return Err(Stop::Fail(format!("connect did not time out: {other:?}"))),
    }
    Ok(Made {
        crowd: Some(Crowd {
            syns: 2..=6,
            rules: &[Rule::Paws, Rule::Rfc1337],
            by_ports: false,
        }),
        ..group.left()
    })
}

/// A connection of the client whose clock is ahead has come and gone; the other one is next.
fn first_come(lab: &Lab<'_>) -> Step<(Field, Group, usize)> {
    let field = Field::behind_nat(lab, 2, &Mapping::One(outer(lab)))?;
    let clocks = [field.clock_of(lab, 0)?, field.clock_of(lab, 1)?];
    let ahead = clocks[1].wrapping_sub(clocks[0]).cast_signed() > 0;
    let first = usize::from(ahead);
    let client = field.connect(lab, first, PATIENT)?;
    let client = client.attempt("connect through the NAT")?;
    let pair = lab.accept(&field.listener, client)?.swapped();
    let group = Group::time_wait(lab, vec![pair])?;
    field.forget()?;
    thread::sleep(APART);
    Ok((field, group, 1 - first))
}

/// One client whose ports the NAT changes at random: on kernels that hash ports into the clock,
/// another port is another clock.
pub(in super::super) fn random(lab: &Lab<'_>) -> Step<Made> {
    let field = Field::behind_nat(lab, 1, &Mapping::Random(RANGE))?;
    rounds(lab, &field, true)
}

/// The same with a clock that is the same for all.
pub(in super::super) fn random_plain_clock(lab: &Lab<'_>) -> Step<Made> {
    let field = Field::behind_nat(lab, 1, &Mapping::Random(RANGE))?;
    set_in(&field.clients[0], "tcp_timestamps", "2")?;
    rounds(lab, &field, false)
}

/// The same ports, but the client's own.
pub(in super::super) fn no_nat(lab: &Lab<'_>) -> Step<Made> {
    let field = Field::without_nat(lab)?;
    let range = format!("{} {}", RANGE.start(), RANGE.end());
    set_in(&field.clients[0], "ip_local_port_range", &range)?;
    rounds(lab, &field, false)
}

const RANGE: std::ops::RangeInclusive<u16> = 20_000..=20_100;
/// So many connections at once, half as many as there are ports, and so often.
const AT_ONCE: usize = 53;
const ROUNDS: usize = 3;
const BACKLOG: i32 = 128;

/// Connections come in rounds, and after each the NAT gives the same ports away again.
fn rounds(lab: &Lab<'_>, field: &Field, refusals: bool) -> Step<Made> {
    lab.step_aside();
    let mut completed = 0;
    for _ in 0..ROUNDS {
        completed += round(field)?;
        lab.settle()?;
        field.forget()?;
    }
    let failed = AT_ONCE * ROUNDS - completed;
    if failed > 0 && !refusals {
        return Err(Stop::Fail(format!("{failed} clients did not get through")));
    }
    Ok(Made {
        churned: completed,
        crowd: Some(Crowd {
            // Who does not get through was refused at least twice.
            syns: if refusals {
                1.max(2 * failed)..=usize::MAX
            } else {
                0..=0
            },
            rules: if refusals { &[Rule::Paws] } else { &[] },
            by_ports: true,
        }),
        ..Made::default()
    })
}

/// How many of the connections came through. The server closes each of them first.
fn round(field: &Field) -> Step<usize> {
    let listener = &field.listener;
    // The round before has ended it.
    let again = SockRef::from(listener).listen(BACKLOG);
    again.attempt("listen again")?;
    let server = listener.local_addr().attempt("ask for an address")?;
    thread::scope(|scope| {
        scope.spawn(|| while listener.accept().is_ok() {});
        let came = field.clients[0].run(|| {
            thread::scope(|scope| {
                let clients: Vec<_> = (0..AT_ONCE)
                    .map(|_| scope.spawn(|| visit(server).is_ok()))
                    .collect();
                let came = clients.into_iter().map(|client| client.join());
                came.filter(|came| matches!(came, Ok(true))).count()
            })
        });
        // Ends the server.
        let ended = SockRef::from(listener).shutdown(Shutdown::Both);
        ended.attempt("end a listener")?;
        Ok(came?)
    })
}

/// Connects and stays until the server hangs up.
fn visit(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENT)?;
    stream.set_read_timeout(Some(PATIENT))?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn set_in(client: &Netns, name: &str, value: &str) -> Step<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    let set = client.run(|| std::fs::write(path, value))?;
    set.attempt(&format!("set {name} to {value} in a client's namespace"))
}

fn listen(lab: &Lab<'_>) -> Step<TcpListener> {
    TcpListener::bind((server(lab), 443)).attempt("listen")
}

fn any_syn() -> Segment<'static> {
    Segment {
        syn: true,
        ..Segment::default()
    }
}

fn end<'a>(netns: &'a Netns, device: &'a str, address: IpAddr) -> End<'a> {
    End {
        netns,
        device,
        address,
    }
}

fn server(lab: &Lab<'_>) -> IpAddr {
    address(lab, 0, 2)
}

/// Where all clients seem to be.
fn outer(lab: &Lab<'_>) -> SocketAddr {
    SocketAddr::new(address(lab, 0, 1), OUTER_PORT)
}

/// A host of a network; 0 is the outer one.
fn address(lab: &Lab<'_>, network: u8, host: u8) -> IpAddr {
    match lab.family {
        Family::Ipv6 => Ipv6Addr::new(0xfd00, 0, 0, network.into(), 0, 0, 0, host.into()).into(),
        _ => Ipv4Addr::new(10, 0, network, host).into(),
    }
}

fn unspecified(lab: &Lab<'_>) -> IpAddr {
    match lab.family {
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}
