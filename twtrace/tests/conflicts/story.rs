//! The recording: what happened, and what the kernel side counted of it.

use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::path::Path;

use twtrace::event::{KernelCounters, Meta, Snapshot, TsOffset};
use twtrace::recording::Writer;
use twtrace_common::Reason;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS};
use twtrace_common::record::{
    self, AF_INET, AF_INET6, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_NUMBERS, FLAG_REARMED,
    FLAG_TS_RECENT, FLAG_TSVAL, KIND_END, KIND_REFUSAL,
};
use twtrace_common::refusal::{Class, REPLY_UNKNOWN, Reply, Rule, Skipped, Stage};
use twtrace_common::tcp::{ACK, PSH, RST, SYN};

use super::support::{HOST, MS, S, STARTED, put};

const PSH_ACK: u8 = PSH | ACK;

/// Of one remote address and port.
#[derive(Clone, Copy)]
pub(crate) struct Whose {
    pub(crate) raddr: &'static str,
    pub(crate) rport: u16,
    /// After the start of the trace.
    pub(crate) time_wait: u64,
}

/// A segment and what it met.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) stage: Stage,
    pub(crate) rule: Rule,
    pub(crate) reply: u8,
    pub(crate) flags: u8,
    pub(crate) gap: Option<i32>,
    pub(crate) seq_gap: i32,
    pub(crate) ttl: [u8; 2],
    pub(crate) window: u16,
    pub(crate) rearmed: bool,
    pub(crate) nth: u32,
}

pub(crate) const PAWS: Refusal = Refusal {
    stage: Stage::TimeWait,
    rule: Rule::Paws,
    reply: Reply::Ack as u8,
    flags: SYN,
    gap: None,
    seq_gap: 5_000,
    ttl: [63, 63],
    window: 64_240,
    rearmed: true,
    nth: 1,
};

/// A SYN of the earlier connection, delayed in the network.
pub(crate) const DUPLICATE: Refusal = Refusal {
    rule: Rule::OldSequence,
    gap: Some(0),
    seq_gap: -12_345,
    rearmed: false,
    ..PAWS
};

const TS_RECENT: u32 = 3_000_000_000;
const RCV_NXT: u32 = 70_000;

fn flow(bytes: &mut [u8], whose: Whose, kind: u8, reason: u8, flags: u8) {
    let raddr: IpAddr = whose.raddr.parse().unwrap();
    bytes[0] = kind;
    bytes[offset_of!(record::Flow, reason)] = reason;
    bytes[offset_of!(record::Flow, flags)] = flags;
    let (laddr_at, raddr_at) = (
        offset_of!(record::Flow, laddr),
        offset_of!(record::Flow, raddr),
    );
    match raddr {
        IpAddr::V4(raddr) => {
            bytes[offset_of!(record::Flow, family)] = AF_INET;
            put(bytes, laddr_at, &[10, 0, 0, 5]);
            put(bytes, raddr_at, &raddr.octets());
        }
        IpAddr::V6(raddr) => {
            bytes[offset_of!(record::Flow, family)] = AF_INET6;
            put(
                bytes,
                laddr_at,
                &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5],
            );
            put(bytes, raddr_at, &raddr.octets());
        }
    }
    put(
        bytes,
        offset_of!(record::Flow, lport),
        &443_u16.to_ne_bytes(),
    );
    put(
        bytes,
        offset_of!(record::Flow, rport),
        &whose.rport.to_ne_bytes(),
    );
    put(bytes, offset_of!(record::Flow, netns), &HOST.to_ne_bytes());
}

/// A record, and when it was made.
pub(crate) type Made = (u64, Vec<u8>);

