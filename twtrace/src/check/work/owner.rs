//! Mini-sockets of a known owner.

use std::net::TcpStream;

use crate::check::lab::Lab;
use crate::check::lab::cgroup::Cgroup;
use crate::check::lab::mini::Group;
use crate::check::lab::sockets::Pair;
use crate::check::lab::step::{Attempt, Step};
use crate::check::life::Made;

/// Another process makes all sockets, with a cgroup and a file system uid of its own; we close
/// them. On half of the connections the accepted end closes first.
pub(in super::super) fn known(lab: &Lab<'_>) -> Step<Made> {
    let cgroup = Cgroup::make(&format!(
        "twtrace-check-{}-{}",
        std::process::id(),
        lab.netns
    ))?;
    let pairs = cgroup.inside(lab.uid, || {
        let listener = lab.listen()?;
        let listening = listener.local_addr().attempt("ask for an address")?;
        let connect = |number: usize| {
            let client = TcpStream::connect(listening).attempt("connect")?;
            let pair = lab.accept_as_made(&listener, client)?;
            Ok(if number.is_multiple_of(2) {
                pair
            } else {
                pair.swapped()
            })
        };
        (0..lab.count).map(connect).collect::<Step<Vec<Pair>>>()
    })?;
    let id = cgroup.id;
    // A cgroup may be removed before its sockets end.
    drop(cgroup);
    Ok(Made {
        cgroup: Some(id),
        ..Group::time_wait(lab, pairs)?.left()
    })
}
