//! Mini-sockets that are taken away, and some that never come to be.

use std::io::{self, Read};
use std::mem;

use crate::cmd::check::lab::{Attempt, Lab, Step, Stop};
use crate::cmd::check::life::{Made, Refused, Window, now_ns};
use crate::cmd::check::mini::Group;
use crate::cmd::check::sockets::abort;
use crate::event::Reason;
use crate::kernel::sock_diag::{Destroyed, SockDiag};

/// The most mini-sockets that the overflow scenario allows.
const LIMIT: usize = 5;

/// `ss -K` in TIME_WAIT.
pub(in super::super) fn destroyed(lab: &Lab<'_>) -> Step<Made> {
    destroy(lab, Group::time_wait(lab, lab.connect_all()?)?)
}

/// `ss -K` in FIN_WAIT2.
pub(in super::super) fn destroyed_fin_wait_2(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::fin_wait_2(lab, lab.connect_all()?)?;
    group.lose_peers()?;
    destroy(lab, group)
}

fn destroy(lab: &Lab<'_>, group: Group) -> Step<Made> {
    let mut diag = SockDiag::open()?;
    // Without the module tcp_diag there is no SOCK_DESTROY.
    let found = diag
        .mini_sockets()
        .map_err(|error| Stop::Skip(error.message().to_owned()))?;
    let start = now_ns();
    for mini in &group.all {
        let key = mini.key();
        let Some(found) = found
            .iter()
            .find(|found| (found.local, found.remote) == key)
        else {
            return Err(Stop::Fail(format!(
                "sock_diag does not list {}",
                mini.local
            )));
        };
        match diag.destroy(found)? {
            Destroyed::Yes => {}
            Destroyed::NotSupported => {
                return Err(Stop::Skip(
                    "the kernel answers EOPNOTSUPP to SOCK_DESTROY of a mini-socket".into(),
                ));
            }
            Destroyed::NoSuchSocket => {
                return Err(Stop::Fail(format!(
                    "SOCK_DESTROY does not find {}",
                    mini.local
                )));
            }
        }
    }
    group.await_gone(lab)?;
    Ok(group.ended(Reason::Destroyed, Window::since(start)))
}

/// The namespace goes while some are in TIME_WAIT and some in FIN_WAIT2.
pub(in super::super) fn netns_exit(lab: &Lab<'_>) -> Step<Made> {
    let mut pairs = lab.connect_all()?;
    let half = pairs.split_off(lab.count / 2);
    let mut waiting = Group::fin_wait_2(lab, half)?;
    waiting.lose_peers()?;
    Ok(waiting.left().and(Group::time_wait(lab, pairs)?.left()))
}

/// More closes than tcp_max_tw_buckets allows: the rest get no mini-socket.
pub(in super::super) fn overflow(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_max_tw_buckets", LIMIT)?;
    let mut pairs = lab.connect_all()?;
    let too_many = pairs.split_off(LIMIT);
    let mut group = Group::fin_wait_2(lab, pairs)?;
    let mut overflows = Vec::new();
    for pair in too_many {
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
        });
    }
    group.promote(lab)?;
    Ok(Made {
        overflows,
        ..group.left()
    })
}

/// SO_LINGER 0 closes by a RST: no mini-socket at all.
pub(in super::super) fn linger_0(lab: &Lab<'_>) -> Step<Made> {
    for pair in lab.connect_all()? {
        abort(pair.active).attempt("abort a connection")?;
        let mut passive = pair.passive;
        match passive.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => mem::drop(passive),
            other => return Err(Stop::Fail(format!("no RST came over: {other:?}"))),
        }
    }
    lab.await_table("no mini-socket", |table| table.mini_sockets.is_empty())?;
    Ok(Made::default())
}
