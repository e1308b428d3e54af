//! What happened, in owned types, and what was counted.
//!
//! A *mini-socket* is what the kernel keeps of a closed connection (`struct inet_timewait_sock`). It
//! is in one of two substates: FIN_WAIT2, while the peer's FIN has not come, or TIME_WAIT.
//!
//! Times ending in `_ns` are nanoseconds of CLOCK_MONOTONIC on the host that was traced; add
//! [`Meta::wall_offset_ns`] for the time of day.
// No decisions here: `decode` makes these from records, `model` gives them meaning.

pub(crate) mod bounded;
#[doc(hidden)]
pub mod facts;
#[doc(hidden)]
pub mod found;
#[cfg(test)]
mod sample;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
pub use twtrace_common::Reason;
use twtrace_common::counters::Counters;
pub use twtrace_common::ports::Call;
pub use twtrace_common::refusal::{Reply, Rule, Stage};
use twtrace_common::tcp::{ACK, RST, SYN};

#[doc(inline)]
pub use self::found::SetClock;
use crate::text::Text;

/// The protocol on the wire, and whether an IPv6 socket carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// IPv4 on the wire, an AF_INET6 socket with `::ffff:a.b.c.d` addresses.
    Ipv4Mapped,
}

/// Which connection, in which namespace, and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The protocol on the wire.
    pub family: Family,
    /// Local address.
    pub laddr: IpAddr,
    /// Local port.
    pub lport: u16,
    /// Remote address.
    pub raddr: IpAddr,
    /// Remote port.
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
    /// It waited for the peer's FIN first.
    FinWait2,
    /// The peer's FIN had come before.
    TimeWait,
}

/// The end of a mini-socket. Times are CLOCK_MONOTONIC ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whose mini-socket it was.
    pub flow: Flow,
    /// Why it ended: a mark that the kernel left, never a guess.
    pub reason: Reason,
    /// `None` if its birth was not seen.
    pub born_as: Option<BornAs>,
    /// When it was made; `None` if its birth was not seen.
    pub born_ns: Option<u64>,
    /// When it entered TIME_WAIT; `None` if it never did, or if that was not seen.
    pub time_wait_ns: Option<u64>,
    /// When it ended.
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

/// The numbers of a segment and of its connection.
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
    /// The connection, as it was before.
    pub flow: Flow,
    /// When.
    pub at_ns: u64,
    /// When the mini-socket entered TIME_WAIT; `None` also where there is not a mini-socket.
    pub time_wait_ns: Option<u64>,
    /// What refused it.
    pub stage: Stage,
    /// Why.
    pub rule: Rule,
    /// What was sent back; `None` if the hook does not tell.
    pub reply: Option<Reply>,
    /// It restarted the timer of the mini-socket.
    pub rearmed: bool,
    /// Byte 13 of the TCP header.
    pub tcp_flags: u8,
    /// Timestamps and sequence numbers.
    pub numbers: Numbers,
    /// Age of `ts_recent` in whole seconds, as the kernel keeps it.
    pub ts_recent_age_s: Option<u32>,
    /// Window, as in the header: of a SYN it is not scaled.
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
    /// The connection that was closed without one.
    pub flow: Flow,
    /// When.
    pub at_ns: u64,
    /// How many there were; `None` in recordings of ABI 3 and older, or if the kernel does not tell.
    pub room: Option<Room>,
}

/// Mini-sockets of a namespace, FIN_WAIT2 included, beside its `tcp_max_tw_buckets`. With fewer
/// than the limit there was no memory, or one ended at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Mini-sockets of the namespace.
    pub alive: u32,
    /// `tcp_max_tw_buckets`.
    pub limit: u32,
}

/// A mini-socket was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Whose.
    pub flow: Flow,
    /// In which substate.
    pub born_as: BornAs,
    /// When.
    pub at_ns: u64,
}

/// A mini-socket that existed when tracing began, as the kernel listed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Without an owner: a mini-socket has none.
    pub flow: Flow,
    /// The substate it was in.
    pub substate: BornAs,
    /// When it was listed.
    pub at_ns: u64,
    /// What was left on its timer, 0 if that was late.
    pub remaining_ms: u32,
}

