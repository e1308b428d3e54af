//! Who else uses the ephemeral range of each network namespace, and what its sysctls allow.

use std::collections::HashMap;
use std::net::IpAddr;

use twtrace_common::settings::Filter;

use super::listing::visit_each;
use super::netns::{Visitor, Ways};
use super::sock_diag::{Kind, Shown, SockDiag};
use super::socket_table::{self, FIN_WAIT2, LISTEN};
use super::{syscall, sysctl};
use crate::error::{Error, Result};
use crate::event::facts::{Setting, Sysctl, Value};
use crate::event::found::{PortRules, Survey, Users};

/// Destinations kept per namespace: the others have few ports each.
const MAX_USERS: usize = 4_096;

/// Surveys each namespace that the filter leaves, from a thread of its own.
pub fn survey(filter: &Filter, sink: &mut (dyn FnMut(Survey) + Send)) -> Result<()> {
    visit_each(filter, &mut Surveying { sink })
}

struct Surveying<'a> {
    sink: &'a mut (dyn FnMut(Survey) + Send),
}

impl Visitor for Surveying<'_> {
    type Found = Result<Survey>;

    fn look(&mut self, netns: u32) -> Result<Survey> {
        here(netns)
    }

    fn tell(&mut self, _netns: u32, _ways: &Ways, found: Option<Result<Survey>>) {
        if let Some(Ok(survey)) = found {
            (self.sink)(survey);
        }
    }
}

/// Surveys the calling thread's namespace.
fn here(netns: u32) -> Result<Survey> {
    let rules = rules(&sysctl::read());
    let mut use_of_ports = Use::new(rules.low, rules.high);
    let listed = SockDiag::open()
        .and_then(|mut diag| diag.visit_all(false, &mut |shown| use_of_ports.add(shown)));
    if listed.is_err() {
        use_of_ports = Use::new(rules.low, rules.high);
        by_proc(false, &mut |shown| use_of_ports.add(shown))?;
    }
    let held_fin_wait_2 = Some(use_of_ports.held_fin_wait_2);
    let (taken, users) = use_of_ports.finish();
    Ok(Survey {
        netns,
        at_ns: syscall::monotonic_ns(),
        held_fin_wait_2,
        rules,
        taken,
        users,
    })
}

/// Sockets that are only bound are not in there.
pub(super) fn by_proc(mini_sockets: bool, sink: &mut dyn FnMut(Shown)) -> Result<()> {
    socket_table::visit(&mut |row| {
        let kind = match (row.mini_socket(), row.state) {
            (Some(_), _) if !mini_sockets => return,
            (Some(substate), _) => Kind::MiniSocket(substate),
            (None, LISTEN) => Kind::Unconnected { listens: true },
            (None, FIN_WAIT2) => Kind::FinWait2 {
                orphan: row.orphan,
                inode: 0,
            },
            (None, _) => Kind::Connection,
        };
        sink(Shown {
            local: row.local,
            remote: row.remote,
            kind,
        });
    })
    .map_err(|error| Error::new(format!("cannot read the table of TCP sockets: {error}")))
}

/// `ip_local_port_range` of the calling thread's namespace.
pub(super) fn ephemeral_range() -> (u16, u16) {
    let rules = rules(&sysctl::read());
    (rules.low, rules.high)
}

fn rules(sysctls: &std::collections::BTreeMap<Sysctl, Setting>) -> PortRules {
    let value = |sysctl| sysctls.get(&sysctl).map(|setting| &setting.value);
    let number = |sysctl| match value(sysctl) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let ports = |sysctl| match value(sysctl) {
        Some(Value::Ports(ports)) => ports.clone(),
        _ => Vec::new(),
    };
    let small = |sysctl| u8::try_from(number(sysctl)?).ok();
    let large = |sysctl| u32::try_from(number(sysctl)?).ok();
    let kernel = PortRules::default();
    let (low, high) = ports(Sysctl::IpLocalPortRange)
        .first()
        .copied()
        .unwrap_or((kernel.low, kernel.high));
    PortRules {
        low,
        high,
        reserved: ports(Sysctl::IpLocalReservedPorts),
        step_width: large(Sysctl::IpLocalPortStepWidth),
        tcp_tw_reuse: small(Sysctl::TcpTwReuse).unwrap_or(kernel.tcp_tw_reuse),
        tcp_tw_reuse_delay_ms: large(Sysctl::TcpTwReuseDelay),
        tcp_timestamps: small(Sysctl::TcpTimestamps).unwrap_or(kernel.tcp_timestamps),
        tcp_max_tw_buckets: large(Sysctl::TcpMaxTwBuckets).unwrap_or(kernel.tcp_max_tw_buckets),
    }
}

