//! A device without timestamps restarts, and comes back from the same port.

use super::*;
use crate::model::conflicts::causes::{Argument, Hypothesis, Standing};

/// No timestamps anywhere, and an ISN that is not ahead.
fn plain(rport: u16, at_ns: u64, nth: u32) -> Refusal {
    Refusal {
        rule: Rule::OldSequence,
        rearmed: false,
        numbers: Numbers {
            tsval: None,
            ts_recent: None,
            seq: 64_000,
            rcv_nxt: 76_345,
        },
        ts_recent_age_s: None,
        ..syn(rport, at_ns, nth, 0)
    }
}

fn case(trace: &Trace, cause: Cause) -> &Hypothesis {
    let causes = &trace.known[trace.known.len() - 1].causes;
    causes.iter().find(|one| one.cause == cause).unwrap()
}

#[test]
fn one_that_is_locked_out_has_likely_restarted_and_is_no_old_duplicate() {
    let mut trace = Trace::new();
    for (nth, second) in [(1, 20), (2, 21), (3, 23)] {
        trace.refused(plain(1, second * S, nth));
        trace.refused(rst(1, second * S + MS, Rule::Rfc1337));
    }
    assert_eq!(trace.outcomes(), [Outcome::Stuck]);
    assert_eq!(best(&trace), Cause::RestartedDevice);
    let restarted = case(&trace, Cause::RestartedDevice);
    assert_eq!(restarted.standing(), Standing::Likely);
    assert!(restarted.pro.contains(&Argument::IsnNear { n: 1, of: 1 }));
    let duplicate = case(&trace, Cause::OldDuplicate);
    assert!(duplicate.standing() > Standing::Perhaps, "{duplicate:?}");
}

#[test]
fn missing_records_do_not_hide_that_a_syn_was_repeated() {
    let mut trace = Trace::new();
    trace.refused(plain(1, 20 * S, 1));
    trace.refused(plain(1, 24 * S, 3));
    assert_eq!(best(&trace), Cause::RestartedDevice);
}

#[test]
fn the_same_port_and_isn_after_each_restart_are_named() {
    let mut trace = Trace::new();
    for restart in 0..3 {
        let at = (20 + 100 * restart) * S;
        let refusal = Refusal {
            time_wait_ns: Some(at - S),
            ..plain(4_000, at, 1)
        };
        trace.refused(refusal);
        let ended = End {
            time_wait_ns: Some(at - S),
            ..end(4_000, at + MS, Reason::Reset, 1, at)
        };
        trace.ended(ended);
    }
    let restarted = case(&trace, Cause::RestartedDevice);
    assert_eq!(restarted.standing(), Standing::Likely);
    for said in [
        Argument::OneIsn { n: 3, isn: 64_000 },
        Argument::OnePort { n: 3, port: 4_000 },
    ] {
        assert!(restarted.pro.contains(&said), "{restarted:?}");
    }
}

#[test]
fn a_lone_syn_without_timestamps_makes_nothing_likely() {
    let mut trace = Trace::new();
    trace.refused(plain(1, 20 * S, 1)).finish();
    let causes = &trace.known[0].causes;
    assert!(causes.iter().all(|one| one.standing() > Standing::Likely));
    let alike = Argument::LikeDuplicates {
        n: 1,
        of: 1,
        timestamps: false,
    };
    assert!(case(&trace, Cause::OldDuplicate).pro.contains(&alike));
}

#[test]
fn many_ports_with_unrelated_isns_are_no_restart() {
    let mut trace = Trace::new();
    for n in 0..6_u16 {
        let mut refusal = plain(n, 20 * S, 1);
        let back = 0x0900_0000 * u32::from(n + 1);
        refusal.numbers.seq = refusal.numbers.rcv_nxt.wrapping_sub(back);
        trace.refused(refusal);
    }
    trace.finish();
    assert!(case(&trace, Cause::RestartedDevice).standing() > Standing::Likely);
}

#[test]
fn whoever_has_timestamps_is_judged_by_its_clock() {
    let mut trace = Trace::new();
    for (nth, second) in [(1, 20), (2, 21), (3, 23)] {
        let mut refusal = plain(1, second * S, nth);
        refusal.numbers.tsval = Some(5);
        refusal.numbers.ts_recent = Some(9_000);
        trace.refused(refusal);
    }
    assert_eq!(case(&trace, Cause::RestartedDevice).pro, []);
}

#[test]
fn a_syn_for_a_live_connection_says_that_its_client_never_closed() {
    let mut trace = Trace::new();
    let refusal = Refusal {
        stage: Stage::Established,
        rule: Rule::Challenge,
        reply: None,
        time_wait_ns: None,
        ..syn(1, 20 * S, 0, 5_000)
    };
    trace.refused(refusal).finish();
    let said = Argument::NeverClosed {
        n: 1,
        of: 1,
        live: 1,
    };
    assert!(case(&trace, Cause::SeveralHosts).pro.contains(&said));
}
