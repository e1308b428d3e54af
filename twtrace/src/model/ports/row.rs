//! What is said of one destination, source or port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::holders::Holders;
use super::{HIGH, LOW};
use crate::event::{Call, Flow, PortFailure};

/// A destination that is full in less than this (ns) is under pressure.
const SOON_NS: u64 = 60_000_000_000;

/// The ends between which ports are counted. Without a remote end it is a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Inode number of the namespace.
    pub netns: u32,
    pub laddr: IpAddr,
    /// The port that callers named; 0 if one of the range is chosen.
    pub lport: u16,
    pub raddr: IpAddr,
    pub rport: u16,
}

/// Whether tcp_tw_reuse can free ports here. As far as the sysctls of the namespace tell: the
/// peer must use timestamps too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is on for this destination: a TIME_WAIT blocks its port only for a while.
    On { delay_ms: Option<u32> },
    /// Setting it to 1 would help. `now` is 0, or 2 (loopback only).
    Would { now: u8, delay_ms: Option<u32> },
    /// tcp_timestamps is 0.
    NoTimestamps,
    /// It has no part in this, whatever it is set to.
    No(Why),
    /// The sysctls were not read.
    Unknown,
}

/// Why tcp_tw_reuse has no part: it is for connect() that chooses a port itself, and for TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The caller names the port.
    PortNamed,
    /// bind() chooses the ports.
    Bind,
    /// Most ports are held by live connections.
    Live,
    /// Most ports are held by mini-sockets in FIN_WAIT2.
    FinWait2,
}

/// One destination, one source of which bind() takes ports, or one port that callers named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub key: Key,
    /// Ports of the range held by mini-sockets, FIN_WAIT2 included.
    pub time_wait: u32,
    /// Ports of the range held by other connections, when it was last looked.
    pub others: u32,
    /// Ports that connect() may use: the range without what is reserved, listened on or bound.
    pub candidates: u32,
    /// New mini-sockets per second.
    pub arrivals: f64,
    /// New mini-sockets per second, less those that ended.
    pub growth: f64,
    /// When all candidates are in use at the present growth; `None` if it does not grow, or if
    /// tcp_tw_reuse frees them.
    pub full_in_ns: Option<u64>,
    pub reuse: Reuse,
    /// The most ports that were in use at once.
    pub peak: u32,
    /// Calls that got no port.
    pub failures: u64,
    pub last_failure: Option<PortFailure>,
    /// Of a port that bind() did not get.
    pub holders: Option<Holders>,
}

/// A call that got no port, and what is known of where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    pub failure: PortFailure,
    /// Ports that it could have taken: 1 if it had named one.
    pub candidates: u32,
    /// Of these, in use on the source of a bind(), as far as known.
    pub in_use: u32,
    /// What holds the port that a bind() had named.
    pub holders: Option<Holders>,
    /// Others of this kind since the last one reported.
    pub untold: u64,
}

impl Row {
    /// Ports in use, of [`Row::candidates`]. No more than there are: a connection that was looked
    /// at as one of the others may be a mini-socket since.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        if self.key.lport > 0 {
            return 1;
        }
        in_use(self.time_wait, self.others, self.candidates)
    }

    /// Share of the candidates in use, in percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        percent(self.in_use(), self.candidates)
    }

    /// The most that were in use at once, in percent of the candidates there are now.
    #[must_use]
    pub fn peak_percent(&self) -> u64 {
        percent(self.peak, self.candidates)
    }

    /// It runs out of ports soon, or has.
    #[must_use]
    pub fn under_pressure(&self) -> bool {
        let percent = self.percent();
        let soon = self.full_in_ns.is_some_and(|left| left < SOON_NS);
        let elsewhere = match self.reuse {
            Reuse::On { .. } | Reuse::No(Why::PortNamed) => true,
            // The source runs out.
            Reuse::No(Why::Bind) => !self.key.is_source(),
            _ => false,
        };
        !elsewhere && (percent >= HIGH || soon && percent >= LOW)
    }
}

pub(super) fn in_use(time_wait: u32, others: u32, candidates: u32) -> u32 {
    (time_wait + others).min(candidates)
}

pub(super) fn percent(ports: u32, candidates: u32) -> u64 {
    u64::from(ports) * 100 / u64::from(candidates.max(1))
}

impl Key {
    /// Of a connection, as its local end sees it.
    #[must_use]
    pub fn of(flow: &Flow) -> Self {
        Self {
            netns: flow.netns,
            laddr: flow.laddr,
            lport: 0,
            raddr: flow.raddr,
            rport: flow.rport,
        }
    }

    /// Of a call that got no port.
    pub(super) fn of_call(failure: &PortFailure) -> Self {
        let key = Self::of(&failure.flow);
        match (failure.port_given, failure.call) {
            (true, _) => Self {
                lport: failure.flow.lport,
                ..key
            },
            (false, Call::Bind) => key.source(),
            (false, Call::Connect) => key,
        }
    }

    /// All destinations of this source.
    #[must_use]
    pub fn source(self) -> Self {
        Self {
            raddr: match self.laddr {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            lport: 0,
            rport: 0,
            ..self
        }
    }

    /// It stands for all destinations.
    #[must_use]
    pub fn is_source(self) -> bool {
        self.lport == 0 && self.rport == 0
    }

    pub(super) fn is_loopback(self) -> bool {
        self.laddr.is_loopback() || self.raddr.is_loopback()
    }
}
