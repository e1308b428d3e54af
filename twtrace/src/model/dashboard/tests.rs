use std::net::Ipv4Addr;

use super::*;
use crate::event::Numbers;
use crate::event::{Birth, End, Flow, Refusal, Reply, Rule, Stage};
use crate::model::Life;
use crate::model::lifecycle::Circumstances;

pub(super) const S: u64 = 1_000_000_000;
const HERE: u32 = 7;

pub(super) fn meta() -> Meta {
    Meta {
        refusals: true,
        births: true,
        ports: true,
        ..Meta::sample()
    }
}

fn flow(uid: u32) -> Flow {
    Flow {
        raddr: Ipv4Addr::from_bits(0x0a01_0000 + uid).into(),
        netns: HERE,
        uid: Some(uid),
        cgroup: Some(u64::from(uid) + 100),
        ..Flow::sample()
    }
}

fn end(uid: u32, reason: Reason, ended_ns: u64) -> End {
    End {
        reason,
        born_ns: Some(0),
        time_wait_ns: Some(0),
        ended_ns,
        ..End::sample(flow(uid))
    }
}

pub(super) fn ended(uid: u32, reason: Reason, ended_ns: u64) -> Report {
    let nothing_lost = Circumstances {
        started_ns: 0,
        births_lost: false,
    };
    Report::End(Life::new(end(uid, reason, ended_ns), nothing_lost))
}

pub(super) fn birth(uid: u32, at_ns: u64) -> Birth {
    Birth::sample(flow(uid), at_ns)
}

fn totals(at_ns: u64, change: impl FnOnce(&mut Counters)) -> Snapshot {
    Snapshot::sample(HERE, at_ns, change)
}

#[test]
fn how_many_and_how_fast_is_the_kernels_count_whatever_the_ring_lost() {
    let mut dashboard = Dashboard::new(&meta());
    dashboard.totals(totals(0, |_| ()));
    for _ in 0..3 {
        dashboard.event(Event::Birth(birth(1, S)));
        dashboard.event(Event::End(end(1, Reason::Reset, 2 * S)));
    }
    dashboard.totals(totals(4 * S, |one| {
        one.born_time_wait = 50;
        one.ended[Reason::Reset as usize] = 11;
        one.end_ring_full = 8;
        one.birth_ring_full = 47;
    }));
    let figures = dashboard.figures();
    assert_eq!(
        (figures.births.total, figures.births.per_s),
        (50, Some(12.5))
    );
    assert_eq!(figures.alive.all(), 39);
    assert_eq!(figures.reasons[0].ends.total, 11);
    assert_eq!(figures.owners.rows[0].ends.total, 3);
    assert_eq!(figures.owners.rows[0].alive, None, "records were lost");
    assert!(figures.lost.ring >= 8);
}

#[test]
fn reasons_come_in_the_order_of_their_ends_and_only_those_that_happened() {
    let mut dashboard = Dashboard::new(&meta());
    dashboard.totals(totals(S, |one| {
        one.ended[Reason::Expired as usize] = 2;
        one.ended[Reason::SynReopened as usize] = 5;
    }));
    let reasons = dashboard.figures().reasons;
    let reasons: Vec<_> = reasons.iter().map(|one| one.reason).collect();
    assert_eq!(reasons, [Reason::SynReopened, Reason::Expired]);
}

#[test]
fn a_namespace_says_how_far_its_limit_is() {
    use crate::event::found::{PortRules, Survey};
    let mut dashboard = Dashboard::new(&meta());
    dashboard.found(&Found::Survey(Survey {
        held_fin_wait_2: None,
        netns: HERE,
        at_ns: S,
        rules: PortRules {
            tcp_max_tw_buckets: 200,
            ..PortRules::default()
        },
        taken: Vec::new(),
        users: Vec::new(),
    }));
    dashboard.totals(totals(2 * S, |one| one.born_time_wait = 150));
    let figures = dashboard.figures();
    let nearest = figures.nearest_to_limit().unwrap();
    assert_eq!(
        (nearest.percent, nearest.population.left()),
        (Some(75), Some(50))
    );
}

fn refused(uid: u32, at_ns: u64, refused: u32) -> Event {
    Event::Refusal(Refusal {
        flow: flow(uid),
        at_ns,
        time_wait_ns: Some(S),
        stage: Stage::TimeWait,
        rule: Rule::Paws,
        reply: Some(Reply::Ack),
        rearmed: false,
        tcp_flags: 2,
        numbers: Numbers {
            tsval: Some(1_000),
            ts_recent: Some(9_000),
            seq: 5,
            rcv_nxt: 1,
        },
        ts_recent_age_s: Some(1),
        window: 64_240,
        ttl: Some(64),
        owner_ttl: Some(64),
        refused,
    })
}

#[test]
fn a_client_that_is_refused_three_times_over_three_seconds_is_stuck() {
    let mut dashboard = Dashboard::new(&meta());
    for (at, count) in [(2, 1), (3, 2), (6, 3)] {
        dashboard.event(refused(9, at * S, count));
    }
    let figures = dashboard.figures();
    assert_eq!(figures.conflicts.stuck, 1);
    assert_eq!(figures.peers[0].counts.refused, 3);
    assert_eq!(figures.peers[0].peer.raddr, flow(9).raddr);
}

#[test]
fn before_anything_happened_there_is_nothing_and_no_rate() {
    let mut dashboard = Dashboard::new(&meta());
    dashboard.totals(totals(0, |_| ()));
    let figures = dashboard.figures();
    assert_eq!(figures.births, Pace::default());
    assert_eq!(figures.alive.all(), 0);
    assert!(figures.reasons.is_empty() && figures.owners.rows.is_empty());
    assert!(figures.lifetimes.is_none() && figures.nearest_to_limit().is_none());
}