pub(crate) fn refusal(whose: Whose, at: u64, refusal: Refusal) -> Made {
    let mut bytes = vec![0; size_of::<record::Refusal>()];
    let timestamps = refusal.gap.map_or(0, |_| FLAG_TSVAL | FLAG_TS_RECENT);
    let rearmed = if refusal.rearmed { FLAG_REARMED } else { 0 };
    flow(
        &mut bytes,
        whose,
        KIND_REFUSAL,
        refusal.stage as u8,
        timestamps | rearmed,
    );
    let in_time_wait = refusal.stage == Stage::TimeWait;
    let time_wait = if in_time_wait {
        STARTED + whose.time_wait
    } else {
        0
    };
    for (offset, ns) in [
        (offset_of!(record::Refusal, at_ns), STARTED + at),
        (offset_of!(record::Refusal, time_wait_ns), time_wait),
    ] {
        put(&mut bytes, offset, &ns.to_ne_bytes());
    }
    let tsval = TS_RECENT.wrapping_add_signed(refusal.gap.unwrap_or(0));
    let age_s = (at - whose.time_wait) / S;
    for (offset, value) in [
        (offset_of!(record::Refusal, tsval), tsval),
        (offset_of!(record::Refusal, ts_recent), TS_RECENT),
        (offset_of!(record::Refusal, ts_recent_age_s), age_s as u32),
        (
            offset_of!(record::Refusal, seq),
            RCV_NXT.wrapping_add_signed(refusal.seq_gap),
        ),
        (offset_of!(record::Refusal, rcv_nxt), RCV_NXT),
        (offset_of!(record::Refusal, refused), refusal.nth),
    ] {
        put(&mut bytes, offset, &value.to_ne_bytes());
    }
    put(
        &mut bytes,
        offset_of!(record::Refusal, window),
        &refusal.window.to_ne_bytes(),
    );
    for (offset, value) in [
        (offset_of!(record::Refusal, rule), refusal.rule as u8),
        (offset_of!(record::Refusal, reply), refusal.reply),
        (offset_of!(record::Refusal, tcp_flags), refusal.flags),
        (offset_of!(record::Refusal, ttl), refusal.ttl[0]),
        (offset_of!(record::Refusal, owner_ttl), refusal.ttl[1]),
    ] {
        bytes[offset] = value;
    }
    (at, bytes)
}

/// `refused`: how many SYNs, and when the first. `gap`: of the SYN that was accepted.
pub(crate) fn end(
    whose: Whose,
    at: u64,
    reason: Reason,
    refused: (u32, u64),
    gap: Option<i32>,
) -> Made {
    let mut bytes = vec![0; size_of::<record::End>()];
    let numbers = gap.map_or(0, |_| FLAG_NUMBERS | FLAG_TSVAL | FLAG_TS_RECENT);
    let flags = FLAG_BORN_FIN_WAIT_2 | FLAG_IN_TIME_WAIT | numbers;
    flow(&mut bytes, whose, KIND_END, reason as u8, flags);
    let first = if refused.0 == 0 {
        0
    } else {
        STARTED + refused.1
    };
    for (offset, ns) in [
        (
            offset_of!(record::End, born_ns),
            STARTED + whose.time_wait - MS,
        ),
        (
            offset_of!(record::End, time_wait_ns),
            STARTED + whose.time_wait,
        ),
        (offset_of!(record::End, ended_ns), STARTED + at),
        (offset_of!(record::End, first_refused_ns), first),
    ] {
        put(&mut bytes, offset, &ns.to_ne_bytes());
    }
    for (offset, value) in [
        (offset_of!(record::End, refused), refused.0),
        (
            offset_of!(record::End, tsval),
            TS_RECENT.wrapping_add_signed(gap.unwrap_or(0)),
        ),
        (offset_of!(record::End, ts_recent), TS_RECENT),
        (offset_of!(record::End, seq), RCV_NXT + 9_000),
        (offset_of!(record::End, rcv_nxt), RCV_NXT),
    ] {
        put(&mut bytes, offset, &value.to_ne_bytes());
    }
    (at, bytes)
}

