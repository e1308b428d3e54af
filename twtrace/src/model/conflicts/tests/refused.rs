//! Whatever is shown as a refused SYN is counted as one, and FIN_WAIT2 is not called TIME_WAIT.

use super::*;
use crate::model::conflicts::causes::{Argument, Standing};

/// A SYN that an orphan in FIN_WAIT2 refuses.
fn in_fin_wait_2(rport: u16, at_ns: u64, rule: Rule) -> Refusal {
    Refusal {
        stage: Stage::FinWait2,
        rule,
        time_wait_ns: None,
        rearmed: false,
        owner_ttl: None,
        ..syn(rport, at_ns, 1, -5_000_000)
    }
}

/// The client's RST, or ours, ended it.
fn by_rst(rport: u16, ended_ns: u64, refused: u32, first_ns: u64) -> End {
    End {
        in_time_wait: false,
        time_wait_ns: None,
        ..end(rport, ended_ns, Reason::FinWait2Reset, refused, first_ns)
    }
}

#[test]
fn every_syn_that_is_shown_as_refused_is_counted() {
    for stage in Stage::ALL {
        for rule in Rule::ALL {
            let refusal = Refusal {
                stage,
                rule,
                ..syn(1, 20 * S, 0, -500)
            };
            let shown = told(&Report::Refusal(Refused::new(refusal)), false);
            assert!(shown.is_some());
            let mut trace = Trace::new();
            trace.refused(refusal).finish();
            assert_eq!(trace.counts().refused, 1, "{stage:?} {rule:?}");
            assert_eq!(trace.known.len(), 1, "{stage:?} {rule:?}");
        }
    }
}

#[test]
fn syns_of_several_mini_sockets_are_not_fewer_than_their_records() {
    let mut trace = Trace::new();
    // The end of the first was lost, and nothing tells the two apart.
    trace
        .refused(in_fin_wait_2(1, 20 * S, Rule::OutOfWindow))
        .refused(in_fin_wait_2(1, 30 * S, Rule::OutOfWindow))
        .finish();
    assert_eq!(trace.counts().refused, 2);
}

#[test]
fn six_syns_out_of_window_or_behind_are_six_and_six_recover() {
    let mut trace = six_in_fin_wait_2(-5_000_000);
    assert_eq!(trace.counts().refused, 6);
    assert_eq!(trace.outcomes(), [Outcome::Recovered; 6]);
    assert!(trace.known.iter().all(|one| one.stage == Stage::FinWait2));
    trace.finish();
    assert_eq!(trace.known.len(), 6);
}

/// One of two hosts comes on the ports of another, which has not closed.
fn six_in_fin_wait_2(gap: i32) -> Trace {
    let mut trace = Trace::new();
    for n in 0..6_u16 {
        let (port, at) = (1_000 + n, (20 + u64::from(n)) * S);
        let rule = if n < 2 { Rule::Paws } else { Rule::OutOfWindow };
        let mut refusal = in_fin_wait_2(port, at, rule);
        set_gap(&mut refusal, gap);
        trace.refused(refusal);
        trace.ended(by_rst(port, at + MS, 1, at));
    }
    trace
}

#[test]
fn an_end_in_fin_wait_2_knows_of_syns_without_a_record() {
    let mut trace = Trace::new();
    trace.ended(by_rst(1, 21 * S, 2, 20 * S));
    assert_eq!(trace.counts().refused, 2);
    assert_eq!(trace.known[0].stage, Stage::FinWait2);
}

#[test]
fn a_syn_that_fin_wait_2_answers_by_a_rst_is_refused_and_not_let_in() {
    let mut trace = Trace::new();
    let refusal = Refusal {
        reply: Some(Reply::Rst),
        ..in_fin_wait_2(1, 20 * S, Rule::Unexpected)
    };
    trace.refused(refusal).ended(by_rst(1, 20 * S, 1, 20 * S));
    assert_eq!(trace.outcomes(), [Outcome::GaveUp]);
    assert!(trace.known[0].turned_away);
    assert_eq!((trace.counts().refused, trace.known[0].delay_ns), (1, None));
}

fn standing(trace: &Trace, cause: Cause) -> Standing {
    let causes = &trace.known[trace.known.len() - 1].causes;
    let case = causes.iter().find(|one| one.cause == cause).unwrap();
    case.standing()
}

#[test]
fn ports_that_their_client_never_closed_point_to_several_hosts() {
    let unrelated = [-5_000_000, -900_000_000, 700_000_000, 90_000_000];
    for gap in [-5_000_000, 5_000_000] {
        let trace = six_in_fin_wait_2(gap);
        assert_eq!(best(&trace), Cause::SeveralHosts);
        assert!(standing(&trace, Cause::ClockReset) > Standing::Perhaps);
    }
    let mut trace = Trace::new();
    for (n, gap) in unrelated.into_iter().enumerate() {
        let mut refusal = in_fin_wait_2(n as u16, (20 + n as u64) * S, Rule::OutOfWindow);
        set_gap(&mut refusal, gap);
        trace.refused(refusal);
    }
    trace.finish();
    assert_eq!(best(&trace), Cause::SeveralHosts);
    let said = Argument::NeverClosed {
        n: 4,
        of: 4,
        live: 0,
    };
    assert!(trace.known[3].causes[0].pro.contains(&said));
}

#[test]
fn two_like_gaps_without_a_young_clock_are_no_clock_that_went_back() {
    let mut trace = Trace::new();
    for port in [1, 2] {
        trace.refused(syn(port, 20 * S, 1, -5_000_000));
    }
    trace.finish();
    assert_eq!(best(&trace), Cause::SeveralHosts);
    assert!(standing(&trace, Cause::ClockReset) > Standing::Perhaps);
}

#[test]
fn a_young_clock_of_a_client_that_never_closed_is_one_that_went_back() {
    let mut trace = Trace::new();
    for n in 0..6_u16 {
        let mut refusal = in_fin_wait_2(n, (20 + u64::from(n)) * S, Rule::Paws);
        refusal.numbers.ts_recent = Some(900_000_000);
        refusal.numbers.tsval = Some(3_000 + 1_000 * u32::from(n));
        trace.refused(Refusal::clone(&refusal));
    }
    trace.finish();
    assert_eq!(best(&trace), Cause::ClockReset);
}
