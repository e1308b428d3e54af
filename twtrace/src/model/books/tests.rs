use twtrace_common::Reason;
use twtrace_common::refusal::{Class as RefusalClass, Skipped};

use super::*;
use crate::event::{Event, Overflow, TwCountedAt};
use crate::model::tally::{Detail, Summary, Tally};

mod identity;

const NETNS: u32 = 4_026_531_840;

fn meta(tw_counted_at: TwCountedAt) -> Meta {
    Meta {
        kernel: "6.12.0".into(),
        hooks: 9,
        tw_counted_at,
        started_ns: 1_000,
        rearms: true,
        refusals: true,
        drops: true,
        ..Meta::sample()
    }
}

fn kernel(netns: u32, values: [u64; 4]) -> KernelCounters {
    let names = ["TW", "TWKilled", "TWRecycled", "TCPTimeWaitOverflow"];
    KernelCounters {
        netns,
        cookie: None,
        tcp_ext: names.map(Into::into).into_iter().zip(values).collect(),
    }
}

fn snapshot(at_ns: u64, counters: &[Counters], kernel: &[KernelCounters]) -> Snapshot {
    Snapshot {
        at_ns,
        counters: counters.to_vec(),
        histograms: Vec::new(),
        missed: Some(0),
        kernel: kernel.to_vec(),
        slack: 0,
    }
}

/// 7 births, of which 3 expired and 2 were reused, and 1 overflow.
fn counted(netns: u32) -> Counters {
    let mut counters = Counters {
        netns,
        born_fin_wait_2: 4,
        born_time_wait: 3,
        overflowed: 1,
        ..Counters::ZERO
    };
    counters.ended[Reason::Expired as usize] = 2;
    counters.ended[Reason::FinWait2Timeout as usize] = 1;
    counters.ended[Reason::ConnectReused as usize] = 1;
    counters.ended[Reason::BoundReused as usize] = 1;
    counters
}

fn compare(tw_counted_at: TwCountedAt, first: &Snapshot, last: &Snapshot) -> Comparison {
    Comparison::new(&meta(tw_counted_at), &Opening::from(first), last)
}

fn agreements(comparison: &Comparison) -> Vec<Option<bool>> {
    comparison.rows.iter().map(|row| row.agree).collect()
}

