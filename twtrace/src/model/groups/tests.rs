use std::net::Ipv4Addr;

use super::*;
use crate::event::{End, Overflow, Reason};
use crate::model::lifecycle::Circumstances;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn meta(births: bool, refusals: bool) -> Meta {
    Meta {
        refusals,
        births,
        ..Meta::sample()
    }
}

fn flow(uid: u32) -> Flow {
    Flow {
        uid: Some(uid),
        cgroup: Some(u64::from(uid) + 100),
        ..Flow::sample()
    }
}

/// Ended after so long in TIME_WAIT.
fn end(uid: u32, reason: Reason, ended_ns: u64, time_wait_ns: u64) -> Report {
    let end = End {
        reason,
        born_as: None,
        born_ns: None,
        time_wait_ns: Some(ended_ns - time_wait_ns),
        ended_ns,
        ..End::sample(flow(uid))
    };
    let circumstances = Circumstances {
        started_ns: 0,
        births_lost: false,
    };
    Report::End(Life::new(end, circumstances))
}

fn expired(uid: u32, at_ns: u64) -> Report {
    end(uid, Reason::Expired, at_ns, 0)
}

fn by_uid(most: usize) -> Groups {
    Groups::with_room(By::Uid, &meta(false, true), most)
}

fn table(groups: &Groups, top: usize) -> Vec<(Whose, u64)> {
    let table = groups.table(top, (0, 1), None);
    table.rows.iter().map(|row| (row.whose, row.ends)).collect()
}

fn uid(uid: u32) -> Whose {
    Whose::Group(Key::Uid(uid))
}

#[test]
fn each_key_is_taken_from_the_connection() {
    let server = flow(33);
    let client = Flow {
        lport: 50_000,
        rport: 5_432,
        uid: None,
        cgroup: None,
        ..server
    };
    let keys = |flow: &Flow| By::ALL.map(|by| by.key(flow));
    let (local, remote) = (server.laddr, server.raddr);
    assert_eq!(
        keys(&server),
        [
            Key::Peer(remote),
            Key::Service(local, 443),
            Key::Lport(443),
            Key::Uid(33),
            Key::Cgroup(133),
            Key::Netns(7),
        ]
    );
    assert_eq!(
        keys(&client),
        [
            Key::Peer(remote),
            Key::Service(remote, 5_432),
            Key::Lport(50_000),
            Key::Unknown,
            Key::Unknown,
            Key::Netns(7),
        ]
    );
    let unbound = Flow { lport: 0, ..server };
    assert_eq!(By::Service.key(&unbound), Key::Service(remote, 40_000));
    assert_eq!(By::Lport.key(&unbound), Key::Unknown);
    let no_remote = Flow {
        raddr: Ipv4Addr::UNSPECIFIED.into(),
        rport: 0,
        ..server
    };
    assert_eq!(By::Service.key(&no_remote), Key::Service(local, 443));
    assert_eq!(By::Peer.key(&no_remote), Key::Unknown);
    let same = Flow {
        rport: 443,
        ..server
    };
    assert_eq!(By::Service.key(&same), Key::Service(local, 443));
}

#[test]
fn groups_are_in_the_order_of_their_ends_and_what_is_not_shown_is_others() {
    let mut groups = by_uid(10);
    for (number, count) in [(1, 2), (2, 5), (3, 3), (4, 3)] {
        for at in 0..count {
            groups.report(&expired(number, at));
        }
    }
    assert_eq!(
        table(&groups, 10),
        [(uid(2), 5), (uid(3), 3), (uid(4), 3), (uid(1), 2)]
    );
    assert_eq!(
        table(&groups, 1),
        [(uid(2), 5), (Whose::Others { groups: 3 }, 8)]
    );
    assert_eq!(table(&groups, 0), [(Whose::Others { groups: 4 }, 13)]);
}