/// Two addresses and the remote port: connect() needs a local port that no other connection has
/// between them. IPv4 through an IPv6 socket uses the ports of IPv4.
pub(super) type Pair = (IpAddr, IpAddr, u16);

pub(super) fn pair(shown: &Shown) -> Pair {
    let (laddr, raddr) = (shown.local.ip(), shown.remote.ip());
    (
        laddr.to_canonical(),
        raddr.to_canonical(),
        shown.remote.port(),
    )
}

/// Ports of the range, by what holds them.
pub(super) struct Use {
    low: u16,
    high: u16,
    taken: Vec<u16>,
    connections: HashMap<Pair, u32>,
    /// Sockets in FIN_WAIT2 that a process holds, whatever their port.
    held_fin_wait_2: u64,
}

impl Use {
    pub(super) fn new(low: u16, high: u16) -> Self {
        Self {
            low,
            high,
            taken: Vec::new(),
            connections: HashMap::new(),
            held_fin_wait_2: 0,
        }
    }

    pub(super) fn add(&mut self, shown: Shown) {
        if let Kind::FinWait2 { orphan: false, .. } = shown.kind {
            self.held_fin_wait_2 += 1;
        }
        let port = shown.local.port();
        if !(self.low..=self.high).contains(&port) {
            return;
        }
        match shown.kind {
            Kind::Unconnected { .. } => self.taken.push(port),
            Kind::Connection | Kind::FinWait2 { .. } => {
                *self.connections.entry(pair(&shown)).or_default() += 1;
            }
            Kind::MiniSocket(_) => {}
        }
    }

    pub(super) fn finish(mut self) -> (Vec<(u16, u16)>, Vec<Users>) {
        self.taken.sort_unstable();
        self.taken.dedup();
        let mut taken: Vec<(u16, u16)> = Vec::new();
        for port in self.taken {
            match taken.last_mut() {
                Some(last) if last.1 + 1 == port => last.1 = port,
                _ => taken.push((port, port)),
            }
        }
        let mut users: Vec<_> = self
            .connections
            .into_iter()
            .map(|((laddr, raddr, rport), ports)| Users {
                laddr,
                raddr,
                rport,
                ports,
            })
            .collect();
        users.sort_unstable_by_key(|one| {
            (
                std::cmp::Reverse(one.ports),
                one.laddr,
                one.raddr,
                one.rport,
            )
        });
        users.truncate(MAX_USERS);
        (taken, users)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_and_listeners_of_the_range_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let survey = here(7).unwrap();
        let taken = |port| {
            survey
                .taken
                .iter()
                .any(|&(from, to)| (from..=to).contains(&port))
        };
        assert!(taken(address.port()));
        let users = survey
            .users
            .iter()
            .find(|one| one.rport == address.port())
            .unwrap();
        assert_eq!(
            (users.laddr, users.raddr, users.ports),
            (address.ip(), address.ip(), 3)
        );
        drop(clients);
    }

    #[test]
    fn ports_side_by_side_are_one_range() {
        let mut use_of_ports = Use::new(100, 200);
        for port in [105, 103, 104, 99, 107, 104] {
            use_of_ports.add(Shown {
                local: ([127, 0, 0, 1], port).into(),
                remote: ([0, 0, 0, 0], 0).into(),
                kind: Kind::Unconnected { listens: true },
            });
        }
        assert_eq!(use_of_ports.finish().0, [(103, 105), (107, 107)]);
    }
}
