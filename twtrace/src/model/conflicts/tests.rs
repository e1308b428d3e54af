mod refused;
mod restarted;

use std::net::Ipv4Addr;

use super::causes::Cause;
use super::*;
use crate::event::Flow;
use crate::event::{Numbers, Refusal, Reply};
use crate::model::lifecycle::Circumstances;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const TS_RECENT: u32 = 2_000_000_000;

fn meta() -> Meta {
    Meta {
        kernel: "6.1.0".into(),
        hooks: 15,
        refusals: true,
        drops: true,
        quiet_ends: true,
        ..Meta::sample()
    }
}

fn flow(rport: u16) -> Flow {
    Flow {
        raddr: Ipv4Addr::new(203, 0, 113, 7).into(),
        rport,
        netns: 1,
        ..Flow::sample()
    }
}

/// The `nth` SYN that a TIME_WAIT of port `rport` refuses, `gap` ticks behind.
fn syn(rport: u16, at_ns: u64, nth: u32, gap: i32) -> Refusal {
    Refusal {
        flow: flow(rport),
        at_ns,
        time_wait_ns: Some(10 * S),
        stage: Stage::TimeWait,
        rule: Rule::Paws,
        reply: Some(Reply::Ack),
        rearmed: true,
        tcp_flags: 2,
        numbers: Numbers {
            tsval: Some(TS_RECENT.wrapping_add_signed(gap)),
            ts_recent: Some(TS_RECENT),
            seq: 9_000,
            rcv_nxt: 1_000,
        },
        ts_recent_age_s: Some(1),
        window: 64_240,
        ttl: Some(63),
        owner_ttl: Some(63),
        refused: nth,
    }
}

fn rst(rport: u16, at_ns: u64, rule: Rule) -> Refusal {
    Refusal {
        tcp_flags: 4,
        rule,
        reply: Some(Reply::None),
        ..syn(rport, at_ns, 0, 0)
    }
}

/// The end of such a TIME_WAIT, which refused so many SYNs since then.
fn end(rport: u16, ended_ns: u64, reason: Reason, refused: u32, first_ns: u64) -> End {
    End {
        reason,
        born_ns: Some(10 * S),
        time_wait_ns: Some(10 * S),
        ended_ns,
        refused,
        first_refused_ns: (refused > 0).then_some(first_ns),
        ..End::sample(flow(rport))
    }
}

struct Trace {
    conflicts: Conflicts,
    known: Vec<Conflict>,
}

impl Trace {
    fn new() -> Self {
        Self {
            conflicts: Conflicts::new(&meta()),
            known: Vec::new(),
        }
    }

    fn refused(&mut self, refusal: Refusal) -> &mut Self {
        let report = Report::Refusal(Refused::new(refusal));
        self.conflicts.event(&report, &mut self.known);
        self
    }

    fn ended(&mut self, end: End) -> &mut Self {
        let circumstances = Circumstances {
            started_ns: 0,
            births_lost: false,
        };
        let report = Report::End(Life::new(end, circumstances));
        self.conflicts.event(&report, &mut self.known);
        self
    }

    fn finish(&mut self) -> &mut Self {
        self.conflicts.finish(&mut self.known);
        self
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.known.iter().map(|one| one.outcome).collect()
    }

    fn counts(&self) -> Counts {
        self.conflicts.overview().counts
    }
}

#[test]
fn a_client_whose_rst_ends_the_time_wait_has_recovered() {
    let mut trace = Trace::new();
    trace.refused(syn(1, 20 * S, 1, -500)).ended(end(
        1,
        20 * S + 12 * MS,
        Reason::Reset,
        1,
        20 * S,
    ));
    let conflict = &trace.known[0];
    assert_eq!(conflict.outcome, Outcome::Recovered);
    assert_eq!(conflict.delay_ns, Some(12 * MS));
    assert_eq!((conflict.syns, &conflict.gaps[..]), (1, &[-500][..]));
    assert_eq!(trace.conflicts.delays().len(), 1);
    trace.finish();
    assert_eq!(trace.known.len(), 1);
}

#[test]
fn a_later_syn_that_is_accepted_reopens() {
    let mut trace = Trace::new();
    trace
        .refused(syn(1, 20 * S, 1, -500))
        .refused(syn(1, 21 * S, 2, 500))
        .ended(end(1, 23 * S, Reason::SynReopened, 2, 20 * S));
    let conflict = &trace.known[0];
    assert_eq!(conflict.outcome, Outcome::Reopened);
    assert_eq!((conflict.delay_ns, conflict.syns), (Some(3 * S), 2));
    assert_eq!((trace.counts().refused, trace.counts().accepted), (2, 1));
}

