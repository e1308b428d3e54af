use std::net::{IpAddr, Ipv4Addr};

use super::reuse::by_rules;
use super::*;
use twtrace_common::counters::Counters;

use crate::event::found::{OnPort, OnPortKind, Users};
use crate::event::{Birth, CommandName, Flow, Seed};

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
        assert_eq!(by_rules(Some(&rules), key), expected, "{rules:?}");
    }
    assert_eq!(by_rules(None, key), Reuse::Unknown);
}

#[test]
fn a_failed_call_is_kept_with_its_destination() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    let event = failure(flow(0, 30), Call::Connect);
    let told = ports.event(&event).unwrap();
    assert_eq!((told.candidates, told.untold), (100, 0));
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

fn totals(at_ns: u64, change: impl FnOnce(&mut Counters)) -> Snapshot {
    Snapshot::sample(HERE, at_ns, change)
}

#[test]
fn reuse_cannot_help_a_call_that_names_its_port() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    for (lport, call) in [(40_001, Call::Connect), (80, Call::Bind), (81, Call::Bind)] {
        let Event::PortFailure(mut failed) = failure(flow(lport, 30), call) else {
            unreachable!()
        };
        failed.port_given = true;
        let told = ports.event(&Event::PortFailure(failed)).unwrap();
        assert_eq!(
            (told.candidates, told.untold),
            (1, 0),
            "each port is told of"
        );
    }
    assert!(ports.rows(9).is_empty(), "no destination runs out of ports");
    let named = ports.named(9);
    let figures = |row: &Row| (row.key.lport, row.in_use(), row.candidates, row.failures);
    let figures: Vec<_> = named.iter().map(figures).collect();
    assert_eq!(figures, [(80, 1, 1, 1), (81, 1, 1, 1), (40_001, 1, 1, 1)]);
    assert!(
        named
            .iter()
            .all(|row| row.reuse == Reuse::No(Why::PortNamed))
    );
}

#[test]
fn reuse_cannot_help_where_fin_wait_2_holds_the_ports() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    for lport in 40_000..40_020 {
        ports.event(&Event::Birth(Birth {
            born_as: BornAs::FinWait2,
            ..Birth::sample(flow(lport, 30), START + S)
        }));
    }
    let reuse = |ports: &Ports| ports.rows(1)[0].reuse;
    ports.snapshot(&totals(START + 2 * S, |one| one.born_fin_wait_2 = 20));
    assert_eq!(reuse(&ports), Reuse::No(Why::FinWait2));
    ports.snapshot(&totals(START + 3 * S, |one| {
        one.born_fin_wait_2 = 20;
        one.promoted = 15;
    }));
    assert!(matches!(reuse(&ports), Reuse::Would { now: 0, .. }));
    // Nobody knows which of two destinations has those that are left.
    ports.event(&Event::Birth(Birth {
        born_as: BornAs::FinWait2,
        ..Birth::sample(flow(443, 31), START + S)
    }));
    ports.snapshot(&totals(START + 4 * S, |one| {
        one.born_fin_wait_2 = 21;
        one.promoted = 10;
    }));
    assert!(matches!(reuse(&ports), Reuse::Would { now: 0, .. }));
}

#[test]
fn reuse_cannot_help_where_live_connections_hold_the_ports_and_then_they_do_run_out() {
    let mut ports = Ports::new(&meta());
    let users = Users {
        laddr: flow(0, 30).laddr,
        raddr: flow(0, 30).raddr,
        rport: 5432,
        ports: 95,
    };
    let on = PortRules {
        tcp_tw_reuse: 1,
        ..hundred()
    };
    ports.found(&survey(on, &[], &[users]));
    ports.event(&birth(flow(40_000, 30), START + S));
    let row = ports.rows(1)[0];
    assert_eq!(row.reuse, Reuse::No(Why::Live));
    assert!(row.under_pressure());
}

