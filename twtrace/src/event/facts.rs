//! What `doctor` reads: of the kernel, of this process, of each network namespace. No decisions.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{TsOffset, TwCountedAt};
use crate::text::Text;

/// Everything that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `uname -r`.
    pub kernel: Text,
    /// Since boot.
    pub uptime_s: u64,
    pub tracing: Tracing,
    /// Files that set `tcp_tw_recycle` at boot.
    pub recycle_files: Vec<Text>,
    /// Our own first.
    pub namespaces: Vec<Namespace>,
    pub unread: Unread,
}

/// Yes, no and why, or not known and why. EPERM is never a no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "why", rename_all = "kebab-case")]
pub enum Answer {
    Yes,
    No(Text),
    Unknown(Text),
}

/// What this kernel lets twtrace see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// Type information that has all the fields that are needed.
    pub btf: Answer,
    /// `bpf(2)` lets this process load programs.
    pub allowed: Answer,
    pub privileges: Privileges,
    pub points: Vec<Point>,
    pub features: Vec<Feature>,
    /// `None` if BTF does not tell.
    pub ts_offset: Option<TsOffset>,
    /// `None` if BTF does not tell.
    pub tw_counted_at: Option<TwCountedAt>,
}

/// What may stand in the way of tracing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges {
    /// Capabilities that tracing needs and this process lacks.
    pub missing: Vec<Text>,
    /// Of /sys/kernel/security/lockdown; `None` if the kernel has none.
    pub lockdown: Option<Text>,
    pub unprivileged_bpf_disabled: Option<i64>,
    pub perf_event_paranoid: Option<i64>,
}

/// A lifecycle point and how it would be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub name: Text,
    pub function: Text,
    #[serde(flatten)]
    pub answer: Answer,
    /// `fentry`, `kprobe` or `tracepoint`: the way that would be tried first of those that are not refused.
    pub way: Option<Text>,
    pub programs: Vec<Text>,
    /// The ways that were refused, and why.
    pub refused: Vec<Text>,
    /// What is lost without it; `None` if nothing works without it.
    pub without: Option<Text>,
}

/// Something that not every kernel has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    pub name: Text,
    #[serde(flatten)]
    pub answer: Answer,
    /// What it is good for.
    pub gives: Text,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Inode number.
    pub netns: u32,
    /// Those that this kernel has.
    pub sysctls: BTreeMap<Sysctl, Setting>,
    /// By name as in /proc/net/netstat (TcpExt) and /proc/net/snmp (Tcp).
    pub counters: BTreeMap<Text, u64>,
    /// When the counters were read, CLOCK_MONOTONIC ns.
    #[serde(default)]
    pub read_at_ns: u64,
    /// The counters a moment later; `None` if they were read only once.
    #[serde(default)]
    pub later: Option<Later>,
    /// Mini-sockets, FIN_WAIT2 included; `None` if it could not be read.
    pub population: Option<u64>,
    /// Full sockets in FIN_WAIT2; `None` if it could not be read.
    #[serde(default)]
    pub fin_wait_2: Option<FullFinWait2>,
    pub destinations: Destinations,
}

/// Full sockets in FIN_WAIT2: no mini-sockets, whose process may have them still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullFinWait2 {
    /// A process has them: it called shutdown(), and not close().
    pub held: u64,
    /// No process has them: `tcp_fin_timeout` is over 60 s, or the ACK came during close().
    pub orphans: u64,
    /// Of those held, how many have a holder that was found.
    pub named: u64,
    /// Those with the most sockets first, a few of them.
    pub holders: Vec<Holder>,
}

/// A process that holds sockets in FIN_WAIT2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub command: Text,
    pub sockets: u64,
}

/// A second reading of the counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    pub counters: BTreeMap<Text, u64>,
}

/// Where the local ports of a namespace went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destinations {
    /// The fullest first, a few of them.
    pub top: Vec<Destination>,
    /// How many there are.
    pub count: u64,
    /// Ports of the range that listeners and sockets that are only bound keep from connect():
    /// ranges with both ends.
    #[serde(default)]
    pub kept: Vec<(u16, u16)>,
    /// Why they are not known.
    pub unknown: Option<Text>,
}