#[test]
fn three_syns_over_three_seconds_are_stuck_the_moment_the_third_is_refused() {
    let mut trace = Trace::new();
    trace
        .refused(syn(1, 20 * S, 1, -500))
        .refused(syn(1, 21 * S, 2, -500));
    assert_eq!(trace.known, []);
    trace.refused(syn(1, 23 * S, 3, -500));
    let conflict = &trace.known[0];
    assert_eq!(conflict.outcome, Outcome::Stuck);
    assert_eq!((conflict.at_ns, conflict.span_ns), (23 * S, 3 * S));
    assert_eq!(conflict.delay_ns, None);
    trace.refused(syn(1, 27 * S, 4, -500)).finish();
    assert_eq!(trace.outcomes(), [Outcome::Stuck]);
    assert_eq!(trace.counts().outcomes[Outcome::Stuck as usize], 1);
}

#[test]
fn three_syns_within_three_seconds_are_not_stuck_yet() {
    let mut trace = Trace::new();
    for (nth, at) in [(1, 0), (2, 1_000), (3, 2_999)] {
        trace.refused(syn(1, 20 * S + at * MS, nth, -500));
    }
    assert_eq!(trace.known, []);
}

/// Three SYNs and whatever else happens after each of them.
fn stuck_with(after_each: impl Fn(u64) -> Option<Refusal>) -> Option<StuckBy> {
    let mut trace = Trace::new();
    for (nth, second) in [(1, 20), (2, 21), (3, 23)] {
        trace.refused(syn(1, second * S, nth, -500));
        if let Some(refusal) = after_each(second * S + MS) {
            trace.refused(refusal);
        }
    }
    trace.known[0].stuck_by
}

#[test]
fn what_keeps_a_client_stuck_is_named() {
    let rfc1337 = stuck_with(|at| Some(rst(1, at, Rule::Rfc1337)));
    assert_eq!(rfc1337, Some(StuckBy::Rfc1337));
    let wrong = stuck_with(|at| Some(rst(1, at, Rule::OldSequence)));
    assert_eq!(wrong, Some(StuckBy::WrongRst));
    assert_eq!(stuck_with(|_| None), Some(StuckBy::NoRst));
    let elsewhere = stuck_with(|at| Some(rst(2, at, Rule::Rfc1337)));
    assert_eq!(elsewhere, Some(StuckBy::NoRst));
}

#[test]
fn one_that_was_stuck_and_gets_in_is_told_again_with_its_full_delay() {
    let mut trace = Trace::new();
    for (nth, second) in [(1, 20), (2, 21), (3, 23), (4, 27)] {
        trace.refused(syn(1, second * S, nth, -500));
    }
    trace.ended(end(1, 29 * S, Reason::SynReopened, 4, 20 * S));
    assert_eq!(trace.outcomes(), [Outcome::Stuck, Outcome::Reopened]);
    assert_eq!(trace.known[1].delay_ns, Some(9 * S));
    let counts = trace.counts();
    assert_eq!(counts.stuck, 1);
    assert_eq!(counts.outcomes, [0, 1, 0, 0, 0]);
}

#[test]
fn fewer_tries_and_another_end_is_giving_up() {
    for reason in [Reason::Expired, Reason::ConnectReused, Reason::Destroyed] {
        let mut trace = Trace::new();
        trace
            .refused(syn(1, 20 * S, 1, -500))
            .ended(end(1, 80 * S, reason, 1, 20 * S));
        assert_eq!(trace.outcomes(), [Outcome::GaveUp], "{reason:?}");
    }
}

#[test]
fn what_is_open_when_the_trace_is_over_is_unknown() {
    let mut trace = Trace::new();
    trace.refused(syn(1, 20 * S, 1, -500)).finish();
    assert_eq!(trace.outcomes(), [Outcome::Unknown]);
}

#[test]
fn a_conflict_whose_end_was_missed_is_given_up_after_a_while() {
    let mut trace = Trace::new();
    trace
        .refused(syn(1, 20 * S, 1, -500))
        .refused(syn(2, 100 * S, 1, -500));
    assert_eq!(trace.known, []);
    trace.refused(syn(3, 151 * S, 1, -500));
    assert_eq!(trace.outcomes(), [Outcome::Unknown]);
    assert_eq!(trace.known[0].flow.rport, 1);
    // Whoever goes on trying is not forgotten.
    trace.refused(syn(2, 200 * S, 2, -500));
    trace.refused(syn(3, 260 * S, 2, -500));
    assert_eq!(trace.known.len(), 1);
}