/// Ports in the order in which bind() takes them, one after the other for ten destinations.
fn bind_and_connect(ports: &mut Ports, number: u16) {
    ports.found(&survey(hundred(), &[], &[]));
    let odd = (1..100).step_by(2);
    let order = odd.chain((0..100).step_by(2));
    for (nth, port) in order.take(number.into()).enumerate() {
        let host = 30 + (nth % 10) as u8;
        let at_ns = START + nth as u64 * S / 10;
        ports.event(&birth(flow(40_000 + port, host), at_ns));
    }
}

#[test]
fn a_source_of_which_bind_takes_the_ports_runs_out_for_all_destinations() {
    let mut ports = Ports::new(&meta());
    bind_and_connect(&mut ports, 60);
    let rows = ports.rows(20);
    assert_eq!(rows.len(), 11);
    let source = rows[0];
    assert_eq!(source.key, Key::of(&flow(0, 30)).source());
    assert_eq!((source.in_use(), source.candidates), (60, 100));
    assert_eq!(source.reuse, Reuse::No(Why::Bind));
    let full_in = source.full_in_ns.unwrap() / S;
    assert!((3..=5).contains(&full_in), "{full_in}");
    for row in &rows[1..] {
        assert_eq!((row.in_use(), row.reuse), (6, Reuse::No(Why::Bind)));
        assert_eq!(row.full_in_ns, source.full_in_ns);
    }
    let warned = ports.tick(START + 6 * S);
    assert_eq!(warned.len(), 1, "only the source");
    assert!(warned[0].key.is_source());
}

#[test]
fn a_failed_bind_says_how_many_ports_its_source_has_left() {
    let mut ports = Ports::new(&meta());
    bind_and_connect(&mut ports, 100);
    let unbound = Flow {
        raddr: Ipv4Addr::UNSPECIFIED.into(),
        rport: 0,
        ..flow(0, 30)
    };
    let told = ports.event(&failure(unbound, Call::Bind)).unwrap();
    assert_eq!((told.in_use, told.candidates), (100, 100));
    assert_eq!(ports.rows(1)[0].failures, 1);
    // bind() to no address: whatever holds the port on any.
    let anywhere = Flow {
        laddr: Ipv4Addr::UNSPECIFIED.into(),
        ..unbound
    };
    let told = ports.event(&failure(anywhere, Call::Bind)).unwrap();
    assert_eq!((told.in_use, told.candidates), (100, 100));
}

#[test]
fn connect_that_chooses_ports_itself_makes_no_row_of_its_source() {
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    for host in 30..33 {
        // Even ones first, the same for each destination.
        for port in (0..60).step_by(2) {
            ports.event(&birth(flow(40_000 + port, host), START + S));
        }
    }
    assert_eq!(ports.rows(9).len(), 3);
    // One destination that has used up the even ones.
    let mut ports = Ports::new(&meta());
    ports.found(&survey(hundred(), &[], &[]));
    for port in (0..100).step_by(2).chain((1..80).step_by(2)) {
        ports.event(&birth(flow(40_000 + port, 30), START + S));
    }
    assert_eq!(ports.rows(9).len(), 1);
    assert!(matches!(ports.rows(1)[0].reuse, Reuse::Would { .. }));
}

