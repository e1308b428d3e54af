//! The same with refusals.

use twtrace_common::refusal::{Class, Skipped};
use twtrace_common::tcp::SYN;

use super::*;
use crate::check::life::{Crowd, Rejection, Said};
use crate::event::{Numbers, Refusal, Reply, Rule, Stage};

const NUMBERS: Numbers = Numbers {
    tsval: Some(100),
    ts_recent: Some(200),
    seq: 7,
    rcv_nxt: 9,
};

fn refusal() -> Refusal {
    Refusal {
        flow: flow(4000),
        at_ns: 10 * SECOND,
        time_wait_ns: Some(3 * SECOND),
        stage: Stage::TimeWait,
        rule: Rule::Paws,
        reply: Some(Reply::RateLimited),
        rearmed: true,
        tcp_flags: SYN,
        numbers: NUMBERS,
        ts_recent_age_s: Some(6),
        window: 1000,
        ttl: Some(63),
        owner_ttl: Some(64),
        refused: 1,
    }
}

fn rejection() -> Rejection {
    Rejection {
        local: address(4000),
        remote: address(443),
        at: window(9, 11),
        stage: Stage::TimeWait,
        rule: Rule::Paws,
        reply: Some(Reply::RateLimited),
        rearmed: true,
        refused: 1,
        said: Some(Said {
            numbers: NUMBERS,
            tcp_flags: SYN,
            window: 1000,
            ttl: 63,
            owner_ttl: Some(64),
        }),
    }
}

/// The life refused a SYN.
fn refused() -> Case {
    let mut case = Case::honest();
    case.made.rejections = vec![rejection()];
    let life = &mut case.made.lives[0];
    (life.refused, life.rearms) = (1, 1);
    life.first_refused = Some(window(9, 11));
    let end = case.end();
    (end.refused, end.rearms) = (1, 1);
    end.first_refused_ns = Some(10 * SECOND);
    case.events.push(Event::Refusal(refusal()));
    case.counters.rearmed = 1;
    case.counters.refused[Class::TimeWaitPaws as usize] = 1;
    case.counters.refused_syns = 1;
    case.counters.skipped[Skipped::TimeWait as usize] = 1;
    for name in ["PAWSEstab", "TCPACKSkippedTimeWait"] {
        case.kernel.tcp_ext.insert(name.into(), 1);
    }
    case
}

/// The same, as if nobody had known of the single refusal.
fn crowd() -> Case {
    let mut case = refused();
    case.made.rejections.clear();
    case.made.crowd = Some(Crowd {
        syns: 1..=1,
        rules: &[Rule::Paws],
        by_ports: false,
    });
    case
}

fn told(case: &mut Case) -> &mut Refusal {
    match case.events.last_mut() {
        Some(Event::Refusal(refusal)) => refusal,
        _ => unreachable!("the last event is a refusal"),
    }
}

fn found(mut case: Case, lies: &[Lie<Case>]) {
    assert_eq!(case.judge(), Vec::<String>::new());
    for (what, lie) in lies {
        lie(&mut case);
        case.complains(what);
    }
}

#[test]
fn every_lie_about_a_refusal_is_found() {
    let lies: &[Lie<Refusal>] = &[
        ("stage", |one| one.stage = Stage::FinWait2),
        ("rule", |one| one.rule = Rule::OldSequence),
        ("reply", |one| one.reply = Some(Reply::Ack)),
        ("re-armed", |one| one.rearmed = false),
        ("refused so far", |one| one.refused = 2),
        ("TSval", |one| one.numbers.tsval = None),
        ("ts_recent", |one| one.numbers.ts_recent = Some(201)),
        ("gap", |one| one.numbers.ts_recent = None),
        ("sequence number", |one| one.numbers.seq = 8),
        ("rcv_nxt", |one| one.numbers.rcv_nxt = 8),
        ("TCP flags", |one| one.tcp_flags = SYN | 1),
        ("window", |one| one.window = 1001),
        ("TTL", |one| one.ttl = Some(64)),
        ("TTL of the owner", |one| one.owner_ttl = None),
        ("too early", |one| one.at_ns = SECOND),
        ("ts_recent", |one| one.ts_recent_age_s = Some(1_000)),
        ("netns", |one| one.flow.netns = 1),
        ("no scenario sent it", |one| one.flow.lport = 4001),
    ];
    for (what, lie) in lies {
        let mut case = refused();
        lie(told(&mut case));
        case.complains(what);
    }
}

#[test]
fn a_refusal_is_in_the_end_the_totals_and_the_kernels_counters() {
    found(
        refused(),
        &[
            ("first", |case| case.end().first_refused_ns = None),
            ("SYNs refused, by the ends", |case| case.end().refused = 0),
            ("SYNs refused", |case| case.counters.refused_syns = 2),
            ("time-wait by paws", |case| {
                case.counters.refused = Counters::ZERO.refused;
            }),
            ("verdicts that differ", |case| {
                case.counters.verdict_differs = 1;
            }),
            ("lost by the ring", |case| {
                case.counters.refusal_ring_full = 1;
            }),
            ("not reported", |case| case.counters.refusal_limited = 1),
            ("the kernel's TCPACKSkippedTimeWait", |case| {
                case.kernel.tcp_ext.remove("TCPACKSkippedTimeWait");
            }),
        ],
    );
}

#[test]
fn each_kernel_counts_paws_in_its_own_place() {
    let mut case = refused();
    case.kernel.tcp_ext.insert("PAWSTimewait".into(), 1);
    assert!(case.judge()[0].contains("the kernel's PAWSEstab"));
    case.kernel.tcp_ext.insert("PAWSEstab".into(), 0);
    assert_eq!(case.judge(), Vec::<String>::new());
}

#[test]
fn a_crowd_is_known_by_its_kinds() {
    found(
        crowd(),
        &[
            ("1 SYNs were refused", |case| {
                case.made.crowd = Some(Crowd {
                    syns: 2..=9,
                    rules: &[Rule::Paws, Rule::Rfc1337],
                    by_ports: false,
                });
            }),
            ("nothing was refused by rfc1337", |_| {}),
            ("unexpected", |case| {
                told(case).numbers.tsval = Some(300);
            }),
        ],
    );
}

#[test]
fn where_ports_make_no_clock_nothing_is_refused() {
    let mut case = crowd();
    case.ts_offset = Some(TsOffset::Addresses);
    if let Some(crowd) = &mut case.made.crowd {
        crowd.by_ports = true;
    }
    assert!(case.judge()[0].contains("1 SYNs were refused, not 0..=0"));
    // What a FIN has overtaken is no opening.
    told(&mut case).tcp_flags = 16;
    case.counters.refused_syns = 0;
    case.end().refused = 0;
    assert_eq!(case.judge(), Vec::<String>::new());
}