#[test]
fn since_6_1_the_kernel_counts_births() {
    let first = snapshot(0, &[], &[kernel(NETNS, [100, 10, 5, 1])]);
    let last = snapshot(1, &[counted(NETNS)], &[kernel(NETNS, [106, 11, 7, 2])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(agreements(&comparison), [Some(true); 3]);
    assert_eq!(comparison.agrees(), Some(true));
}

#[test]
fn before_6_1_the_kernel_counts_expiries() {
    let first = snapshot(0, &[], &[kernel(NETNS, [100, 10, 5, 1])]);
    let last = snapshot(1, &[counted(NETNS)], &[kernel(NETNS, [102, 11, 7, 2])]);
    let comparison = compare(TwCountedAt::Expiry, &first, &last);
    assert_eq!(agreements(&comparison), [Some(true); 3]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(
        agreements(&comparison),
        [Some(false), Some(true), Some(true)]
    );
    assert_eq!(comparison.agrees(), Some(false));
}

#[test]
fn only_what_moved_since_the_start_is_compared() {
    let first = snapshot(0, &[counted(NETNS)], &[kernel(NETNS, [7, 0, 2, 1])]);
    let comparison = compare(TwCountedAt::Birth, &first, &first);
    assert_eq!(comparison.rows, []);
    assert_eq!(
        (comparison.namespaces, comparison.agrees()),
        (1, Some(true))
    );
}

#[test]
fn a_new_namespace_starts_at_zero() {
    let first = snapshot(0, &[], &[]);
    let last = snapshot(1, &[counted(NETNS)], &[kernel(NETNS, [7, 0, 2, 1])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(agreements(&comparison), [Some(true); 3]);
}

#[test]
fn a_namespace_that_was_busy_but_unread_at_the_start_proves_nothing() {
    let first = snapshot(0, &[counted(NETNS)], &[]);
    let last = snapshot(1, &[counted(NETNS)], &[kernel(NETNS, [7, 0, 2, 1])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!((comparison.namespaces, comparison.unread), (0, 1));
    assert_eq!(comparison.agrees(), None);
}

#[test]
fn a_namespace_that_is_gone_proves_nothing() {
    let first = snapshot(0, &[], &[kernel(NETNS, [0; 4])]);
    let last = snapshot(1, &[counted(NETNS)], &[]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(agreements(&comparison), [None; 3]);
    assert_eq!(comparison.rows[0].kernel, Err(Unread::NamespaceGone));
    assert_eq!((comparison.unread, comparison.agrees()), (1, None));
}

#[test]
fn a_namespace_with_another_ones_inode_number_proves_nothing() {
    let first = snapshot(0, &[], &[kernel(NETNS, [100; 4])]);
    let last = snapshot(1, &[counted(NETNS)], &[kernel(NETNS, [7, 0, 2, 1])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(comparison.rows[0].kernel, Err(Unread::NamespaceReplaced));
}

#[test]
fn a_difference_within_what_moved_while_reading_proves_nothing() {
    let mut first = snapshot(0, &[], &[kernel(NETNS, [0; 4])]);
    let mut last = snapshot(1, &[counted(NETNS)], &[kernel(NETNS, [4, 0, 2, 1])]);
    first.slack = 1;
    last.slack = 2;
    let agree =
        |first: &Snapshot, last: &Snapshot| compare(TwCountedAt::Birth, first, last).agrees();
    assert_eq!(agree(&first, &last), Some(true));
    last.slack = 1;
    assert_eq!(agree(&first, &last), Some(false));
}

#[test]
fn what_belongs_to_no_namespace_may_explain_a_difference_but_does_not_prove_it() {
    let unassigned = Counters {
        netns: 0,
        born_time_wait: 5,
        ..Counters::ZERO
    };
    let first = snapshot(0, &[], &[kernel(NETNS, [0; 4])]);
    let counters = [counted(NETNS), unassigned];
    let last = snapshot(1, &counters, &[kernel(NETNS, [12, 0, 2, 1])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(agreements(&comparison), [None, Some(true), Some(true)]);
    let last = snapshot(1, &counters, &[kernel(NETNS, [13, 0, 2, 1])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(comparison.agrees(), Some(false));
}

#[test]
fn a_counter_that_the_kernel_lacks_is_not_compared() {
    let mut without = kernel(NETNS, [7, 0, 2, 1]);
    without.tcp_ext.remove("TCPTimeWaitOverflow");
    let first = snapshot(0, &[], &[]);
    let last = snapshot(1, &[counted(NETNS)], &[without]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(comparison.rows[2].kernel, Err(Unread::NoSuchCounter));
    assert_eq!(agreements(&comparison), [Some(true), Some(true), None]);
}

fn overflow() -> Event {
    use std::net::Ipv4Addr;

    use crate::event::{Family, Flow};
    Event::Overflow(Overflow {
        flow: Flow {
            family: Family::Ipv4,
            laddr: Ipv4Addr::LOCALHOST.into(),
            lport: 1,
            raddr: Ipv4Addr::LOCALHOST.into(),
            rport: 2,
            netns: NETNS,
            uid: None,
            cgroup: None,
        },
        at_ns: 5_000,
        room: None,
    })
}

/// A trace with `seen` overflows of which `reported` came through and `ring` did not.
fn trace(seen: u64, reported: u64, ring: u64) -> Summary {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Records);
    tally.snapshot(snapshot(1_000, &[], &[]));
    for _ in 0..reported {
        tally.event(overflow());
    }
    let counters = Counters {
        netns: NETNS,
        overflowed: seen,
        overflow_ring_full: ring,
        ..Counters::ZERO
    };
    tally.snapshot(snapshot(9_000, &[counters], &[]));
    tally.summary(false)
}

#[test]
fn the_books_balance_when_every_event_was_reported() {
    let summary = trace(3, 3, 0);
    assert_eq!(summary.books.overflows.balanced, Some(true));
    assert!(summary.complete());
    assert_eq!(summary.duration_ns, 8_000);
}

#[test]
fn a_full_ring_is_a_loss_but_the_books_balance() {
    let summary = trace(5, 3, 2);
    assert_eq!(summary.books.overflows.balanced, Some(true));
    assert_eq!(summary.books.overflows.lost.ring, 2);
    assert!(!summary.complete());
}

#[test]
fn an_event_that_nobody_counted_does_not_balance() {
    assert_eq!(trace(2, 3, 0).books.overflows.balanced, Some(false));
    assert_eq!(trace(4, 3, 0).books.overflows.balanced, Some(false));
}

#[test]
fn births_without_room_and_skipped_programs_are_losses() {
    for (map_full, missed) in [(1, 0), (0, 1)] {
        let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Totals);
        let counters = Counters {
            map_full,
            missed,
            ..Counters::ZERO
        };
        tally.snapshot(snapshot(2_000, &[counters], &[]));
        assert_eq!(tally.summary(false).books.ends.lost.total(), 1);
        assert!(!tally.summary(false).complete());
    }
}

#[test]
fn a_kernel_that_does_not_tell_of_skipped_programs_is_not_said_to_have_skipped_none() {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Totals);
    let mut last = snapshot(2_000, &[], &[]);
    last.missed = None;
    tally.snapshot(last);
    assert_eq!(tally.summary(false).books.ends.lost.missed, None);
}

#[test]
fn totals_without_records_have_nothing_to_lose_on_the_way() {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Totals);
    let ring_full = Counters {
        end_ring_full: 2,
        ..counted(NETNS)
    };
    tally.snapshot(snapshot(2_000, &[ring_full], &[]));
    let summary = tally.summary(false);
    let ends = summary.books.ends;
    assert_eq!((ends.seen, ends.reported, ends.lost.ring), (5, 5, 0));
    assert!(summary.complete());
}

#[test]
fn a_cut_recording_neither_balances_nor_fails_to() {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Records);
    tally.event(overflow());
    let summary = tally.summary(true);
    assert_eq!(summary.books.overflows.balanced, None);
    assert!(!summary.complete());
    assert_eq!(summary.duration_ns, 4_000);
}

#[test]
fn a_record_that_could_not_be_decoded_is_a_loss() {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Records);
    tally.snapshot(snapshot(2_000, &[], &[]));
    tally.undecoded();
    assert!(!tally.summary(false).complete());
}

#[test]
fn with_a_filter_the_kernel_counts_more_than_we_do() {
    let filtered = Meta {
        filtered: true,
        ..meta(TwCountedAt::Birth)
    };
    let mut tally = Tally::new(&filtered, Detail::Totals);
    tally.snapshot(snapshot(
        2_000,
        &[counted(NETNS)],
        &[kernel(NETNS, [900; 4])],
    ));
    let books = tally.summary(false).books;
    assert_eq!((books.kernel.clone(), books.agrees()), (None, None));
}

/// The kernel's counters of refusals.
fn paws(values: &[(&str, u64)]) -> KernelCounters {
    let mut kernel = kernel(NETNS, [0; 4]);
    let values = values.iter().map(|&(name, value)| (name.into(), value));
    kernel.tcp_ext.extend(values);
    kernel
}

/// 5 by PAWS in TIME_WAIT, 2 in SYN_RECV, 1 and an old ACK on live connections, 3 answers skipped.
fn refused() -> Counters {
    let mut counters = Counters {
        netns: NETNS,
        ..Counters::ZERO
    };
    counters.refused[RefusalClass::TimeWaitPaws as usize] = 5;
    counters.refused[RefusalClass::SynRecvPaws as usize] = 2;
    counters.refused[RefusalClass::EstablishedPaws as usize] = 1;
    counters.refused[RefusalClass::EstablishedOldAck as usize] = 1;
    counters.skipped[Skipped::TimeWait as usize] = 3;
    counters
}

fn compare_refusals(ours: Counters, before: &[(&str, u64)], after: &[(&str, u64)]) -> Comparison {
    let first = snapshot(0, &[], &[paws(before)]);
    let last = snapshot(1, &[ours], &[paws(after)]);
    compare(TwCountedAt::Birth, &first, &last)
}

fn named(comparison: &Comparison) -> Vec<(&'static str, u64, Option<bool>)> {
    let rows = comparison.rows.iter();
    rows.map(|row| (row.counter.name(), row.expected, row.agree))
        .collect()
}

const OLD: [(&str, u64); 2] = [("PAWSEstab", 10), ("TCPACKSkippedTimeWait", 1)];
const NEW: [(&str, u64); 4] = [
    ("PAWSEstab", 10),
    ("PAWSTimewait", 7),
    ("PAWSOldAck", 0),
    ("TCPACKSkippedTimeWait", 1),
];

#[test]
fn up_to_6_12_the_kernel_counts_paws_in_time_wait_as_paws_estab() {
    let after = [("PAWSEstab", 18), ("TCPACKSkippedTimeWait", 4)];
    let comparison = compare_refusals(refused(), &OLD, &after);
    let expected = [
        ("PAWSEstab", 8, Some(true)),
        ("PAWSOldAck", 1, None),
        ("TCPACKSkippedTimeWait", 3, Some(true)),
    ];
    assert_eq!(named(&comparison), expected);
    assert_eq!(comparison.rows[1].kernel, Err(Unread::NoSuchCounter));
}

#[test]
fn from_6_16_on_paws_in_time_wait_has_a_counter_of_its_own() {
    let after = [
        ("PAWSEstab", 13),
        ("PAWSTimewait", 12),
        ("PAWSOldAck", 1),
        ("TCPACKSkippedTimeWait", 4),
    ];
    let comparison = compare_refusals(refused(), &NEW, &after);
    let expected = [
        ("PAWSTimewait", 5, Some(true)),
        ("PAWSEstab", 3, Some(true)),
        ("PAWSOldAck", 1, Some(true)),
        ("TCPACKSkippedTimeWait", 3, Some(true)),
    ];
    assert_eq!(named(&comparison), expected);
    assert_eq!(comparison.agrees(), Some(true));
}

#[test]
fn a_rst_in_syn_recv_moves_paws_estab_unseen_so_more_of_it_proves_nothing() {
    let quiet = Counters {
        netns: NETNS,
        ..Counters::ZERO
    };
    let comparison = compare_refusals(quiet, &OLD, &[("PAWSEstab", 12), OLD[1]]);
    assert_eq!(named(&comparison), [("PAWSEstab", 0, None)]);
    assert_eq!(comparison.rows[0].doubt, Some(Doubt::RstInSynRecv));
    assert_eq!(comparison.agrees(), Some(true));
    let less = compare_refusals(refused(), &OLD, &[("PAWSEstab", 12), OLD[1]]);
    assert_eq!(less.agrees(), Some(false));
}

#[test]
fn a_kernel_that_refused_more_than_we_saw_in_time_wait_does_not_agree() {
    let mut after = NEW;
    after[1].1 += 1;
    let quiet = Counters {
        netns: NETNS,
        ..Counters::ZERO
    };
    let comparison = compare_refusals(quiet, &NEW, &after);
    assert_eq!(named(&comparison), [("PAWSTimewait", 0, Some(false))]);
}

#[test]
fn counters_of_refusals_are_named_only_where_something_moved() {
    let quiet = Counters {
        netns: NETNS,
        ..Counters::ZERO
    };
    let comparison = compare_refusals(quiet, &NEW, &NEW);
    let names: Vec<_> = comparison.counters().map(Counter::name).collect();
    assert_eq!(names, ["TW+TWKilled", "TWRecycled", "TCPTimeWaitOverflow"]);
    let mut after = NEW;
    after[1].1 += 5;
    after[0].1 += 3;
    after[2].1 += 1;
    after[3].1 += 3;
    let comparison = compare_refusals(refused(), &NEW, &after);
    assert_eq!(comparison.counters().count(), 3 + 4);
}

#[test]
fn without_refusals_traced_their_counters_prove_nothing() {
    let untraced = Meta {
        refusals: false,
        ..meta(TwCountedAt::Birth)
    };
    let mut tally = Tally::new(&untraced, Detail::Records);
    tally.snapshot(snapshot(1_000, &[], &[paws(&OLD)]));
    tally.snapshot(snapshot(2_000, &[], &[paws(&[("PAWSEstab", 99), OLD[1]])]));
    let books = tally.summary(false).books;
    assert_eq!(books.refusals, None);
    assert_eq!(books.kernel.map(|kernel| kernel.rows), Some(Vec::new()));
}

#[test]
fn old_acks_are_not_compared_where_drops_were_not_traced() {
    let meta = Meta {
        drops: false,
        ..meta(TwCountedAt::Birth)
    };
    let first = snapshot(0, &[], &[paws(&NEW)]);
    let after = [("PAWSEstab", 10), ("PAWSTimewait", 7), ("PAWSOldAck", 4)];
    let last = snapshot(
        1,
        &[Counters {
            netns: NETNS,
            ..Counters::ZERO
        }],
        &[paws(&after)],
    );
    let books = Books::new(&meta, &Opening::from(&first), &last, None, 0, false);
    let rows = books.kernel.unwrap().rows;
    assert!(rows.iter().all(|row| row.counter != Counter::PawsOldAck));
}

/// A trace in which 9 refusals were counted, and none was reported.
fn refusals(limited: u64, ring: u64) -> Summary {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Records);
    let counters = Counters {
        refusal_limited: limited,
        refusal_ring_full: ring,
        ..refused()
    };
    tally.snapshot(snapshot(2_000, &[counters], &[]));
    tally.summary(false)
}

#[test]
fn refusals_beyond_the_rate_balance_but_their_detail_is_missing() {
    let summary = refusals(7, 2);
    let class = summary.books.refusals.unwrap();
    assert_eq!((class.seen, class.limited, class.lost.ring), (9, 7, 2));
    assert_eq!(class.balanced, Some(true));
    assert!(!summary.complete());
    let limited_alone = refusals(9, 0);
    assert_eq!(limited_alone.books.lost().total(), 0);
    assert!(!limited_alone.complete());
}

#[test]
fn refusals_that_nobody_accounts_for_do_not_balance() {
    assert_eq!(refusals(7, 1).books.refusals.unwrap().balanced, Some(false));
}

#[test]
fn ends_whose_record_was_not_asked_for_are_no_loss() {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Records);
    let quiet = Counters {
        end_quiet: 5,
        ..counted(NETNS)
    };
    let quiet = Counters {
        overflowed: 0,
        ..quiet
    };
    tally.snapshot(snapshot(2_000, &[quiet], &[]));
    let summary = tally.summary(false);
    let ends = summary.books.ends;
    assert_eq!((ends.seen, ends.unasked, ends.reported), (5, 5, 0));
    assert!(summary.complete());
}

/// A trace of which 3 births and 7 port failures were counted, and none was reported.
fn births_and_failures(births_lost: u64, limited: u64, ring: u64) -> Summary {
    let meta = Meta {
        births: true,
        ports: true,
        ..meta(TwCountedAt::Birth)
    };
    let mut tally = Tally::new(&meta, Detail::Records);
    let counters = Counters {
        born_fin_wait_2: 2,
        born_time_wait: 1,
        birth_ring_full: births_lost,
        port_failures: [5, 2],
        port_failure_limited: limited,
        port_failure_ring_full: ring,
        ..Counters::ZERO
    };
    tally.snapshot(snapshot(2_000, &[counters], &[]));
    tally.summary(false)
}

#[test]
fn births_balance_by_the_births_counted() {
    let class = |lost| births_and_failures(lost, 4, 3).books.births.unwrap();
    assert_eq!((class(3).seen, class(3).lost.ring), (3, 3));
    assert_eq!(class(3).balanced, Some(true));
    assert_eq!(class(2).balanced, Some(false));
}

#[test]
fn port_failures_beyond_the_rate_balance_but_their_detail_is_missing() {
    let summary = births_and_failures(3, 4, 3);
    let class = summary.books.port_failures.unwrap();
    assert_eq!((class.seen, class.limited, class.lost.ring), (7, 4, 3));
    assert_eq!(class.balanced, Some(true));
    assert_eq!(summary.books.lost().ring, 6);
    assert!(!summary.complete());
    let class = births_and_failures(3, 4, 2).books.port_failures.unwrap();
    assert_eq!(class.balanced, Some(false));
}

#[test]
fn what_was_not_traced_has_no_books() {
    let books = trace(0, 0, 0).books;
    assert_eq!((books.births, books.port_failures), (None, None));
}
