use std::net::Ipv4Addr;

use super::*;
use crate::event::found::Users;
use crate::event::{Birth, BornAs, CommandName, End, Seed};

const HERE: u32 = 7;
const S: u64 = 1_000_000_000;
const START: u64 = 1_000 * S;

fn meta() -> Meta {
    Meta {
        started_ns: START,
        births: true,
        ports: true,
        ..Meta::sample()
    }
}

fn flow(lport: u16, host: u8) -> Flow {
    Flow {
        lport,
        raddr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)),
        rport: 5432,
        netns: HERE,
        ..Flow::sample()
    }
}

fn birth(flow: Flow, at_ns: u64) -> Event {
    Event::Birth(Birth::sample(flow, at_ns))
}

fn end(flow: Flow, born_ns: u64, ended_ns: u64) -> Event {
    Event::End(End {
        born_ns: Some(born_ns),
        time_wait_ns: Some(born_ns),
        ended_ns,
        ..End::sample(flow)
    })
}

fn survey(rules: PortRules, taken: &[(u16, u16)], users: &[Users]) -> Found {
    Found::Survey(Survey {
        held_fin_wait_2: None,
        netns: HERE,
        at_ns: START,
        rules,
        taken: taken.to_vec(),
        users: users.to_vec(),
    })
}

/// A range of a hundred ports.
fn hundred() -> PortRules {
    PortRules {
        low: 40_000,
        high: 40_099,
        tcp_tw_reuse: 0,
        ..PortRules::default()
    }
}

fn failure(flow: Flow, call: Call) -> Event {
    Event::PortFailure(PortFailure {
        flow,
        at_ns: START + 5 * S,
        call,
        pid: 8_123,
        command: CommandName::new(*b"php-fpm\0\0\0\0\0\0\0\0\0"),
        errno: 99,
        port_given: false,
        time_wait: 98,
    })
}

#[test]
fn a_destination_counts_its_mini_sockets_and_other_connections_within_the_range() {
    let mut ports = Ports::new(&meta());
    let users = Users {
        laddr: flow(0, 30).laddr,
        raddr: flow(0, 30).raddr,
        rport: 5432,
        ports: 4,
    };
    ports.found(&survey(hundred(), &[(40_050, 40_050)], &[users]));
    for lport in [39_999, 40_000, 40_050, 40_099, 40_100] {
        ports.event(&Event::Seed(Seed {
            flow: flow(lport, 30),
            substate: BornAs::TimeWait,
            at_ns: START,
            remaining_ms: 1,
        }));
    }
    ports.event(&birth(flow(40_001, 30), START + S));
    ports.event(&birth(flow(40_001, 31), START + S));
    let rows = ports.rows(10);
    assert_eq!(rows.len(), 2);
    let first = rows[0];
    assert_eq!(
        (first.time_wait, first.others, first.candidates),
        (3, 4, 99)
    );
    assert_eq!(first.in_use(), 7);
    assert_eq!(rows[1].time_wait, 1);
    ports.event(&end(flow(40_001, 31), START + S, START + 2 * S));
    assert_eq!(ports.rows(10).len(), 1, "nothing is in use there any more");
}

#[test]
fn pressure_is_told_once_and_again_after_it_was_gone() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    // One a second: the tenth is 10 % with 90 s to go, the 40th has just under 60 s to go.
    let middle = |second: u16| START + u64::from(second) * S + S / 2;
    let until = |second: u16| START + u64::from(second) * S + S - 1;
    for second in 0..39 {
        ports.event(&birth(flow(40_000 + second, 30), middle(second)));
        assert!(ports.tick(until(second)).is_empty(), "{second}");
    }
    ports.event(&birth(flow(40_039, 30), middle(39)));
    let warned = ports.tick(until(39));
    assert_eq!(warned.len(), 1);
    assert_eq!(warned[0].full_in_ns.unwrap() / S, 59);
    assert!(ports.tick(START + 42 * S).is_empty());
    for port in 0..40 {
        ports.event(&end(flow(40_000 + port, 30), middle(port), START + 60 * S));
    }
    assert!(ports.tick(START + 80 * S).is_empty());
    for port in 1..=95 {
        ports.event(&birth(flow(40_000 + port, 30), START + 81 * S));
    }
    assert_eq!(ports.tick(START + 82 * S).len(), 1);
}