/// A connect() or bind() that got no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFailure {
    /// Of a bind(), the remote end is unspecified.
    pub flow: Flow,
    /// When.
    pub at_ns: u64,
    /// Which of the two.
    pub call: Call,
    /// Thread group of the caller.
    pub pid: u32,
    /// `comm` of the caller.
    pub command: CommandName,
    /// What the caller was told: EADDRNOTAVAIL or EADDRINUSE.
    pub errno: u32,
    /// The caller had named the port; else `flow.lport` is 0.
    pub port_given: bool,
    /// Candidate ports that only a mini-socket blocked; 0 of a bind().
    pub time_wait: u32,
}

/// `comm` of a task: at most 15 bytes, padded with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandName([u8; 16]);

impl CommandName {
    /// As the kernel keeps it: whoever runs may have set it to anything.
    #[doc(hidden)]
    #[must_use]
    pub fn new(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    /// All that is shown of it.
    #[must_use]
    pub fn text(&self) -> Text {
        let end = self.0.iter().position(|byte| *byte == 0);
        Text::of_bytes(&self.0[..end.unwrap_or(self.0.len())])
    }
}

/// Anything the kernel side reports, and what existed when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A mini-socket ended.
    End(End),
    /// A connection was closed and no mini-socket could be made.
    Overflow(Overflow),
    /// A segment was not accepted because of an old connection.
    Refusal(Refusal),
    /// A mini-socket was made.
    Birth(Birth),
    /// A mini-socket was there when tracing began.
    Seed(Seed),
    /// A call got no port.
    PortFailure(PortFailure),
}

impl Event {
    /// The connection it is about.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        match self {
            Self::End(end) => &end.flow,
            Self::Overflow(overflow) => &overflow.flow,
            Self::Refusal(refusal) => &refusal.flow,
            Self::Birth(birth) => &birth.flow,
            Self::Seed(seed) => &seed.flow,
            Self::PortFailure(failure) => &failure.flow,
        }
    }

    /// When, in ns of CLOCK_MONOTONIC.
    #[must_use]
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::End(end) => end.ended_ns,
            Self::Overflow(overflow) => overflow.at_ns,
            Self::Refusal(refusal) => refusal.at_ns,
            Self::Birth(birth) => birth.at_ns,
            Self::Seed(seed) => seed.at_ns,
            Self::PortFailure(failure) => failure.at_ns,
        }
    }
}

/// The kernel's own TCP counters of one network namespace (`/proc/net/netstat`, `TcpExt`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounters {
    /// Inode number of the namespace. It is given again once the namespace is gone.
    pub netns: u32,
    /// Cookie of the namespace, which no other has until the next boot; `None` where the kernel
    /// does not tell (before 5.14) or where it may not be entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// By name as in `/proc/net/netstat`; only those that tell of TIME_WAIT.
    #[serde(deserialize_with = "bounded::map::<_, _, _, MOST_COUNTERS>")]
    pub tcp_ext: BTreeMap<Text, u64>,
}

/// Everything that was counted up to one moment, by us and by the kernel.
///
/// Exact, also where events were lost on their way. [`Stats`](crate::stats::Stats) makes percentiles
/// of the lifetimes.
// `kernel` is read between two reads of our counters; `slack` is how far ours moved meanwhile, so a
// difference of up to `slack` proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// One per namespace seen, all CPUs added up; `netns` 0 holds what found no entry.
    #[doc(hidden)]
    pub counters: Vec<Counters>,
    /// `[reason][clock][bucket]`, flat, as `twtrace_common::histogram::Histograms`.
    #[doc(hidden)]
    pub histograms: Vec<u64>,
    /// How often the kernel skipped one of our programs; `None` if it does not tell.
    pub missed: Option<u64>,
    /// The kernel's own counters, one per network namespace that could be read; none where they were
    /// not asked for.
    pub kernel: Vec<KernelCounters>,
    #[doc(hidden)]
    pub slack: u64,
}

impl Snapshot {
    /// Ends for this reason since tracing began, in all network namespaces.
    #[must_use]
    pub fn ended(&self, reason: Reason) -> u64 {
        self.sum(|one| one.ended[reason as usize])
    }

