use super::*;

/// Refused SYNs of one address with nothing in particular about them.
fn facts(conflicts: u64) -> Facts {
    Facts {
        conflicts,
        gaps: conflicts,
        same: 1,
        far_back: conflicts,
        isn_ahead: conflicts.div_ceil(2),
        isn_behind: conflicts / 2,
        ttls: vec![63],
        windows: vec![64_240],
        span_ns: 40_000_000_000,
        ..Facts::default()
    }
}

fn case(facts: &Facts, cause: Cause) -> Hypothesis {
    let mut all = weigh(facts);
    all.retain(|one| one.cause == cause);
    all.remove(0)
}

fn best(facts: &Facts) -> Cause {
    weigh(facts)[0].cause
}

fn standing(facts: &Facts, cause: Cause) -> Standing {
    case(facts, cause).standing()
}

#[test]
fn unrelated_gaps_with_one_ttl_and_window_are_likely_one_host_behind_a_port_rewriting_nat() {
    let facts = Facts {
        ttl_same: 83,
        jumps: 70,
        ports_hashed: true,
        ..facts(83)
    };
    assert_eq!(best(&facts), Cause::PortRewritingNat);
    assert_eq!(standing(&facts, Cause::PortRewritingNat), Standing::Likely);
    // Eighty-three hosts cannot be ruled out.
    assert_eq!(standing(&facts, Cause::SeveralHosts), Standing::Less);
    assert_eq!(standing(&facts, Cause::ClockReset), Standing::Not);
    assert_eq!(standing(&facts, Cause::OldDuplicate), Standing::Not);
}

#[test]
fn different_clocks_alone_say_nothing_of_the_number_of_hosts() {
    let several = case(&facts(40), Cause::SeveralHosts);
    assert!(several.con.contains(&Argument::UnrelatedGaps { of: 40 }));
    assert!(several.standing() > Standing::Perhaps, "{several:?}");
}

#[test]
fn the_same_gap_again_and_again_is_likely_two_hosts_taking_turns() {
    let facts = Facts {
        same: 9,
        same_skew: -9_000_000,
        jumps: 8,
        jumps_back: 8,
        span_ns: 900_000_000_000,
        ..facts(9)
    };
    let several = case(&facts, Cause::SeveralHosts);
    assert_eq!(best(&facts), Cause::SeveralHosts);
    assert!(several.pro.contains(&Argument::TurnsTaken { n: 8 }));
    let rewriting = case(&facts, Cause::PortRewritingNat);
    assert_eq!(rewriting.standing(), Standing::Not);
    assert!(!rewriting.con.is_empty());
    assert_eq!(standing(&facts, Cause::ClockReset), Standing::Not);
}

#[test]
fn another_ttl_than_the_previous_owners_speaks_for_several_hosts() {
    let same = Facts {
        ttl_same: 4,
        ..facts(4)
    };
    let other = Facts {
        ttl_differs: Some((4, [57, 63])),
        ..facts(4)
    };
    let points = |facts: &Facts| case(facts, Cause::SeveralHosts).points;
    assert!(points(&other) > points(&facts(4)) && points(&facts(4)) > points(&same));
    let said = Argument::OtherTtl {
        n: 4,
        syn: 57,
        owner: 63,
    };
    assert!(case(&other, Cause::PortRewritingNat).con.contains(&said));
    // The same TTL does not tell hosts apart, but fits one host.
    let one = Argument::SameTtl { n: 4, ttl: 63 };
    assert!(case(&same, Cause::PortRewritingNat).pro.contains(&one));
}

/// All clocks went back at once, by one and the same amount.
fn went_back() -> Facts {
    Facts {
        same: 6,
        same_skew: -86_400_000,
        isn_ahead: 6,
        isn_behind: 0,
        in_step_before: 30,
        ..facts(6)
    }
}

#[test]
fn one_gap_for_all_from_one_moment_on_is_likely_a_clock_that_went_back() {
    assert_eq!(best(&went_back()), Cause::ClockReset);
    assert_eq!(standing(&went_back(), Cause::ClockReset), Standing::Likely);
}

#[test]
fn a_clock_that_went_back_once_does_not_refuse_for_minutes_nor_jump_ahead() {
    let long = Facts {
        span_ns: 600_000_000_000,
        ..went_back()
    };
    assert_ne!(best(&long), Cause::ClockReset);
    let jumps = Facts {
        jumps: 5,
        jumps_back: 5,
        ..went_back()
    };
    assert_eq!(best(&jumps), Cause::SeveralHosts);
    assert_eq!(standing(&jumps, Cause::ClockReset), Standing::Not);
}

