//! What happened, in owned types. No decisions here: `decode` makes these from records, `model`
//! gives them meaning.

pub mod facts;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
pub use twtrace_common::Reason;
use twtrace_common::counters::Counters;
pub use twtrace_common::refusal::{Reply, Rule, Stage};
use twtrace_common::tcp::{ACK, RST, SYN};

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
    /// How many SYNs it refused.
    pub refused: u32,
    /// When it refused the first.
    pub first_refused_ns: Option<u64>,
    /// The SYN that was accepted over it; only with [`Reason::SynReopened`], if asked for.
    pub accepted: Option<Numbers>,
}

/// What a segment said, beside what its connection said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Timestamp of the segment; `None` if it had none.
    pub tsval: Option<u32>,
    /// Last timestamp of the connection; `None` if it had none.
    pub ts_recent: Option<u32>,
    /// Sequence number of the segment; of a SYN, its ISN.
    pub seq: u32,
    /// The sequence number that was expected.
    pub rcv_nxt: u32,
}

/// A segment that was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub flow: Flow,
    pub at_ns: u64,
    /// When the mini-socket entered TIME_WAIT; `None` also where there is no mini-socket.
    pub time_wait_ns: Option<u64>,
    pub stage: Stage,
    pub rule: Rule,
    /// `None` if the hook does not tell.
    pub reply: Option<Reply>,
    /// It restarted the timer of the mini-socket.
    pub rearmed: bool,
    /// Byte 13 of the TCP header.
    pub tcp_flags: u8,
    pub numbers: Numbers,
    /// Age of `ts_recent` in whole seconds, as the kernel keeps it.
    pub ts_recent_age_s: Option<u32>,
    /// As in the header: of a SYN it is not scaled.
    pub window: u16,
    /// TTL or hop limit of the segment.
    pub ttl: Option<u8>,
    /// The same of the FIN that moved the mini-socket to TIME_WAIT.
    pub owner_ttl: Option<u8>,
    /// SYNs that this mini-socket has refused, this one included.
    pub refused: u32,
}

impl Refusal {
    /// A SYN that opens a connection (no ACK).
    #[must_use]
    pub fn is_syn(&self) -> bool {
        self.tcp_flags & (SYN | RST | ACK) == SYN
    }
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
    Refusal(Refusal),
}

/// The kernel's own TCP counters of one network namespace (`/proc/net/netstat`, `TcpExt`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounters {
    /// Inode number of the namespace.
    pub netns: u32,
    /// By name as in `/proc/net/netstat`; only those that tell of TIME_WAIT.
    pub tcp_ext: BTreeMap<String, u64>,
}

/// Everything that was counted up to one moment, by us and by the kernel.
///
/// `kernel` is read between two reads of our counters; `slack` is how far ours moved meanwhile,
/// so a difference of up to `slack` proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// One per namespace seen, all CPUs added up; `netns` 0 holds what found no entry.
    pub counters: Vec<Counters>,
    /// `[reason][clock][bucket]`, flat, as `twtrace_common::histogram::Histograms`.
    pub histograms: Vec<u64>,
    /// How often the kernel skipped one of our programs; `None` if it does not tell.
    pub missed: Option<u64>,
    pub kernel: Vec<KernelCounters>,
    pub slack: u64,
}

/// When a kernel adds to TcpExt TW and TWKilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TwCountedAt {
    /// When the timer fires (5.10: `inet_timewait_sock` still has `tw_kill`).
    Expiry,
    /// When the mini-socket is created (6.1 and later).
    Birth,
}

/// How and where a trace was made; the head of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `uname -r`.
    pub kernel: String,
    /// "fentry", "kprobe" or "mixed".
    pub attach: String,
    /// Number of programs attached.
    pub hooks: u32,
    pub tw_counted_at: TwCountedAt,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at the start, in ns.
    pub wall_offset_ns: i64,
    /// CLOCK_MONOTONIC ns when everything was attached.
    pub started_ns: u64,
    /// A filter was set, so the kernel's counters count more than we do.
    pub filtered: bool,
    /// Re-arms were counted.
    pub rearms: bool,
    /// Refusals were traced.
    #[serde(default)]
    pub refusals: bool,
    /// Also those that get no answer and have no mini-socket.
    #[serde(default)]
    pub drops: bool,
    /// Only ends that tell of a refusal or a reopen were reported.
    #[serde(default)]
    pub quiet_ends: bool,
    pub ts_offset: Option<TsOffset>,
}

/// What a kernel hashes into the offset of its timestamps (with tcp_timestamps=1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TsOffset {
    /// Both addresses: one clock from one host to another (`secure_tcp_ts_off`).
    Addresses,
    /// Addresses and ports: a clock per connection (`secure_tcp_seq_and_ts_off`).
    Ports,
}
