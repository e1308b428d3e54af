//! A case where everything fits, and one lie at a time.

mod ports;
mod refusals;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::check::life::{Life, Refused, TIME_WAIT_LASTS, Window};
use crate::event::{BornAs, Flow, Reason, Room};

const NETNS: u32 = 4_026_532_200;
const UID: u32 = 10_007;
const COMMAND: &str = "port-exhausted-";
const CGROUP: u64 = 1;
const SECOND: u64 = 1_000_000_000;
const FULL: Room = Room { alive: 5, limit: 5 };

/// What must be complained about, and what makes it so.
type Lie<T> = (&'static str, fn(&mut T));

/// Evidence that can be tampered with.
struct Case {
    made: Made,
    kernel: KernelCounters,
    left: usize,
    events: Vec<Event>,
    counters: Counters,
    shared: Option<Counters>,
    counted_at: TwCountedAt,
    ts_offset: Option<TsOffset>,
    has_stamp: bool,
}

impl Case {
    /// One life that expired after FIN_WAIT2, and one overflow.
    fn honest() -> Self {
        let counters = Counters {
            netns: NETNS,
            born_fin_wait_2: 1,
            promoted: 1,
            overflowed: 1,
            ended: ended(Reason::Expired),
            ..Counters::ZERO
        };
        let tcp_ext = [("TW".into(), 1), ("TCPTimeWaitOverflow".into(), 1)];
        Self {
            made: Made {
                lives: vec![life()],
                overflows: vec![Refused {
                    local: address(5000),
                    remote: address(443),
                    at: window(1, 2),
                    room: FULL,
                }],
                ..Made::default()
            },
            kernel: KernelCounters {
                netns: NETNS,
                cookie: None,
                tcp_ext: tcp_ext.into(),
            },
            left: 0,
            events: vec![
                Event::End(end()),
                Event::Overflow(Overflow {
                    flow: flow(5000),
                    at_ns: SECOND,
                    room: Some(FULL),
                }),
                Event::Birth(birth(4000)),
            ],
            counters,
            shared: None,
            counted_at: TwCountedAt::Birth,
            ts_offset: Some(TsOffset::Ports),
            has_stamp: true,
        }
    }

    /// It is judged to be wrong, and the judge says so by that word.
    fn complains(&self, what: &str) {
        let failures = self.judge();
        assert!(
            failures.iter().any(|one| one.contains(what)),
            "{what}: {failures:?}"
        );
    }

    fn judge(&self) -> Vec<String> {
        judge(&Evidence {
            family: Family::Ipv4,
            uid: UID,
            command: COMMAND,
            cgroup: Some(CGROUP),
            netns: NETNS,
            made: &self.made,
            kernel: &self.kernel,
            left: self.left,
            events: &self.events,
            counters: Some(&self.counters),
            shared: self.shared.as_ref(),
            counted_at: self.counted_at,
            ts_offset: self.ts_offset,
            has_stamp: self.has_stamp,
        })
    }

    fn end(&mut self) -> &mut End {
        match &mut self.events[0] {
            Event::End(end) => end,
            _ => unreachable!("the first event is an end"),
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn window(from: u64, to: u64) -> Window {
    Window {
        from: from * SECOND,
        to: to * SECOND,
    }
}

fn flow(lport: u16) -> Flow {
    Flow {
        laddr: address(0).ip(),
        lport,
        raddr: address(0).ip(),
        rport: 443,
        netns: NETNS,
        uid: Some(UID),
        cgroup: Some(CGROUP),
        ..Flow::sample()
    }
}

fn life() -> Life {
    Life {
        local: address(4000),
        remote: address(443),
        born_as: BornAs::FinWait2,
        born: window(1, 2),
        preexisting: false,
        promoted: true,
        time_wait: Some(window(3, 4)),
        reason: Reason::Expired,
        ended: window(60, 70),
        rearms: 0,
        fin_wait_2_lasts: Duration::from_secs(1)..Duration::from_secs(3),
        time_wait_lasts: TIME_WAIT_LASTS,
        refused: 0,
        first_refused: None,
        accepted: None,
    }
}

fn end() -> End {
    End {
        born_as: Some(BornAs::FinWait2),
        born_ns: Some(SECOND),
        time_wait_ns: Some(3 * SECOND),
        ended_ns: 64 * SECOND,
        ..End::sample(flow(4000))
    }
}

/// Of [`end`].
fn birth(lport: u16) -> Birth {
    Birth {
        born_as: BornAs::FinWait2,
        ..Birth::sample(flow(lport), SECOND)
    }
}

fn ended(reason: Reason) -> [u64; twtrace_common::REASONS] {
    Reason::ALL.map(|one| u64::from(one == reason))
}

#[test]
fn an_honest_case_passes() {
    assert_eq!(Case::honest().judge(), Vec::<String>::new());
}

#[test]
fn every_lie_about_an_end_is_found() {
    let lies: &[Lie<End>] = &[
        ("reason", |end| end.reason = Reason::Other),
        ("born as", |end| end.born_as = Some(BornAs::TimeWait)),
        ("no birth", |end| end.born_ns = None),
        ("born", |end| end.born_ns = Some(SECOND * 5 / 2)),
        ("time of TIME_WAIT", |end| end.time_wait_ns = None),
        ("entered TIME_WAIT", |end| {
            end.time_wait_ns = Some(5 * SECOND);
        }),
        ("was in TIME_WAIT", |end| end.ended_ns = 61 * SECOND),
        ("ended", |end| end.ended_ns = 71 * SECOND),
        ("re-arms", |end| end.rearms = 1),
        ("untracked", |end| end.untracked = true),
        ("uid", |end| end.flow.uid = None),
        ("cgroup", |end| end.flow.cgroup = None),
        ("cgroup", |end| end.flow.cgroup = Some(CGROUP + 1)),
        ("family", |end| end.flow.family = Family::Ipv4Mapped),
    ];
    for (what, lie) in lies {
        let mut case = Case::honest();
        lie(case.end());
        case.complains(what);
    }
}

#[test]
fn an_end_is_reported_once_and_only_if_it_was_made() {
    let mut case = Case::honest();
    case.events.push(Event::End(end()));
    assert!(case.judge()[0].contains("reported 2 times"));
    case.events.clear();
    assert!(case.judge()[0].contains("not reported"));
    let mut case = Case::honest();
    case.events.push(Event::End(End {
        flow: flow(4001),
        ..end()
    }));
    assert!(case.judge()[0].contains("no scenario made it"));
}

#[test]
fn every_wrong_sum_is_found() {
    let lies: &[Lie<Case>] = &[
        ("born in FIN_WAIT2", |case| {
            case.counters.born_fin_wait_2 = 2;
        }),
        ("born in TIME_WAIT", |case| case.counters.born_time_wait = 1),
        ("promoted", |case| case.counters.promoted = 0),
        ("re-armed", |case| case.counters.rearmed = 1),
        ("overflowed", |case| case.counters.overflowed = 0),
        ("untracked", |case| case.counters.end_untracked = 1),
        ("total expired", |case| {
            case.counters.ended = ended(Reason::Other);
        }),
        ("lost by the ring", |case| case.counters.end_ring_full = 1),
        ("socket table", |case| case.left = 1),
        ("the kernel's TW + TWKilled", |case| {
            case.kernel.tcp_ext.insert("TWKilled".into(), 1);
        }),
    ];
    for (what, lie) in lies {
        let mut case = Case::honest();
        lie(&mut case);
        case.complains(what);
    }
}

#[test]
fn an_overflow_tells_how_many_there_were_and_the_limit() {
    for lie in [None, Some(Room { alive: 4, limit: 5 })] {
        let mut case = Case::honest();
        for event in &mut case.events {
            if let Event::Overflow(one) = event {
                one.room = lie;
            }
        }
        let complaints = case.judge();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("met"), "{complaints:?}");
    }
}

#[test]
fn an_overflow_is_reported_once() {
    let mut case = Case::honest();
    case.events
        .retain(|event| !matches!(event, Event::Overflow(_)));
    let failures = case.judge();
    assert!(failures[0].contains("reported 0 times"), "{failures:?}");
}

#[test]
fn old_kernels_count_only_timers_that_fired() {
    let mut case = Case::honest();
    case.counted_at = TwCountedAt::Expiry;
    assert_eq!(case.judge(), Vec::<String>::new());
    case.made.lives[0].reason = Reason::Reset;
    assert!(
        case.judge()
            .iter()
            .any(|one| one.contains("the kernel's TW + TWKilled: 1, expected 0"))
    );
}

#[test]
fn sockets_made_in_another_cgroup_belong_there() {
    let mut case = Case::honest();
    case.made.cgroup = Some(77);
    assert_eq!(
        case.judge()
            .iter()
            .filter(|one| one.contains(" cgroup: Some(1), expected"))
            .count(),
        2
    );
    for event in &mut case.events {
        match event {
            Event::End(end) => end.flow.cgroup = Some(77),
            Event::Overflow(one) => one.flow.cgroup = Some(77),
            Event::Birth(one) => one.flow.cgroup = Some(77),
            _ => {}
        }
    }
    assert_eq!(case.judge(), Vec::<String>::new());
}

/// A life from before tracing, as a kernel with or without `tw_entry_stamp` lets us report it.
fn preexisting(has_stamp: bool) -> Case {
    let mut case = Case {
        has_stamp,
        ..Case::honest()
    };
    let life = &mut case.made.lives[0];
    (life.preexisting, life.promoted) = (true, false);
    let end = case.end();
    (end.untracked, end.born_as, end.born_ns) = (true, None, None);
    (end.flow.uid, end.flow.cgroup) = (None, None);
    if !has_stamp {
        end.time_wait_ns = None;
    }
    case.events
        .retain(|event| !matches!(event, Event::Birth(_)));
    case.counters = Counters {
        born_fin_wait_2: 0,
        promoted: 0,
        end_untracked: 1,
        ..case.counters
    };
    case
}

#[test]
fn an_old_age_is_true_or_unknown() {
    for has_stamp in [true, false] {
        assert_eq!(preexisting(has_stamp).judge(), Vec::<String>::new());
    }
    let mut case = preexisting(true);
    case.end().time_wait_ns = None;
    assert!(case.judge()[0].contains("has no age"));
    let mut case = preexisting(false);
    case.end().time_wait_ns = Some(10 * SECOND);
    assert!(case.judge()[0].contains("entered TIME_WAIT"));
    let mut case = preexisting(true);
    case.end().born_ns = Some(10 * SECOND);
    assert!(case.judge()[0].contains("born"));
}

/// Three connections, two of which ended before their namespace did.
fn churn() -> Case {
    let mut counters = Counters {
        netns: NETNS,
        born_fin_wait_2: 3,
        promoted: 3,
        ..Counters::ZERO
    };
    counters.ended[Reason::Reset as usize] = 2;
    counters.ended[Reason::NetnsExit as usize] = 1;
    let end = |lport, reason| {
        Event::End(End {
            flow: flow(lport),
            reason,
            ..end()
        })
    };
    Case {
        made: Made {
            churned: 3,
            ..Made::default()
        },
        kernel: KernelCounters {
            netns: NETNS,
            cookie: None,
            tcp_ext: [("TW".into(), 3)].into(),
        },
        left: 1,
        events: vec![
            end(4000, Reason::Reset),
            end(4001, Reason::Reset),
            end(4002, Reason::NetnsExit),
            Event::Birth(birth(4000)),
            Event::Birth(birth(4001)),
            Event::Birth(birth(4002)),
        ],
        counters,
        ..Case::honest()
    }
}

#[test]
fn sums_of_churn_must_fit() {
    assert_eq!(churn().judge(), Vec::<String>::new());
    let lies: &[Lie<Case>] = &[
        ("total born in FIN_WAIT2", |case| {
            case.counters.born_fin_wait_2 = 4;
        }),
        ("total reset", |case| {
            case.counters.ended = ended(Reason::NetnsExit);
        }),
        ("ends of 4 connections", |case| case.made.churned = 4),
        ("left in the table", |case| case.left = 0),
        ("the kernel's TW", |case| case.kernel.tcp_ext.clear()),
        ("reported twice", |case| case.events[1] = case.events[0]),
        ("no reason", |case| case.end().reason = Reason::Other),
        ("untracked", |case| case.end().untracked = true),
    ];
    for (what, lie) in lies {
        let mut case = churn();
        lie(&mut case);
        case.complains(what);
    }
}

#[test]
fn totals_may_be_shared_but_not_missing() {
    let mut case = Case::honest();
    let shared = Counters {
        promoted: 5,
        ..Counters::ZERO
    };
    case.counters.promoted = 0;
    case.shared = Some(shared);
    assert_eq!(case.judge(), Vec::<String>::new());
    case.counters.promoted = 2;
    assert!(case.judge()[0].contains("total promoted"));
    case.counters.promoted = 0;
    case.shared = None;
    assert!(case.judge()[0].contains("total promoted"));
}