/// Sockets with a local port of the ephemeral range, by what they share besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub laddr: IpAddr,
    pub raddr: IpAddr,
    pub rport: u16,
    /// Ports taken.
    pub ports: u32,
    /// Of them by mini-sockets in TIME_WAIT.
    pub time_wait: u32,
}

/// Namespaces that were found but not looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    pub count: u64,
    pub why: Option<Text>,
    /// There may be more, of processes that we may not look at.
    pub more: bool,
}

/// A setting below /proc/sys/net/ipv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sysctl {
    TcpTwReuse,
    TcpTwReuseDelay,
    TcpTwRecycle,
    TcpTimestamps,
    TcpMaxTwBuckets,
    TcpFinTimeout,
    TcpRfc1337,
    TcpInvalidRatelimit,
    IpLocalPortRange,
    IpLocalReservedPorts,
    IpLocalPortStepWidth,
    IpAutobindReuse,
    TcpSyncookies,
}

/// What a sysctl is set to, and what it is set to by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub value: Value,
    /// `None` if it depends on the machine, and the kernel does not tell.
    pub default: Option<Value>,
    /// Of the value: `s`, `ms` or empty.
    pub unit: Text,
}

/// A number, or ranges of ports with both ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Number(i64),
    Ports(Vec<(u16, u16)>),
}

impl Sysctl {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::TcpTwReuse,
        Self::TcpTwReuseDelay,
        Self::TcpTwRecycle,
        Self::TcpTimestamps,
        Self::TcpMaxTwBuckets,
        Self::TcpFinTimeout,
        Self::TcpRfc1337,
        Self::TcpInvalidRatelimit,
        Self::IpLocalPortRange,
        Self::IpLocalReservedPorts,
        Self::IpLocalPortStepWidth,
        Self::IpAutobindReuse,
        Self::TcpSyncookies,
    ];

    /// Its file below /proc/sys/net/ipv4.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpTwReuse => "tcp_tw_reuse",
            Self::TcpTwReuseDelay => "tcp_tw_reuse_delay",
            Self::TcpTwRecycle => "tcp_tw_recycle",
            Self::TcpTimestamps => "tcp_timestamps",
            Self::TcpMaxTwBuckets => "tcp_max_tw_buckets",
            Self::TcpFinTimeout => "tcp_fin_timeout",
            Self::TcpRfc1337 => "tcp_rfc1337",
            Self::TcpInvalidRatelimit => "tcp_invalid_ratelimit",
            Self::IpLocalPortRange => "ip_local_port_range",
            Self::IpLocalReservedPorts => "ip_local_reserved_ports",
            Self::IpLocalPortStepWidth => "ip_local_port_step_width",
            Self::IpAutobindReuse => "ip_autobind_reuse",
            Self::TcpSyncookies => "tcp_syncookies",
        }
    }
}

impl Namespace {
    /// The number that a sysctl is set to; `None` if this kernel does not have it.
    #[must_use]
    pub fn number(&self, sysctl: Sysctl) -> Option<i64> {
        match self.sysctls.get(&sysctl)?.value {
            Value::Number(number) => Some(number),
            Value::Ports(_) => None,
        }
    }

    /// The ports that a sysctl lists; none if this kernel does not have it.
    #[must_use]
    pub fn ports(&self, sysctl: Sysctl) -> &[(u16, u16)] {
        match self.sysctls.get(&sysctl).map(|setting| &setting.value) {
            Some(Value::Ports(ports)) => ports,
            _ => &[],
        }
    }

    /// A kernel counter; 0 if this kernel does not have it.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_has_one_name() {
        for sysctl in Sysctl::ALL {
            let json = serde_json::to_string(&sysctl).unwrap();
            assert_eq!(json, format!("\"{}\"", sysctl.name()));
        }
    }

    #[test]
    fn an_answer_says_why() {
        let json = serde_json::to_string(&Answer::No("5.10".into())).unwrap();
        assert_eq!(json, r#"{"answer":"no","why":"5.10"}"#);
        let back: Answer = serde_json::from_str(r#"{"answer":"yes"}"#).unwrap();
        assert_eq!(back, Answer::Yes);
    }
}
