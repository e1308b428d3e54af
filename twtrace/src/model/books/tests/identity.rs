//! Whose counters are compared with whose, and what follows.

use super::*;

fn with_cookie(cookie: u64, values: [u64; 4]) -> KernelCounters {
    KernelCounters {
        cookie: Some(cookie),
        ..kernel(NETNS, values)
    }
}

fn births(id: u64, births: u64) -> Counters {
    Counters {
        id,
        netns: NETNS,
        born_time_wait: births,
        ..Counters::ZERO
    }
}

fn rows(comparison: &Comparison) -> Vec<(Result<u64, Unread>, u64, Option<bool>)> {
    let time_wait = comparison.rows.iter();
    time_wait
        .filter(|row| row.counter == Counter::TimeWait)
        .map(|row| (row.kernel, row.expected, row.agree))
        .collect()
}

#[test]
fn an_inode_number_that_was_given_again_is_no_false_alarm() {
    let first = snapshot(1, &[], &[with_cookie(10, [1, 0, 0, 0])]);
    let last = snapshot(
        2,
        &[births(10, 25), births(11, 3), births(12, 3)],
        &[with_cookie(12, [3, 0, 0, 0])],
    );
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(comparison.agrees(), Some(true));
    let gone = Err(Unread::NamespaceGone);
    assert_eq!(
        rows(&comparison),
        [(gone, 25, None), (gone, 3, None), (Ok(3), 3, Some(true))]
    );
    assert!(comparison.rows.iter().all(|row| row.netns == NETNS));
}

#[test]
fn without_cookies_an_inode_number_of_several_namespaces_proves_nothing() {
    let first = snapshot(1, &[], &[kernel(NETNS, [1, 0, 0, 0])]);
    let ours = [births(1 << 32, 25), births(2 << 32, 3)];
    let last = snapshot(2, &ours, &[kernel(NETNS, [29, 0, 0, 0])]);
    let comparison = compare(TwCountedAt::Birth, &first, &last);
    assert_eq!(comparison.agrees(), None);
    assert_eq!(comparison.unread, 1);
}

#[test]
fn a_namespace_that_was_not_found_at_the_start_may_have_counted_before() {
    let first = snapshot(1, &[], &[]);
    let last = |by_kernel| {
        let kernel = [with_cookie(10, [by_kernel, 0, 0, 0])];
        compare(
            TwCountedAt::Birth,
            &first,
            &snapshot(2, &[births(10, 3)], &kernel),
        )
    };
    assert_eq!(last(3).agrees(), Some(true));
    assert_eq!(last(2).agrees(), Some(false));
    let older = last(4);
    assert_eq!(rows(&older), [(Ok(4), 3, None)]);
    assert_eq!(older.rows[0].doubt, Some(Doubt::NotFoundAtStart));
}

/// A trace that shows nothing and counts `ours`, where the kernel counted `by_kernel`.
fn closed(ours: Counters, by_kernel: [u64; 4]) -> Summary {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Totals);
    tally.snapshot(snapshot(1, &[], &[with_cookie(10, [0; 4])]));
    tally.snapshot(snapshot(2, &[ours], &[with_cookie(10, by_kernel)]));
    tally.summary(false)
}

#[test]
fn a_kernel_that_disagrees_makes_a_trace_incomplete() {
    assert!(closed(births(10, 3), [3, 0, 0, 0]).complete());
    assert!(!closed(births(10, 3), [4, 0, 0, 0]).complete());
}

#[test]
fn a_difference_by_inode_number_may_be_between_two_namespaces() {
    let mut tally = Tally::new(&meta(TwCountedAt::Birth), Detail::Totals);
    tally.snapshot(snapshot(1, &[], &[kernel(NETNS, [0; 4])]));
    tally.snapshot(snapshot(2, &[births(0, 3)], &[kernel(NETNS, [4, 0, 0, 0])]));
    let summary = tally.summary(false);
    assert_eq!(summary.books.agrees(), Some(false));
    assert!(summary.complete());
}

#[test]
fn a_skipped_look_at_an_overflow_is_a_loss_only_if_the_kernel_counted_one() {
    let skipped = Counters {
        overflow_missed: 2,
        ..births(10, 3)
    };
    let harmless = closed(skipped, [3, 0, 0, 0]);
    assert!(harmless.complete());
    assert_eq!(harmless.books.lost().missed, Some(0));
    let harmful = closed(skipped, [3, 0, 0, 1]);
    assert!(!harmful.complete());
    assert_eq!(harmful.books.lost().missed, Some(2));
}

#[test]
fn a_mark_without_room_is_a_loss() {
    let lost = Counters {
        mark_lost: 2,
        ..births(10, 3)
    };
    let summary = closed(lost, [3, 0, 0, 0]);
    assert_eq!((summary.complete(), summary.books.lost().marks), (false, 2));
}