    /// Mini-sockets made since tracing began.
    #[must_use]
    pub fn born(&self) -> u64 {
        self.sum(|one| one.born_fin_wait_2 + one.born_time_wait)
    }

    /// Connections closed since tracing began for which no mini-socket could be made.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.sum(|one| one.overflowed)
    }

    /// Segments refused since tracing began; 0 if refusals were not traced.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.sum(|one| one.refused.iter().sum())
    }

    /// connect() and bind() calls that got no port since tracing began; 0 if they were not traced.
    #[must_use]
    pub fn port_failures(&self) -> u64 {
        self.sum(|one| one.port_failures.iter().sum())
    }

    fn sum(&self, get: impl Fn(&Counters) -> u64) -> u64 {
        self.counters.iter().map(get).sum()
    }
}

/// Counters that are kept of a namespace at most.
const MOST_COUNTERS: usize = 24;

/// Names of one kind that are read at once at most.
const MOST_NAMES: usize = 65_536;

/// Names of owners, as the host that was traced has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// By uid.
    #[serde(deserialize_with = "bounded::map::<_, _, _, MOST_NAMES>")]
    pub users: BTreeMap<u32, Text>,
    /// By inode number.
    #[serde(deserialize_with = "bounded::map::<_, _, _, MOST_NAMES>")]
    pub netns: BTreeMap<u32, Text>,
    /// Paths below the mount of cgroup2, by id.
    #[serde(deserialize_with = "bounded::map::<_, _, _, MOST_NAMES>")]
    pub cgroups: BTreeMap<u64, Text>,
}

impl Named {
    /// Nothing has a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            users,
            netns,
            cgroups,
        } = self;
        users.is_empty() && netns.is_empty() && cgroups.is_empty()
    }

    /// The number of names of the kind that has most.
    #[doc(hidden)]
    #[must_use]
    pub fn most(&self) -> usize {
        let Self {
            users,
            netns,
            cgroups,
        } = self;
        users.len().max(netns.len()).max(cgroups.len())
    }

    /// Length of all names together.
    #[doc(hidden)]
    #[must_use]
    pub fn bytes(&self) -> usize {
        let numbers = self.users.values().chain(self.netns.values());
        let each = numbers.chain(self.cgroups.values());
        each.map(|name| name.len()).sum()
    }

    /// The same in parts, each with at most `most` names of each kind.
    #[doc(hidden)]
    #[must_use]
    pub fn parts(&self, most: usize) -> Vec<Self> {
        if self.most() <= most {
            return vec![self.clone()];
        }
        let users = in_parts(&self.users, most).map(|users| Self {
            users,
            ..Self::default()
        });
        let netns = in_parts(&self.netns, most).map(|netns| Self {
            netns,
            ..Self::default()
        });
        let cgroups = in_parts(&self.cgroups, most).map(|cgroups| Self {
            cgroups,
            ..Self::default()
        });
        users.chain(netns).chain(cgroups).collect()
    }

    /// Adds later names, which win.
    #[doc(hidden)]
    pub fn extend(&mut self, later: Self) {
        self.users.extend(later.users);
        self.netns.extend(later.netns);
        self.cgroups.extend(later.cgroups);
    }
}

fn in_parts<K: Ord + Copy>(
    names: &BTreeMap<K, Text>,
    most: usize,
) -> impl Iterator<Item = BTreeMap<K, Text>> {
    let all: Vec<_> = names.iter().collect();
    let parts = all.len().div_ceil(most);
    (0..parts).map(move |part| {
        let names = all.iter().skip(part * most).take(most);
        names.map(|&(key, name)| (*key, name.clone())).collect()
    })
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
    pub kernel: Text,
    /// "fentry", "kprobe" or "mixed".
    pub attach: Text,
    /// Number of programs attached.
    pub hooks: u32,
    /// When this kernel counts a TIME_WAIT.
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
    /// Births were reported, and what was there when tracing began.
    #[serde(default)]
    pub births: bool,
    /// Calls that got no port were traced.
    #[serde(default)]
    pub ports: bool,
    /// Only ends that tell of a refusal or a reopen were reported.
    #[serde(default)]
    pub quiet_ends: bool,
    /// What the kernel hashes into its timestamps; `None` if BTF does not tell.
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