#[test]
fn another_time_wait_of_the_same_addresses_and_ports_is_another_conflict() {
    let mut trace = Trace::new();
    let later = Refusal {
        time_wait_ns: Some(30 * S),
        ..syn(1, 31 * S, 1, -500)
    };
    trace.refused(syn(1, 20 * S, 1, -500)).refused(later);
    assert_eq!(trace.outcomes(), [Outcome::Unknown]);
    trace.finish();
    let counts = trace.counts();
    assert_eq!((counts.refused, counts.tuples), (2, 1));
}

#[test]
fn syns_without_a_record_are_known_from_the_next_record_or_the_end() {
    let mut trace = Trace::new();
    trace.refused(syn(1, 20 * S, 1, -500));
    trace.refused(syn(1, 22 * S, 5, -500));
    assert_eq!(trace.counts().refused, 5);
    trace.ended(end(1, 24 * S, Reason::Reset, 8, 19 * S));
    assert_eq!(trace.counts().refused, 8);
    assert_eq!((trace.known[0].syns, trace.known[0].first_ns), (8, 19 * S));
    assert_eq!(trace.known[0].delay_ns, Some(5 * S));
}

#[test]
fn a_conflict_without_any_record_is_known_from_its_end() {
    let mut trace = Trace::new();
    trace
        .ended(end(1, 21 * S, Reason::Reset, 1, 20 * S))
        .ended(end(2, 90 * S, Reason::Expired, 3, 20 * S))
        .ended(end(3, 90 * S, Reason::Expired, 2, 20 * S))
        .ended(end(4, 90 * S, Reason::Expired, 0, 0));
    let expected = [Outcome::Recovered, Outcome::Stuck, Outcome::GaveUp];
    assert_eq!(trace.outcomes(), expected);
    let counts = trace.counts();
    assert_eq!((counts.refused, counts.tuples, counts.stuck), (6, 3, 1));
}

#[test]
fn a_mini_socket_without_a_slot_counts_no_syns_but_its_records_do() {
    let mut trace = Trace::new();
    for second in [20, 21, 23] {
        trace.refused(syn(1, second * S, 0, -500));
    }
    trace.ended(end(1, 24 * S, Reason::Reset, 0, 0));
    assert_eq!(trace.outcomes(), [Outcome::Stuck, Outcome::Recovered]);
    assert_eq!(trace.counts().refused, 3);
    assert_eq!(trace.known[1].delay_ns, Some(4 * S));
}

#[test]
fn a_rst_of_ours_in_fin_wait_2_is_no_recovery() {
    let paws = Refusal {
        stage: Stage::FinWait2,
        time_wait_ns: None,
        ..syn(1, 20 * S, 1, -500)
    };
    let turned_away = Refusal {
        rule: Rule::Unexpected,
        reply: Some(Reply::Rst),
        at_ns: 21 * S,
        refused: 2,
        ..paws
    };
    let ended = |refused| End {
        in_time_wait: false,
        time_wait_ns: None,
        ..end(1, 21 * S, Reason::FinWait2Reset, refused, 20 * S)
    };
    let mut trace = Trace::new();
    trace.refused(paws).refused(turned_away).ended(ended(2));
    assert_eq!(trace.outcomes(), [Outcome::GaveUp]);
    trace.refused(paws).ended(ended(1));
    assert_eq!(trace.outcomes()[1], Outcome::Recovered);
    // Whose RST it was is not known if the record of the last SYN is missing.
    trace.refused(paws).ended(ended(2));
    assert_eq!(trace.outcomes()[2], Outcome::Unknown);
}

#[test]
fn syns_refused_without_a_mini_socket_count_but_their_outcome_is_not_seen() {
    let mut trace = Trace::new();
    for (port, stage) in [(1, Stage::Established), (2, Stage::SynRecv)] {
        let refusal = Refusal {
            stage,
            time_wait_ns: None,
            ..syn(port, 20 * S, 0, -500)
        };
        trace.refused(refusal);
    }
    // The live connection may leave a TIME_WAIT of its own; that is not its outcome.
    trace.ended(end(1, 90 * S, Reason::Expired, 0, 0)).finish();
    assert_eq!(trace.outcomes(), [Outcome::Unknown; 2]);
}

#[test]
fn other_segments_are_no_conflicts() {
    let data = Refusal {
        tcp_flags: 24,
        ..syn(1, 20 * S, 0, -500)
    };
    let mut trace = Trace::new();
    trace.refused(data).finish();
    assert_eq!(trace.known, []);
    assert_eq!(trace.counts().refused, 0);
}