#[test]
fn a_young_clock_speaks_for_a_reset_a_little_only() {
    let young = Facts {
        highest_tsval: Some(90_000),
        ..facts(1)
    };
    let old = Facts {
        highest_tsval: Some(3_000_000_000),
        ..facts(1)
    };
    assert_eq!(standing(&young, Cause::ClockReset), Standing::Perhaps);
    assert_eq!(standing(&old, Cause::ClockReset), Standing::Less);
}

#[test]
fn a_new_secret_after_a_reboot_gives_unrelated_gaps_all_at_once() {
    let rebooted = Facts {
        in_step_before: 50,
        ..facts(4)
    };
    assert_eq!(standing(&rebooted, Cause::ClockReset), Standing::Likely);
    let never_in_step = facts(4);
    assert_eq!(standing(&never_in_step, Cause::ClockReset), Standing::Not);
    let for_long = Facts {
        span_ns: 600_000_000_000,
        ..rebooted
    };
    assert_eq!(standing(&for_long, Cause::ClockReset), Standing::Not);
}

#[test]
fn a_timestamp_of_zero_is_a_stack_without_monotonic_timestamps() {
    let facts = Facts {
        zero_tsval: 4,
        highest_tsval: Some(0),
        ..facts(4)
    };
    assert_eq!(best(&facts), Cause::NonMonotonicStack);
    let rewriting = case(&facts, Cause::PortRewritingNat);
    let said = Argument::ZeroTsval { n: 4, of: 4 };
    assert!(rewriting.con.contains(&said));
}

#[test]
fn growing_isns_fit_a_linux_nat_as_well_as_another_stack() {
    let facts = Facts {
        isn_ahead: 115,
        isn_behind: 0,
        windows: vec![65_535],
        ..facts(115)
    };
    assert_eq!(best(&facts), Cause::PortRewritingNat);
    let stack = case(&facts, Cause::NonMonotonicStack);
    assert_eq!(stack.standing(), Standing::Likely);
}

#[test]
fn syns_without_timestamps_where_there_were_some_are_another_stack() {
    let facts = Facts {
        gaps: 0,
        same: 0,
        far_back: 0,
        without_tsval: 2,
        ..facts(2)
    };
    assert_eq!(best(&facts), Cause::NonMonotonicStack);
    assert_eq!(standing(&facts, Cause::SeveralHosts), Standing::Perhaps);
}

/// A lone SYN, a little behind in both.
fn duplicate() -> Facts {
    Facts {
        far_back: 0,
        isn_ahead: 0,
        isn_behind: 1,
        like_duplicates: 1,
        span_ns: 0,
        ..facts(1)
    }
}

#[test]
fn a_lone_syn_a_little_behind_is_likely_an_old_duplicate() {
    assert_eq!(best(&duplicate()), Cause::OldDuplicate);
    assert_eq!(
        standing(&duplicate(), Cause::OldDuplicate),
        Standing::Likely
    );
}

#[test]
fn an_old_duplicate_is_not_sent_again_nor_ahead_nor_one_of_many() {
    let points = |facts: &Facts| case(facts, Cause::OldDuplicate).points;
    let lone = points(&duplicate());
    let again = Facts {
        retried: 1,
        ..duplicate()
    };
    let ahead = Facts {
        isn_ahead: 1,
        isn_behind: 0,
        like_duplicates: 0,
        ..duplicate()
    };
    let many = Facts {
        conflicts: 9,
        isn_behind: 9,
        like_duplicates: 9,
        ..duplicate()
    };
    for worse in [again, ahead, many] {
        assert!(points(&worse) < lone, "{worse:?}");
    }
}

#[test]
fn one_conflict_makes_nothing_likely() {
    for ports_hashed in [false, true] {
        let facts = Facts {
            ports_hashed,
            ..facts(1)
        };
        for case in weigh(&facts) {
            assert!(case.standing() > Standing::Likely, "{case:?}");
        }
    }
    assert_eq!(weigh(&Facts::default()), []);
}

#[test]
fn what_this_kernel_hashes_counts_only_where_clocks_differ() {
    let hashed = Facts {
        ports_hashed: true,
        ..duplicate()
    };
    let said = case(&hashed, Cause::PortRewritingNat).pro;
    assert!(!said.contains(&Argument::PortsHashed));
}

#[test]
fn all_causes_are_weighed_and_the_best_comes_first() {
    let all = weigh(&facts(5));
    assert_eq!(all.len(), Cause::ALL.len());
    assert!(all.is_sorted_by_key(|one| std::cmp::Reverse(one.points)));
}
