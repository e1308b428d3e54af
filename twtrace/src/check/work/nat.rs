//! Clients behind a real NAT: their SYNs meet another client's TIME_WAIT, or their own with another
//! clock.

use std::io;
use std::thread;
use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How};
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::abort;
use crate::check::lab::step::{Attempt, PATIENCE, Step, Stop};
use crate::check::life::{Clients, Crowd, Made, Window, now_ns};
use crate::check::net::field::{Field, Way};
use crate::event::{Family, Reason, Rule};

/// Longer than a tick, so that a restarted timer has a different expiry time.
const APART: Duration = Duration::from_millis(30);
/// Less than the initial retransmission timeout of a SYN, which is 1 s: a client that got an answer
/// retries sooner.
const QUICK: Duration = Duration::from_millis(900);
/// Time for the SYNs at 0 s, after the first answer, and at 1 s.
const LONG: Duration = Duration::from_millis(2_500);
/// Rounds of connections, each over the TIME_WAIT sockets of the one before.
const ROUNDS: usize = 3;

/// The second client's clock is behind: its SYN is refused, the RST that answers the ACK ends the
/// TIME_WAIT, and its next SYN is accepted.
pub(in super::super) fn recovered(lab: &Lab<'_>) -> Step<Made> {
    let (field, mut group, second) = first_come(lab)?;
    let start = now_ns();
    let stream = field.connect(second, PATIENCE)?;
    let took = Duration::from_nanos(now_ns() - start);
    let stream = stream.attempt("connect over the TIME_WAIT of another")?;
    group.await_gone(lab)?;
    let at = Window::since(start);
    let syn = |_| Segment {
        syn: true,
        ..Segment::default()
    };
    group.refused(How::answered(Rule::Paws).rearming(), at, syn);
    abort(stream).attempt("abort a connection")?;
    if took > QUICK {
        // The machine may just have been slow.
        return Err(Stop::Disturbed(format!("it took {took:?} to connect")));
    }
    Ok(group.ended(Reason::Reset, at))
}

/// With tcp_rfc1337 the RST ends nothing, and the client does not get through.
pub(in super::super) fn stuck(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_rfc1337", 1)?;
    let (field, group, second) = first_come(lab)?;
    lab.step_aside();
    match field.connect(second, LONG)? {
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

/// Makes and closes a connection of the client whose clock is ahead; returns the index of the
/// other.
fn first_come(lab: &Lab<'_>) -> Step<(Field, Group, usize)> {
    let field = field(lab, Way::OnePort)?;
    let [first, second] = field.by_clock()?;
    let client = field.connect(first, PATIENCE)?;
    let client = client.attempt("connect through the NAT")?;
    let pair = lab.accept(&field.listener, client)?.swapped();
    let group = Group::time_wait(lab, vec![pair])?;
    field.forget()?;
    thread::sleep(APART);
    Ok((field, group, second))
}

/// One client whose ports the NAT randomizes: on kernels that hash ports into the timestamp offset,
/// each port has another clock.
pub(in super::super) fn random(lab: &Lab<'_>) -> Step<Made> {
    let field = field(lab, Way::RandomPorts)?;
    let clients = rounds(lab, &field)?;
    // A client that did not get through was refused at least twice.
    let failed = clients.tried - clients.delays.len();
    let least = 1.max(2 * failed);
    Ok(crowd(
        clients,
        Crowd {
            syns: least..=usize::MAX,
            rules: &[Rule::Paws],
            by_ports: true,
        },
    ))
}

/// The same with one clock for all ports.
pub(in super::super) fn random_plain_clock(lab: &Lab<'_>) -> Step<Made> {
    let field = field(lab, Way::RandomPorts)?;
    field.set(0, "tcp_timestamps", "2")?;
    all_come_through(lab, &field)
}

/// The same number of ports, but the client's own and without a NAT.
pub(in super::super) fn no_nat(lab: &Lab<'_>) -> Step<Made> {
    all_come_through(lab, &field(lab, Way::Direct)?)
}

fn all_come_through(lab: &Lab<'_>, field: &Field) -> Step<Made> {
    let clients = rounds(lab, field)?;
    let failed = clients.tried - clients.delays.len();
    if failed > 0 {
        return Err(Stop::Fail(format!("{failed} clients did not get through")));
    }
    Ok(crowd(
        clients,
        Crowd {
            syns: 0..=0,
            rules: &[],
            by_ports: true,
        },
    ))
}

fn rounds(lab: &Lab<'_>, field: &Field) -> Step<Clients> {
    lab.step_aside();
    let mut clients = Clients::default();
    for _ in 0..ROUNDS {
        let round = field.round(lab.count)?;
        clients.tried += lab.count;
        clients.delays.extend(round.delays);
        clients.took += round.took;
        field.forget()?;
    }
    Ok(clients)
}

fn crowd(clients: Clients, crowd: Crowd) -> Made {
    Made {
        churned: clients.delays.len(),
        clients: Some(clients),
        crowd: Some(crowd),
        ..Made::default()
    }
}

/// Sets up the NAT and its clients; skips the scenario where that fails.
fn field(lab: &Lab<'_>, way: Way) -> Step<Field> {
    let ipv6 = lab.family == Family::Ipv6;
    let made = lab.start_programs(|| {
        Field::new(way, ipv6, || lab.another_namespace().map_err(Stopped::Stop))
    });
    made.map_err(|stopped| match stopped {
        Stopped::Stop(stop) => stop,
        Stopped::Error(error) => Stop::Skip(error.message().to_owned()),
    })
}

/// Why the NAT could not be set up.
enum Stopped {
    Stop(Stop),
    Error(crate::error::Error),
}

impl From<crate::error::Error> for Stopped {
    fn from(error: crate::error::Error) -> Self {
        Self::Error(error)
    }
}
