//! What was found beside the stream of records: listings of sockets, and what a namespace allows.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Found by asking the kernel, not reported by hooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Found {
    /// A listing of the mini-sockets that are there begins. Seeds come until it is over.
    Listing {
        /// CLOCK_MONOTONIC ns. What was born before is old.
        at_ns: u64,
    },
    /// All seeds of one namespace have come.
    Listed(Listed),
    /// All namespaces were listed.
    ListingOver { at_ns: u64 },
    /// Who else uses ports in one namespace, and what it allows.
    Survey(Survey),
    /// The time of day was set, or the host has slept.
    Clock(SetClock),
}

/// A connection that still lives, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveConnection {
    /// As `ss` shows it.
    pub state: &'static str,
    /// `None` if no process holds it any more.
    pub uid: Option<u32>,
}

/// Since when stamps mean other times of day (CLOCK_MONOTONIC, ns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetClock {
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC since then, in ns.
    pub wall_offset_ns: i64,
}

/// How the listing of one namespace went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Inode number of the namespace.
    pub netns: u32,
    /// Those that pass the filters.
    pub time_wait: u64,
    pub fin_wait_2: u64,
    pub by: Lister,
    /// The table changed its size meanwhile, or it could not be read to its end.
    pub interrupted: bool,
}

/// What listed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lister {
    SockDiag,
    /// `/proc/net/tcp` and `/proc/net/tcp6`.
    Proc,
    /// Neither could be read.
    Nothing,
}

/// The use of ports in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Inode number of the namespace.
    pub netns: u32,
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    pub rules: PortRules,
    /// Ports of the range that listeners and sockets that are only bound keep from every
    /// destination: ranges with both ends, ascending.
    pub taken: Vec<(u16, u16)>,
    /// Connections that are not mini-sockets and whose local port is in the range: those with the
    /// most ports first, a bounded number.
    pub users: Vec<Users>,
    /// Full sockets in FIN_WAIT2 that a process holds; `None` if they were not counted. Recordings do
    /// not have it.
    #[serde(skip)]
    pub held_fin_wait_2: Option<u64>,
}

/// How many connections that are not mini-sockets go from one address to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    pub laddr: IpAddr,
    pub raddr: IpAddr,
    pub rport: u16,
    /// Local ports of the range.
    pub ports: u32,
}

/// The sysctls of a namespace that decide about ports and TIME_WAIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRules {
    /// `ip_local_port_range`, both ends.
    pub low: u16,
    pub high: u16,
    /// `ip_local_reserved_ports`: ranges with both ends, ascending.
    pub reserved: Vec<(u16, u16)>,
    /// `ip_local_port_step_width`; `None` where the kernel has none (before 7.1).
    pub step_width: Option<u32>,
    pub tcp_tw_reuse: u8,
    /// `None` where the kernel has none: then a port is free in the next second of the clock.
    pub tcp_tw_reuse_delay_ms: Option<u32>,
    pub tcp_timestamps: u8,
    pub tcp_max_tw_buckets: u32,
}

impl Default for PortRules {
    /// What the kernel sets.
    fn default() -> Self {
        Self {
            low: 32_768,
            high: 60_999,
            reserved: Vec::new(),
            step_width: None,
            tcp_tw_reuse: 2,
            tcp_tw_reuse_delay_ms: None,
            tcp_timestamps: 1,
            tcp_max_tw_buckets: u32::MAX,
        }
    }
}

/// Who has one local port, looked at after a call could not take it. Recordings do not hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLook {
    /// Inode number of the namespace.
    pub netns: u32,
    pub port: u16,
    /// `None` if it could not be looked at.
    pub sockets: Option<Vec<OnPort>>,
}

/// Sockets of one kind on one local address of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnPort {
    pub local: IpAddr,
    pub kind: OnPortKind,
    pub number: u32,
}

/// What kind of socket is on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnPortKind {
    Listener,
    /// Only bound.
    Bound,
    Live(Peer),
    MiniSocket(Peer),
}

/// Where the remote port of a connection lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// In the ephemeral range of this namespace.
    Ephemeral,
    Fixed,
}
