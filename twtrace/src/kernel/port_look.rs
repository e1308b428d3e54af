//! Who has one local port of a network namespace now.

use std::collections::BTreeMap;
use std::net::IpAddr;

use twtrace_common::settings::{FILTER_NETNS, Filter};

use super::listing::visit_each;
use super::netns::{Visitor, Ways};
use super::sock_diag::{Kind, Shown, SockDiag};
use super::survey::{by_proc, ephemeral_range};
use crate::error::Result;
use crate::event::found::{OnPort, OnPortKind, Peer, PortLook};

/// Local addresses that are told apart.
const MAX_ADDRESSES: usize = 1_024;

/// Looks at a port, from a thread of its own.
#[must_use]
pub fn look(netns: u32, port: u16) -> PortLook {
    let mut looking = Looking {
        port,
        sockets: None,
    };
    let only = Filter {
        flags: FILTER_NETNS,
        netns,
        ..Filter::ZERO
    };
    // What cannot be looked at is not known.
    let _ = visit_each(&only, &mut looking);
    PortLook {
        netns,
        port,
        sockets: looking.sockets,
    }
}

struct Looking {
    port: u16,
    sockets: Option<Vec<OnPort>>,
}

impl Visitor for Looking {
    type Found = Result<Vec<OnPort>>;

    fn look(&mut self, _netns: u32) -> Result<Vec<OnPort>> {
        here(self.port)
    }

    fn tell(&mut self, _netns: u32, _ways: &Ways, found: Option<Result<Vec<OnPort>>>) {
        self.sockets = found.and_then(Result::ok);
    }
}

/// Sockets on a port in the calling thread's namespace.
fn here(port: u16) -> Result<Vec<OnPort>> {
    let (low, high) = ephemeral_range();
    let mut counts: BTreeMap<(IpAddr, OnPortKind), u32> = BTreeMap::new();
    let mut add = |shown: Shown| {
        if shown.local.port() != port {
            return;
        }
        let peer = match (low..=high).contains(&shown.remote.port()) {
            true => Peer::Ephemeral,
            false => Peer::Fixed,
        };
        let key = (shown.local.ip().to_canonical(), kind(shown.kind, peer));
        if counts.len() < MAX_ADDRESSES || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    };
    let listed = SockDiag::open().and_then(|mut diag| diag.visit_port(port, &mut add));
    if listed.is_err() {
        by_proc(true, &mut add)?;
    }
    let sockets = counts.into_iter().map(|((local, kind), number)| OnPort {
        local,
        kind,
        number,
    });
    Ok(sockets.collect())
}

fn kind(kind: Kind, peer: Peer) -> OnPortKind {
    match kind {
        Kind::MiniSocket(_) => OnPortKind::MiniSocket(peer),
        Kind::Connection | Kind::FinWait2 { .. } => OnPortKind::Live(peer),
        Kind::Unconnected { listens: true } => OnPortKind::Listener,
        Kind::Unconnected { listens: false } => OnPortKind::Bound,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listener_its_child_and_what_is_left_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let found = |kind: OnPortKind| {
            let all = here(address.port()).unwrap();
            let of = |one: &&OnPort| one.kind == kind && one.local == address.ip();
            all.iter().find(of).map_or(0, |one| one.number)
        };
        assert_eq!(found(OnPortKind::Listener), 1);
        assert_eq!(found(OnPortKind::Live(Peer::Ephemeral)), 1);
        // The server closes first.
        drop(listener);
        drop(server);
        drop(client);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while found(OnPortKind::MiniSocket(Peer::Ephemeral)) == 0 {
            assert!(std::time::Instant::now() < deadline, "no mini-socket");
            std::thread::yield_now();
        }
        assert_eq!(found(OnPortKind::Listener), 0);
    }
}