/// One host behind `MASQUERADE --random-fully`, on a kernel with a clock per port.
fn random_ports(made: &mut Vec<Made>) {
    let whose = |rport, at| Whose {
        raddr: "203.0.113.7",
        rport,
        time_wait: at - 800 * MS,
    };
    let gaps = [
        -552_395_288,
        -1_204_118_007,
        -77_002_351,
        -1_990_440_812,
        -310_900_441,
    ];
    for (n, gap) in gaps.into_iter().enumerate() {
        let n = n as u64;
        let at = (2 + 3 * n) * S;
        let whose = whose(30_011 + n as u16, at);
        let seq_gap = if n.is_multiple_of(2) {
            91_006_112
        } else {
            -550_317
        };
        made.push(refusal(
            whose,
            at,
            Refusal {
                gap: Some(gap),
                seq_gap,
                ..PAWS
            },
        ));
        let recovered = at + (12 + n) * MS;
        made.push(end(whose, recovered, Reason::Reset, (1, at), None));
    }
    for (rport, gap) in [(31_000, 1_412_007_155), (31_001, 88_120_400)] {
        let at = u64::from(rport - 30_995) * S;
        made.push(end(
            whose(rport, at),
            at,
            Reason::SynReopened,
            (0, 0),
            Some(gap),
        ));
    }
    // Something ate the ACK, so it sent its SYN again and again until another clock was ahead.
    let (at, whose) = (20 * S, whose(30_500, 20 * S));
    let retries = [(0, Reply::Ack), (1_040, Reply::Ack), (3_100, Reply::Ack)];
    for (n, (later, reply)) in retries.into_iter().enumerate() {
        let again = Refusal {
            gap: Some(-640_000_111 + later),
            reply: reply as u8,
            nth: n as u32 + 1,
            ..PAWS
        };
        made.push(refusal(whose, at + later as u64 * MS, again));
    }
    // The record of the fourth was left out.
    made.push(end(
        whose,
        at + 9_300 * MS,
        Reason::SynReopened,
        (4, at),
        Some(1_100),
    ));
}

/// Two hosts with a clock each, and tcp_rfc1337 on this side of a third.
fn two_hosts(made: &mut Vec<Made>) {
    for (n, later) in [(0_u64, 0), (1, 4_000), (2, 45_000)] {
        let at = 30 * S + later * MS;
        let whose = Whose {
            raddr: "198.51.100.20",
            rport: 50_000 + n as u16,
            time_wait: at - 2 * S,
        };
        let behind = Refusal {
            gap: Some(-9_000_000 + 2_000),
            ttl: [57, 63],
            ..PAWS
        };
        made.push(refusal(whose, at, behind));
        made.push(end(whose, at + 20 * MS, Reason::Reset, (1, at), None));
    }
    let whose = Whose {
        raddr: "192.0.2.9",
        rport: 40_001,
        time_wait: 49 * S,
    };
    for (n, later) in [(1, 0), (2, 1_000), (3, 3_000)] {
        let at = 50 * S + later * MS;
        let reply = if n == 1 {
            Reply::Ack
        } else {
            Reply::RateLimited
        };
        let syn = Refusal {
            gap: Some(-700),
            reply: reply as u8,
            nth: n,
            ..PAWS
        };
        made.push(refusal(whose, at, syn));
        let rst = Refusal {
            rule: Rule::Rfc1337,
            reply: Reply::None as u8,
            flags: RST,
            seq_gap: 0,
            gap: None,
            rearmed: false,
            window: 0,
            ..syn
        };
        made.push(refusal(whose, at + 2 * MS, rst));
    }
}

/// What is refused elsewhere, and an old duplicate over IPv6.
fn others(made: &mut Vec<Made>) {
    let whose = Whose {
        raddr: "2001:db8::77",
        rport: 1_025,
        time_wait: 60 * S,
    };
    made.push(refusal(whose, 61 * S, DUPLICATE));
    made.push(end(whose, 121 * S, Reason::Expired, (1, 61 * S), None));
    let whose = Whose {
        raddr: "10.0.0.9",
        rport: 41_822,
        time_wait: 70 * S,
    };
    let elsewhere = Refusal {
        ttl: [64, 0],
        rearmed: false,
        nth: 0,
        ..PAWS
    };
    let all = [
        (
            Stage::Established,
            Rule::Challenge,
            REPLY_UNKNOWN,
            SYN,
            None,
            77,
        ),
        (
            Stage::Established,
            Rule::Paws,
            Reply::Ack as u8,
            PSH_ACK,
            Some(-4_000),
            -1_448,
        ),
        (
            Stage::SynRecv,
            Rule::Echo,
            Reply::Ack as u8,
            ACK,
            Some(3),
            1,
        ),
        (
            Stage::SynSent,
            Rule::Echo,
            Reply::Rst as u8,
            SYN | ACK,
            None,
            0,
        ),
        (
            Stage::FinWait2,
            Rule::Unexpected,
            Reply::Rst as u8,
            PSH_ACK,
            Some(3),
            0,
        ),
        (
            Stage::TimeWait,
            Rule::OutOfWindow,
            Reply::Ack as u8,
            ACK,
            Some(3),
            70_000,
        ),
        (
            Stage::TimeWait,
            Rule::OldSequence,
            Reply::Ack as u8,
            SYN,
            None,
            0,
        ),
    ];
    for (n, (stage, rule, reply, flags, gap, seq_gap)) in all.into_iter().enumerate() {
        let one = Refusal {
            stage,
            rule,
            reply,
            flags,
            gap,
            seq_gap,
            ..elsewhere
        };
        made.push(refusal(whose, (71 + n as u64) * S, one));
    }
}