fn bind_to(laddr: IpAddr, lport: u16) -> Event {
    let flow = Flow {
        laddr,
        raddr: Ipv4Addr::UNSPECIFIED.into(),
        rport: 0,
        ..flow(lport, 30)
    };
    let Event::PortFailure(failure) = failure(flow, Call::Bind) else {
        unreachable!()
    };
    Event::PortFailure(PortFailure {
        port_given: true,
        ..failure
    })
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn look(port: u16, kinds: &[OnPortKind]) -> PortLook {
    let on = |&kind: &OnPortKind| OnPort {
        local: ANY,
        kind,
        number: 1,
    };
    PortLook {
        netns: HERE,
        port,
        sockets: Some(kinds.iter().map(on).collect()),
    }
}

/// What is known of the holder of a port that bind() did not get.
fn holder(ports: &mut Ports, port: u16) -> (Holder, Sight, bool) {
    let failed = ports.event(&bind_to(ANY, port)).unwrap();
    let holders = failed.holders.unwrap();
    (holders.holder(), holders.sight, holders.chance)
}

#[test]
fn each_port_that_bind_did_not_get_is_told_of_and_looked_at() {
    let mut ports = Ports::new(&meta());
    for port in 80..86 {
        assert!(ports.event(&bind_to(ANY, port)).is_some(), "{port}");
        assert!(ports.event(&bind_to(ANY, port)).is_none(), "once a second");
    }
    assert_eq!(ports.named(9).len(), 6);
    let unlooked = ports.unlooked();
    assert_eq!(
        unlooked,
        (80..86).map(|port| (HERE, port)).collect::<Vec<_>>()
    );
    assert!(ports.unlooked().is_empty());
}

#[test]
fn without_a_look_only_what_is_known_is_said_of_a_port() {
    let mut ports = Ports::new(&meta());
    assert_eq!(
        holder(&mut ports, 79),
        (Holder::Unknown(0), Sight::Little, false)
    );
    ports.found(&Found::Listing { at_ns: START });
    ports.found(&survey(hundred(), &[(40_050, 40_050)], &[]));
    ports.found(&Found::ListingOver { at_ns: START });
    ports.snapshot(&totals(START + S, |_| ()));
    for host in 30..33 {
        ports.event(&birth(flow(80, host), START + S));
    }
    assert_eq!(
        holder(&mut ports, 80),
        (Holder::Unknown(3), Sight::MiniSockets, false)
    );
    assert_eq!(
        holder(&mut ports, 81),
        (Holder::Unknown(0), Sight::MiniSockets, false)
    );
    assert_eq!(
        holder(&mut ports, 40_050),
        (Holder::Unknown(0), Sight::Kept, true)
    );
    // The mini-sockets are on another address.
    let elsewhere = Ipv4Addr::new(10, 0, 0, 6).into();
    let failed = ports.event(&bind_to(elsewhere, 80)).unwrap();
    assert_eq!(failed.holders.unwrap().holder(), Holder::Unknown(0));
}

#[test]
fn a_look_tells_what_holds_the_port_until_the_next_failure() {
    let mut ports = Ports::new(&meta());
    let reserved = PortRules {
        reserved: vec![(40_001, 40_001)],
        ..hundred()
    };
    ports.found(&survey(reserved, &[], &[]));
    for (port, kind, expected, chance) in [
        (80, OnPortKind::Listener, Holder::Listener, false),
        (
            81,
            OnPortKind::MiniSocket(Peer::Ephemeral),
            Holder::Accepted(1),
            false,
        ),
        (
            40_000,
            OnPortKind::Live(Peer::Fixed),
            Holder::LiveOutgoing(1),
            true,
        ),
        (
            40_001,
            OnPortKind::MiniSocket(Peer::Fixed),
            Holder::Outgoing(1),
            false,
        ),
    ] {
        let failed = ports.event(&bind_to(ANY, port)).unwrap();
        ports.looked(&look(port, &[kind]));
        let holders = ports.again(failed).holders.unwrap();
        assert_eq!((holders.holder(), holders.chance), (expected, chance));
        let row = ports.named(9).into_iter().find(|row| row.key.lport == port);
        assert_eq!(row.unwrap().holders, Some(holders));
    }
    let Event::PortFailure(mut later) = bind_to(ANY, 80) else {
        unreachable!()
    };
    later.at_ns += 2 * S;
    let failed = ports.event(&Event::PortFailure(later)).unwrap();
    assert_eq!(failed.holders.unwrap().holder(), Holder::Unknown(0));
}