#[test]
fn others_and_groups_are_all_however_many_there_were() {
    let mut groups = by_uid(16);
    let mut seen = 0;
    for number in 0..10_000_u32 {
        groups.report(&end(number, Reason::Reset, S, 7 * MS));
        groups.report(&expired(7, S));
        seen += 2;
        if number % 3 == 0 {
            groups.report(&Report::Overflow(Overflow {
                flow: flow(number),
                at_ns: S,
                room: None,
            }));
        }
        assert!(groups.known.len() <= 16);
        let ends: u64 = table(&groups, 5).iter().map(|row| row.1).sum();
        assert_eq!(ends, seen);
    }
    let rows = groups.table(3, (0, 1), None).rows;
    assert_eq!(rows[0].whose, uid(7), "the largest never gives way");
    assert_eq!(rows[0].ends, 10_001);
    let sum = |get: fn(&Row) -> u64| rows.iter().map(get).sum::<u64>();
    assert_eq!(sum(|row| row.overflows), 3_334);
    assert_eq!(
        sum(|row| row.ended.unwrap()[Reason::Reset as usize]),
        10_000
    );
    assert_eq!(sum(|row| row.time_wait.unwrap().n), 20_000);
    let Whose::Others { groups } = rows[3].whose else {
        panic!("no others");
    };
    assert_eq!(groups, 10_000 - 3);
}

#[test]
fn of_equal_groups_those_seen_longest_ago_give_way_then_those_with_the_smaller_key() {
    for _ in 0..10 {
        let mut groups = by_uid(4);
        for (number, at) in [(9, 3), (2, 1), (8, 2), (1, 2)] {
            groups.report(&expired(number, at));
        }
        groups.report(&expired(5, 9));
        assert_eq!(
            table(&groups, 9)[..4],
            [(uid(1), 1), (uid(5), 1), (uid(8), 1), (uid(9), 1)]
        );
        groups.report(&expired(6, 9));
        assert!(!groups.known.contains_key(&Key::Uid(1)));
        assert!(groups.known.contains_key(&Key::Uid(8)));
    }
}

#[test]
fn what_the_ring_lost_is_not_grouped_and_has_its_share() {
    let mut groups = by_uid(4);
    for at in 0..3 {
        groups.report(&expired(1, at));
    }
    let rows = groups.table(9, (0, 1), Some(4)).rows;
    assert_eq!((rows[0].ends, rows[0].share), (3, Some(750)));
    assert_eq!(rows[1].whose, Whose::NotGrouped);
    assert_eq!((rows[1].ends, rows[1].share), (1, Some(250)));
    // An interval's records may be ahead of its totals.
    assert_eq!(groups.table(9, (0, 1), Some(2)).rows[0].share, Some(1_000));
    assert_eq!(by_uid(4).table(9, (0, 1), Some(0)).rows, []);
}

#[test]
fn reasons_and_lifetimes_are_kept_by_group() {
    let mut groups = by_uid(4);
    for n in 1..=100 {
        groups.report(&end(1, Reason::Expired, 100 * S, n * 600 * MS));
    }
    groups.report(&end(2, Reason::Reset, 200 * S, 13 * MS));
    let rows = groups.table(9, (0, 1), None).rows;
    let ended = rows[0].ended.unwrap();
    assert_eq!(ended[Reason::Expired as usize], 100);
    assert_eq!(ended.iter().sum::<u64>(), 100);
    let first = rows[0].time_wait.unwrap();
    assert!(first.p50_ns.abs_diff(30 * S) < 30 * S / 128);
    assert!(first.max_ns.abs_diff(60 * S) < 60 * S / 128);
    assert_eq!(rows[0].fin_wait_2, None);
    assert_eq!(rows[1].time_wait.unwrap().n, 1);
    assert_eq!(rows[1].last_ns, Some(200 * S));
}

