//! Events and facts for unit tests: each test changes what it is about, and leaves the rest.

use std::net::Ipv4Addr;

use twtrace_common::counters::Counters;
use twtrace_common::histogram::TOTAL_BUCKETS;

use super::{Birth, BornAs, End, Family, Flow, Meta, Reason, Snapshot, TwCountedAt};

impl Meta {
    /// Of a trace by fentry that had nothing but ends.
    pub(crate) fn sample() -> Self {
        Self {
            kernel: "6.18.0".into(),
            attach: "fentry".into(),
            hooks: 13,
            tw_counted_at: TwCountedAt::Birth,
            wall_offset_ns: 0,
            started_ns: 0,
            filtered: false,
            rearms: false,
            refusals: false,
            drops: false,
            births: false,
            ports: false,
            quiet_ends: false,
            ts_offset: None,
        }
    }
}

impl Flow {
    /// 10.0.0.5:443 to 10.0.0.30:40000 in namespace 7, of nobody.
    pub(crate) fn sample() -> Self {
        Self {
            family: Family::Ipv4,
            laddr: Ipv4Addr::new(10, 0, 0, 5).into(),
            lport: 443,
            raddr: Ipv4Addr::new(10, 0, 0, 30).into(),
            rport: 40_000,
            netns: 7,
            uid: None,
            cgroup: None,
        }
    }
}

impl End {
    /// Of a mini-socket that was born in TIME_WAIT at 1 s and expired at 61 s.
    pub(crate) fn sample(flow: Flow) -> Self {
        Self {
            flow,
            reason: Reason::Expired,
            born_as: Some(BornAs::TimeWait),
            born_ns: Some(1_000_000_000),
            time_wait_ns: Some(1_000_000_000),
            ended_ns: 61_000_000_000,
            in_time_wait: true,
            rearms: 0,
            untracked: false,
            refused: 0,
            first_refused_ns: None,
            accepted: None,
        }
    }
}

impl Birth {
    /// In TIME_WAIT.
    pub(crate) fn sample(flow: Flow, at_ns: u64) -> Self {
        Self {
            flow,
            born_as: BornAs::TimeWait,
            at_ns,
        }
    }
}

impl Snapshot {
    /// Of one namespace, in which nothing was counted but what `change` says.
    pub(crate) fn sample(netns: u32, at_ns: u64, change: impl FnOnce(&mut Counters)) -> Self {
        let mut counters = Counters {
            netns,
            ..Counters::ZERO
        };
        change(&mut counters);
        Self {
            at_ns,
            counters: vec![counters],
            histograms: vec![0; TOTAL_BUCKETS],
            missed: Some(0),
            ..Self::default()
        }
    }
}
