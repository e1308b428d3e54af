//! `tcp_max_tw_buckets`: closes that get no mini-socket.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, after_fin};
use crate::check::lab::socket_table::SocketTable;
use crate::check::lab::sockets::Pair;
use crate::check::lab::step::{Attempt, PATIENCE, Step, Stop};
use crate::check::life::{Made, Refused, Window, now_ns};
use crate::check::work::forged::rst;
use crate::event::{Reason, Room};
use crate::kernel::netns::bring_up_loopback;

const LIMIT: &str = "tcp_max_tw_buckets";
/// The limit that [`more`] exceeds.
const MOST: usize = 5;

/// More closes than tcp_max_tw_buckets allows: the rest get no mini-socket.
pub(in super::super) fn more(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl(LIMIT, MOST)?;
    let mut pairs = lab.connect_all()?;
    let too_many = pairs.split_off(MOST);
    let mut group = Group::fin_wait_2(lab, pairs)?;
    let overflows = overflow_all(lab, too_many, MOST)?;
    group.promote(lab)?;
    Ok(Made {
        overflows,
        ..group.left()
    })
}

/// A limit of 0: not even one close gets a mini-socket.
pub(in super::super) fn none(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl(LIMIT, 0)?;
    let overflows = overflow_all(lab, lab.connect_all()?, 0)?;
    lab.await_table("no mini-socket", |table| table.mini_sockets.is_empty())?;
    Ok(Made {
        overflows,
        ..Made::default()
    })
}

/// Reaches the limit, ends all, and reaches it again.
pub(in super::super) fn frees(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl(LIMIT, lab.count)?;
    let first = Group::time_wait(lab, lab.connect_all()?)?;
    let start = now_ns();
    first.forge(lab, |at| rst(after_fin(at)))?;
    first.await_gone(lab)?;
    let first = first.ended(Reason::Reset, Window::since(start));
    let second = Group::time_wait(lab, lab.connect_all()?)?;
    Ok(first.and(second.left()))
}

/// The limit of 0 here does not apply to another namespace.
pub(in super::super) fn own(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl(LIMIT, 0)?;
    lab.another_namespace()?.run(leave_one)??;
    Ok(Made {
        overflows: overflow_all(lab, lab.connect_all()?, 0)?,
        ..Made::default()
    })
}

/// Leaves a mini-socket in the calling thread's namespace.
fn leave_one() -> Step<()> {
    bring_up_loopback()?;
    let local = (Ipv4Addr::LOCALHOST, 0);
    let listener = TcpListener::bind(local).attempt("listen")?;
    let listening = listener
        .local_addr()
        .attempt("ask for a listener's address")?;
    let client = TcpStream::connect(listening).attempt("connect")?;
    let (server, _) = listener.accept().attempt("accept a connection")?;
    drop(client);
    drop(server);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let table = SocketTable::read().attempt("read the socket tables")?;
        if !table.mini_sockets.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(Stop::Fail(
        "a namespace with the usual limit leaves no mini-socket".into(),
    ))
}

/// Closes one after another; none gets a mini-socket, because the limit is reached.
fn overflow_all(lab: &Lab<'_>, pairs: Vec<Pair>, most: usize) -> Step<Vec<Refused>> {
    let most = most as u32;
    let mut overflows = Vec::new();
    for pair in pairs {
        let local = pair
            .active
            .local_addr()
            .attempt("ask for a socket's address")?;
        let remote = pair
            .passive
            .local_addr()
            .attempt("ask for a socket's address")?;
        let start = now_ns();
        drop(pair.active);
        lab.await_counters(&["TCPTimeWaitOverflow"], overflows.len() + 1)?;
        overflows.push(Refused {
            local,
            remote,
            at: Window::since(start),
            room: Room {
                alive: most,
                limit: most,
            },
        });
    }
    Ok(overflows)
}