#[test]
fn an_interval_is_added_to_the_whole() {
    let (mut whole, mut interval) = (by_uid(4), by_uid(4));
    for round in 0..3 {
        for number in 0..7 {
            for _ in 0..=number {
                interval.report(&end(number, Reason::Expired, S + round, MS));
            }
        }
        whole.absorb(&mut interval);
        assert_eq!(table(&interval, 9), []);
    }
    let rows = whole.table(9, (0, 1), None).rows;
    assert_eq!(rows.iter().map(|row| row.ends).sum::<u64>(), 3 * 28);
    assert_eq!(rows[0].whose, uid(6));
    assert_eq!((rows[0].ends, rows[0].time_wait.unwrap().n), (21, 21));
}

#[test]
fn births_and_refusals_are_unknown_where_they_are_not_traced() {
    let birth = Birth {
        flow: flow(1),
        born_as: crate::event::BornAs::TimeWait,
        at_ns: 5,
    };
    let mut groups = Groups::new(By::Netns, &meta(true, true));
    groups.birth(&birth);
    let row = groups.table(1, (0, 1), None).rows[0];
    assert_eq!((row.births, row.refusals), (Some(1), Some(0)));
    assert_eq!((row.ends, row.share, row.last_ns), (0, None, Some(5)));
    let mut groups = Groups::new(By::Netns, &meta(false, false));
    groups.report(&expired(1, 0));
    let row = groups.table(1, (0, 1), None).rows[0];
    assert_eq!((row.births, row.refusals), (None, None));
}

#[test]
fn who_made_many_comes_before_who_ended_one() {
    let mut groups = Groups::with_room(By::Uid, &meta(true, false), 16);
    for _ in 0..90 {
        groups.birth(&Birth::sample(flow(33), S));
    }
    groups.birth(&Birth::sample(flow(0), S));
    groups.report(&end(0, Reason::Reset, 2 * S, MS));
    let rows = groups.table(9, (0, 1), Some(1)).rows;
    let figures = |row: &Row| (row.whose, row.births, row.births_share, row.alive, row.ends);
    assert_eq!(
        figures(&rows[0]),
        (uid(33), Some(90), Some(989), Some(90), 0)
    );
    assert_eq!(figures(&rows[1]), (uid(0), Some(1), Some(11), Some(0), 1));
}

#[test]
fn those_from_before_the_trace_have_a_row_by_owner_and_are_in_their_group_otherwise() {
    let old = Flow {
        uid: None,
        cgroup: None,
        ..flow(1)
    };
    let gone = Report::End(Life::new(
        End {
            untracked: true,
            born_ns: None,
            ..End::sample(old)
        },
        Circumstances {
            started_ns: S,
            births_lost: false,
        },
    ));
    for (by, key) in [(By::Uid, Key::Before), (By::Lport, Key::Lport(443))] {
        let mut groups = Groups::with_room(by, &meta(true, false), 16);
        for _ in 0..5 {
            groups.older(&old, S);
        }
        groups.report(&gone);
        groups.older_gone(&old, S);
        let rows = groups.table(9, (0, 1), None).rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].whose, Whose::Group(key));
        assert_eq!(
            (rows[0].births, rows[0].alive, rows[0].ends),
            (Some(0), Some(3), 1)
        );
    }
}

#[test]
fn alive_of_an_interval_is_what_the_trace_has_left() {
    let with = || Groups::with_room(By::Uid, &meta(true, false), 16);
    let (mut whole, mut interval) = (with(), with());
    for _ in 0..7 {
        interval.birth(&Birth::sample(flow(1), S));
    }
    whole.absorb(&mut interval);
    interval.report(&expired(1, 2 * S));
    let table = interval.table(9, (0, 1), None);
    whole.absorb(&mut interval);
    let rows = table.alive_in(&whole).rows;
    assert_eq!(
        (rows[0].births, rows[0].alive, rows[0].ends),
        (Some(0), Some(6), 1)
    );
}
