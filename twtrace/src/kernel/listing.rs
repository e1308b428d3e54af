//! What is there when tracing begins: the mini-sockets of every network namespace, as seeds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use twtrace_common::record::{
    AF_INET, AF_INET6, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, Flow, KIND_SEED, Seed,
};
use twtrace_common::settings::{FILTER_NETNS, Filter};

use super::counters::Namespaces;
use super::netns::{Visitor, Ways, abroad};
use super::sock_diag::{SockDiag, Substate};
use super::{filter, socket_table, syscall};
use crate::error::Result;
use crate::event::found::{Listed, Lister};

/// How often a listing that the kernel calls inconsistent is repeated.
const TRIES: u32 = 3;
/// The clock is read once for this many seeds.
const SEEDS_PER_LOOK: u64 = 64;

/// What a listing gives.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record, as the ring would hold it. One socket may be shown twice.
    Seed(&'a [u8]),
    /// The namespace is complete.
    Namespace(Listed),
}

/// Takes a visitor to each namespace that the filter leaves.
pub(super) fn visit_each(filter: &Filter, visitor: &mut (impl Visitor + Send)) -> Result<()> {
    let only = (filter.flags & FILTER_NETNS != 0).then_some(filter.netns);
    let mut namespaces = Namespaces::find(only)?;
    abroad(|abroad| namespaces.visit_each(abroad, visitor))
}

/// Lists all mini-sockets that pass the filter, from a thread of its own.
///
/// Seeds are handed over inside their namespace: the sink must not wait then, or it keeps the
/// namespace alive.
pub fn list(filter: &Filter, sink: &mut (dyn FnMut(Item<'_>) + Send)) -> Result<()> {
    visit_each(filter, &mut Listing { filter, sink })
}

struct Listing<'a> {
    filter: &'a Filter,
    sink: &'a mut (dyn FnMut(Item<'_>) + Send),
}

impl Visitor for Listing<'_> {
    type Found = Listed;

    fn look(&mut self, netns: u32) -> Listed {
        here(netns, self.filter, self.sink)
    }

    fn tell(&mut self, netns: u32, _ways: &Ways, found: Option<Listed>) {
        let listed = found.unwrap_or_else(|| nothing(netns));
        (self.sink)(Item::Namespace(listed));
    }
}

fn nothing(netns: u32) -> Listed {
    Listed {
        netns,
        time_wait: 0,
        fin_wait_2: 0,
        by: Lister::Nothing,
        interrupted: false,
    }
}