#[test]
fn it_is_not_full_soon_if_as_many_end_as_are_born() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    for second in 1..=60_u16 {
        let at = START + u64::from(second) * S;
        ports.event(&birth(flow(40_000 + second % 50, 30), at));
        if second > 20 {
            ports.event(&end(flow(40_000 + (second - 20) % 50, 30), at - 20 * S, at));
        }
    }
    let row = ports.rows(1)[0];
    assert_eq!((row.time_wait, row.full_in_ns), (20, None));
    assert!(row.arrivals > 0.9 && row.growth.abs() < 0.01);
}

#[test]
fn whether_reuse_can_help_follows_from_sysctls_and_addresses() {
    let key = Key::of(&flow(0, 30));
    let loopback = Key {
        laddr: Ipv4Addr::LOCALHOST.into(),
        ..key
    };
    let with = |tcp_tw_reuse, tcp_timestamps| PortRules {
        tcp_tw_reuse,
        tcp_timestamps,
        tcp_tw_reuse_delay_ms: Some(1_000),
        ..PortRules::default()
    };
    let delay_ms = Some(1_000);
    for (rules, key, expected) in [
        (with(1, 1), key, Reuse::On { delay_ms }),
        (with(2, 2), key, Reuse::Would { now: 2, delay_ms }),
        (with(2, 1), loopback, Reuse::On { delay_ms }),
        (with(0, 1), loopback, Reuse::Would { now: 0, delay_ms }),
        (with(1, 0), key, Reuse::NoTimestamps),
    ] {
        assert_eq!(reuse(Some(&rules), key), expected, "{rules:?}");
    }
    assert_eq!(reuse(None, key), Reuse::Unknown);
}

#[test]
fn a_failed_call_is_kept_with_its_destination() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    let event = failure(flow(0, 30), Call::Connect);
    let told = ports.event(&event).unwrap();
    assert_eq!((told.candidates, told.untold), (Some(100), 0));
    assert_eq!(ports.event(&event), None, "once a second");
    let row = ports.rows(1)[0];
    assert_eq!((row.failures, ports.failures()), (2, 2));
    let last = row.last_failure.unwrap();
    assert_eq!((last.pid, last.time_wait), (8_123, 98));
}

#[test]
fn no_more_destinations_are_told_apart_than_there_is_room_for() {
    let mut ports = Ports::new(&meta());
    let mut one = flow(40_000, 30);
    for rport in 0..=u16::MAX {
        one.rport = rport;
        ports.event(&birth(one, START + S));
    }
    one.laddr = Ipv4Addr::LOCALHOST.into();
    ports.event(&birth(one, START + S));
    assert_eq!(ports.counts(), (MAX_KEYS, 1));
    ports.event(&end(one, START + S, START + 2 * S));
    assert_eq!(ports.counts(), (MAX_KEYS, 0));
    // Those that have nothing to tell any more make room.
    one.laddr = flow(0, 0).laddr;
    for rport in 0..1_000 {
        one.rport = rport;
        ports.event(&end(one, START + S, START + 2 * S));
    }
    one.laddr = Ipv4Addr::LOCALHOST.into();
    ports.event(&birth(one, START + 30 * S));
    assert_eq!(ports.counts(), (MAX_KEYS - 1_000 + 1, 0));
}

#[test]
fn a_changed_range_asks_for_another_listing() {
    let mut ports = Ports::new(&meta());
    ports.found(&Found::Listing { at_ns: START });
    ports.found(&survey(hundred(), &[], &[]));
    ports.found(&Found::ListingOver { at_ns: START });
    ports.snapshot(&Snapshot {
        at_ns: START + S,
        counters: Vec::new(),
        histograms: Vec::new(),
        missed: None,
        kernel: Vec::new(),
        slack: 0,
    });
    ports.found(&survey(hundred(), &[], &[]));
    assert!(!ports.wants_listing());
    ports.found(&survey(hundred(), &[(40_000, 40_000)], &[]));
    assert!(ports.wants_listing());
    ports.found(&Found::Listing {
        at_ns: START + 2 * S,
    });
    assert!(!ports.wants_listing());
}
