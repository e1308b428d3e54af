//! Mini-sockets that are removed, and closes that create none.

use std::io::{self, Read};
use std::mem;

use crate::check::lab::Lab;
use crate::check::lab::mini::Group;
use crate::check::lab::sockets::abort;
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Made, Window, now_ns};
use crate::event::Reason;
use crate::kernel::sock_diag::{Destroyed, SockDiag};

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

/// The namespace exits while some are in TIME_WAIT and some in FIN_WAIT2.
pub(in super::super) fn netns_exit(lab: &Lab<'_>) -> Step<Made> {
    let mut pairs = lab.connect_all()?;
    let half = pairs.split_off(lab.count / 2);
    let mut waiting = Group::fin_wait_2(lab, half)?;
    waiting.lose_peers()?;
    Ok(waiting.left().and(Group::time_wait(lab, pairs)?.left()))
}

/// SO_LINGER 0 closes with a RST: no mini-socket at all.
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
