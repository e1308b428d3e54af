//! What happened, in owned types. No decisions here: `decode` makes these from records, `model`
//! gives them meaning.

use std::net::IpAddr;

pub use twtrace_common::Reason;

/// The protocol on the wire, and whether an IPv6 socket carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Ipv4,
    Ipv6,
    /// IPv4 on the wire, an AF_INET6 socket with `::ffff:a.b.c.d` addresses.
    Ipv4Mapped,
}

/// Which connection, in which namespace, whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub family: Family,
    pub laddr: IpAddr,
    pub lport: u16,
    pub raddr: IpAddr,
    pub rport: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Owner of the full socket; `None` if its closing was not seen.
    pub uid: Option<u32>,
    /// cgroup id of the full socket; `None` as for `uid`, or if the kernel does not tell.
    pub cgroup: Option<u64>,
}

/// The substate in which a mini-socket was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BornAs {
    FinWait2,
    TimeWait,
}

/// The end of a mini-socket. Times are CLOCK_MONOTONIC ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub flow: Flow,
    pub reason: Reason,
    /// `None` if its birth was not seen.
    pub born_as: Option<BornAs>,
    pub born_ns: Option<u64>,
    /// When it entered TIME_WAIT; `None` if it never did, or if that was not seen.
    pub time_wait_ns: Option<u64>,
    pub ended_ns: u64,
    /// It ended in substate TIME_WAIT (else in FIN_WAIT2).
    pub in_time_wait: bool,
    /// Timer restarts in TIME_WAIT that were seen.
    pub rearms: u32,
    /// Its birth was not seen: older than the tracer, or lost for lack of room in the state maps.
    pub untracked: bool,
}

/// No mini-socket could be made: the limit `tcp_max_tw_buckets`, or no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    pub flow: Flow,
    pub at_ns: u64,
}

/// Anything the kernel side reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    End(End),
    Overflow(Overflow),
}