#[test]
fn a_flood_from_many_ports_and_addresses_takes_no_more_memory_than_allowed() {
    let mut trace = Trace::new();
    let flood = 70_000_u32;
    for n in 0..flood {
        let raddr = Ipv4Addr::from(0x0a00_0000 + n / 10);
        let refusal = syn((n % 10) as u16, 20 * S + u64::from(n), 1, -500);
        trace.refused(Refusal {
            flow: Flow {
                raddr: raddr.into(),
                ..refusal.flow
            },
            ..refusal
        });
    }
    let evicted = (flood - 65_536) as usize;
    assert_eq!(trace.known.len(), evicted);
    assert!(
        trace
            .known
            .iter()
            .all(|one| one.outcome == Outcome::Unknown)
    );
    let top = trace.conflicts.top(10);
    assert_eq!(top.peers.len(), 10);
    let rest = top.rest.unwrap();
    assert_eq!((rest.addresses, rest.more), (4_096 - 10, true));
    assert_eq!(rest.counts.refused, u64::from(flood) - 100);
    trace.finish();
    assert_eq!(trace.known.len(), flood as usize);
    assert_eq!(trace.counts().refused, u64::from(flood));
}

#[test]
fn addresses_without_conflicts_give_way_to_one_with() {
    let mut trace = Trace::new();
    for n in 0..5_000_u32 {
        let mut innocent = end(1, 20 * S, Reason::SynReopened, 0, 0);
        innocent.flow.raddr = Ipv4Addr::from(0x0a00_0000 + n).into();
        trace.ended(innocent);
    }
    trace.refused(syn(1, 21 * S, 1, -500));
    let top = trace.conflicts.top(10);
    assert_eq!((top.peers.len(), top.rest.is_none()), (1, true));
    assert_eq!(trace.counts().accepted, 5_000);
}

/// One conflict that recovers, on a port of its own, at this second.
fn recovers(trace: &mut Trace, n: u16, second: u64, change: impl Fn(&mut Refusal)) {
    let at = second * S;
    let mut refusal = Refusal {
        time_wait_ns: Some(at - S),
        ..syn(1_000 + n, at, 1, -500)
    };
    change(&mut refusal);
    trace.refused(refusal);
    let ended = End {
        time_wait_ns: Some(at - S),
        ..end(1_000 + n, at + 10 * MS, Reason::Reset, 1, at)
    };
    trace.ended(ended);
}

fn set_gap(refusal: &mut Refusal, gap: i32) {
    refusal.numbers.tsval = Some(TS_RECENT.wrapping_add_signed(gap));
}

fn best(trace: &Trace) -> Cause {
    trace.known[trace.known.len() - 1].causes[0].cause
}

#[test]
fn random_gaps_on_many_ports_point_to_a_port_rewriting_nat() {
    let mut trace = Trace::new();
    for n in 0..12_u16 {
        recovers(&mut trace, n, 20 + u64::from(n), |refusal| {
            let random = u32::from(n + 1).wrapping_mul(0x9e37_79b9);
            set_gap(refusal, -((random >> 1) as i32));
            refusal.numbers.seq = random;
        });
    }
    assert_eq!(best(&trace), Cause::PortRewritingNat);
}

#[test]
fn a_constant_difference_between_clocks_points_to_several_hosts() {
    let mut trace = Trace::new();
    for n in 0..4_u16 {
        let accepted = End {
            accepted: Some(Numbers {
                tsval: Some(TS_RECENT.wrapping_add(90_001_000)),
                ts_recent: Some(TS_RECENT),
                seq: 5,
                rcv_nxt: 3,
            }),
            time_wait_ns: Some((19 + 100 * u64::from(n)) * S),
            ..end(n, (20 + 100 * u64::from(n)) * S, Reason::SynReopened, 0, 0)
        };
        trace.ended(accepted);
        recovers(&mut trace, n, 21 + 100 * u64::from(n), |refusal| {
            set_gap(refusal, -90_000_000 + 1_000);
        });
    }
    assert_eq!(best(&trace), Cause::SeveralHosts);
}

#[test]
fn what_is_told_to_people_leaves_out_the_everyday() {
    let refusal = |tcp_flags, rule| {
        Report::Refusal(Refused::new(Refusal {
            tcp_flags,
            rule,
            ..syn(1, S, 1, -5)
        }))
    };
    let told_to_people = |report| told(&report, false).is_some();
    assert!(told_to_people(refusal(2, Rule::Paws)));
    assert!(told_to_people(refusal(4, Rule::Rfc1337)));
    assert!(!told_to_people(refusal(24, Rule::Paws)));
    assert!(told(&refusal(24, Rule::Paws), true).is_some());
    let life = |reason| {
        let circumstances = Circumstances {
            started_ns: 0,
            births_lost: false,
        };
        Report::End(Life::new(end(1, 20 * S, reason, 0, 0), circumstances))
    };
    assert!(!told_to_people(life(Reason::SynReopened)));
    let shown = told(&life(Reason::SynReopened), true);
    assert!(matches!(shown, Some(Report::Reopen(_))));
    assert_eq!(told(&life(Reason::Expired), true), None);
}