fn records() -> Vec<Made> {
    let mut made = Vec::new();
    random_ports(&mut made);
    two_hosts(&mut made);
    others(&mut made);
    made.sort_by_key(|&(at, _)| at);
    made
}

pub(crate) fn meta() -> Meta {
    Meta {
        kernel: "6.12.107-golden".into(),
        hooks: 15,
        refusals: true,
        quiet_ends: true,
        ts_offset: Some(TsOffset::Ports),
        ..super::support::meta()
    }
}

pub(crate) fn kernel(names: &[(&str, u64)]) -> KernelCounters {
    KernelCounters {
        netns: HOST,
        cookie: None,
        tcp_ext: names
            .iter()
            .map(|&(name, value)| (name.into(), value))
            .collect(),
    }
}

pub(crate) fn snapshot(at_ns: u64, counters: Vec<Counters>, kernel: KernelCounters) -> Snapshot {
    Snapshot {
        at_ns,
        counters,
        histograms: vec![0; twtrace_common::REASONS * CLOCKS * BUCKETS],
        missed: Some(0),
        kernel: vec![kernel],
        slack: 0,
    }
}

/// Before the first and after the last event. Two refusals were beyond the rate, and one did not
/// fit the ring; the kernel counted a RST in SYN_RECV, too.
fn totals() -> [Snapshot; 2] {
    let mut counters = Counters {
        netns: HOST,
        born_fin_wait_2: 40,
        promoted: 40,
        ..Counters::ZERO
    };
    let mut in_time_wait = 0;
    for (_, bytes) in records() {
        let kind = bytes[0];
        let reason = bytes[offset_of!(record::Flow, reason)];
        if kind == KIND_END {
            counters.ended[usize::from(reason)] += 1;
            continue;
        }
        let rule = bytes[offset_of!(record::Refusal, rule)];
        let paws = rule == Rule::Paws as u8;
        let class = match Stage::from_u8(reason).unwrap() {
            Stage::TimeWait if paws => Class::TimeWaitPaws,
            Stage::TimeWait => Class::TimeWaitOther,
            Stage::FinWait2 => Class::FinWait2Other,
            Stage::SynRecv => Class::SynRecvOther,
            Stage::Established if paws => Class::EstablishedPaws,
            Stage::Established => Class::EstablishedChallenge,
            Stage::SynSent | Stage::Recycle => Class::SynSent,
        };
        counters.refused[class as usize] += 1;
        in_time_wait += u64::from(class == Class::TimeWaitPaws);
        if bytes[offset_of!(record::Refusal, reply)] == Reply::RateLimited as u8 {
            counters.skipped[Skipped::TimeWait as usize] += 1;
        }
    }
    counters.refused[Class::TimeWaitPaws as usize] += 3;
    counters.refused_syns = 16;
    counters.refusal_limited = 2;
    counters.refusal_ring_full = 1;
    counters.ended[Reason::Expired as usize] += 12;
    counters.end_quiet = 12;
    let before = [
        ("TW", 100),
        ("TWKilled", 0),
        ("TWRecycled", 4),
        ("TCPTimeWaitOverflow", 0),
        ("PAWSEstab", 7),
        ("TCPACKSkippedTimeWait", 1),
    ];
    let mut after = before;
    after[0].1 += 40;
    after[4].1 += in_time_wait + 3 + 1 + 1;
    after[5].1 += 2;
    [
        snapshot(STARTED + MS, Vec::new(), kernel(&before)),
        snapshot(STARTED + 130 * S, vec![counters], kernel(&after)),
    ]
}

pub(crate) fn record_to(path: &Path) {
    let mut writer = Writer::create(path, &meta()).unwrap();
    let [first, last] = totals();
    writer.snapshot(&first).unwrap();
    for (_, record) in records() {
        writer.record(&record).unwrap();
    }
    writer.snapshot(&last).unwrap();
    writer.finish().unwrap();
}