/// Lists those of the calling thread's namespace, which has this inode number.
pub fn here(netns: u32, filter: &Filter, sink: &mut dyn FnMut(Item<'_>)) -> Listed {
    for _ in 1..TRIES {
        match by_sock_diag(netns, filter, sink) {
            Ok(listed) if !listed.interrupted => return listed,
            Ok(_) => {}
            Err(_) => return by_proc(netns, filter, sink),
        }
    }
    by_sock_diag(netns, filter, sink).unwrap_or_else(|_| nothing(netns))
}

fn by_sock_diag(netns: u32, filter: &Filter, sink: &mut dyn FnMut(Item<'_>)) -> Result<Listed> {
    let mut seeds = Seeds::new(netns, Lister::SockDiag, filter, sink);
    let mut diag = SockDiag::open()?;
    diag.visit(&mut |one| seeds.add(one.local, one.remote, one.substate, one.remaining))?;
    Ok(Listed {
        interrupted: diag.interrupted(),
        ..seeds.listed
    })
}

fn by_proc(netns: u32, filter: &Filter, sink: &mut dyn FnMut(Item<'_>)) -> Listed {
    let mut seeds = Seeds::new(netns, Lister::Proc, filter, sink);
    let read = socket_table::visit(&mut |row| {
        if let Some(substate) = row.mini_socket() {
            seeds.add(row.local, row.remote, substate, row.remaining);
        }
    });
    match read {
        Ok(()) => seeds.listed,
        Err(_) => nothing(netns),
    }
}

/// Makes seeds of what one namespace lists.
struct Seeds<'a> {
    listed: Listed,
    filter: &'a Filter,
    sink: &'a mut dyn FnMut(Item<'_>),
    seen: u64,
    at_ns: u64,
}

impl<'a> Seeds<'a> {
    fn new(netns: u32, by: Lister, filter: &'a Filter, sink: &'a mut dyn FnMut(Item<'_>)) -> Self {
        Self {
            listed: Listed {
                by,
                ..nothing(netns)
            },
            filter,
            sink,
            seen: 0,
            at_ns: 0,
        }
    }

    fn add(&mut self, local: SocketAddr, remote: SocketAddr, substate: Substate, left: Duration) {
        if self.seen.is_multiple_of(SEEDS_PER_LOOK) {
            self.at_ns = syscall::monotonic_ns();
        }
        self.seen += 1;
        let flow = flow(self.listed.netns, local, remote, substate);
        if !filter::passes(self.filter, &flow) {
            return;
        }
        match substate {
            Substate::TimeWait => self.listed.time_wait += 1,
            Substate::FinWait2 => self.listed.fin_wait_2 += 1,
        }
        let seed = Seed {
            flow,
            at_ns: self.at_ns,
            remaining_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            reserved: 0,
        };
        (self.sink)(Item::Seed(&bytes(&seed)));
    }
}

fn flow(netns: u32, local: SocketAddr, remote: SocketAddr, substate: Substate) -> Flow {
    Flow {
        kind: KIND_SEED,
        reason: 0,
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        flags: match substate {
            Substate::FinWait2 => FLAG_BORN_FIN_WAIT_2,
            Substate::TimeWait => FLAG_IN_TIME_WAIT,
        },
        lport: local.port(),
        rport: remote.port(),
        netns,
        uid: 0,
        laddr: address(local.ip()),
        raddr: address(remote.ip()),
        cgroup: 0,
    }
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The seed's bytes in memory.
fn bytes(seed: &Seed) -> [u8; size_of::<Seed>()] {
    // SAFETY: repr(C) integers without hidden padding (asserted in twtrace-common).
    unsafe { std::mem::transmute(*seed) }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
    use std::thread;
    use std::time::Instant;

    use caps::{CapSet, Capability, has_cap};

    use super::*;
    use crate::kernel::netns::Netns;

    /// A way to list the calling thread's namespace.
    type By = fn(u32, &Filter, &mut dyn FnMut(Item<'_>)) -> Listed;

    /// The active closer of one loopback connection, and the other end.
    fn half_closed() -> (SocketAddr, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let local = client.local_addr().unwrap();
        drop(client);
        (local, server)
    }

    /// A seed of this local end with these flags, as bytes.
    fn await_seed(by: By, local: SocketAddr, flags: u8) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let port = local.port().to_ne_bytes();
        loop {
            let mut found = None;
            let listed = by(7, &Filter::ZERO, &mut |item| {
                if let Item::Seed(seed) = item
                    && seed[offset_of!(Flow, lport)..].starts_with(&port)
                    && seed[offset_of!(Flow, flags)] == flags
                {
                    found = Some(seed.to_vec());
                }
            });
            assert!(!listed.interrupted && listed.by != Lister::Nothing);
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < deadline, "no seed of {local}");
            thread::yield_now();
        }
    }

    #[test]
    fn both_ways_list_the_same_mini_socket() {
        let (local, server) = half_closed();
        for by in [here as By, by_proc] {
            let seed = await_seed(by, local, FLAG_BORN_FIN_WAIT_2);
            assert_eq!((seed.len(), seed[0]), (size_of::<Seed>(), KIND_SEED));
            assert_eq!(seed[offset_of!(Flow, raddr)..][..5], [127, 0, 0, 1, 0]);
            assert!(seed[offset_of!(Flow, netns)..].starts_with(&7_u32.to_ne_bytes()));
        }
        server.shutdown(Shutdown::Write).unwrap();
        for by in [here as By, by_proc] {
            let seed = await_seed(by, local, FLAG_IN_TIME_WAIT);
            let left = seed[offset_of!(Seed, remaining_ms)..]
                .first_chunk()
                .unwrap();
            assert!((50_000..=60_000).contains(&u32::from_ne_bytes(*left)));
        }
    }

    #[test]
    fn our_own_namespace_is_listed_and_left_as_it_was() {
        let own = Netns::current().unwrap().inode;
        let mut listed = Vec::new();
        let filter = Filter {
            flags: FILTER_NETNS,
            netns: own,
            ..Filter::ZERO
        };
        let ran = thread::spawn(move || {
            let result = list(&filter, &mut |item| {
                if let Item::Namespace(one) = item {
                    listed.push(one);
                }
            });
            result.map(|()| (listed, Netns::current().unwrap().inode))
        });
        match ran.join().unwrap() {
            Ok((listed, after)) => {
                assert_eq!(listed.len(), 1);
                assert_eq!((listed[0].netns, after), (own, own));
            }
            // Entering a namespace, even one's own, needs that.
            Err(error) => {
                let may = has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN);
                assert!(!may.unwrap(), "{error}");
            }
        }
    }

    #[test]
    fn addresses_of_both_families_are_in_network_order() {
        assert_eq!(
            address(Ipv4Addr::new(10, 0, 0, 5).into())[..5],
            [10, 0, 0, 5, 0]
        );
        assert_eq!(address(Ipv6Addr::LOCALHOST.into())[15], 1);
    }
}
