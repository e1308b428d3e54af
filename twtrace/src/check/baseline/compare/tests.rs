//! Two runs that are the same, and one difference at a time, both ways.

use super::*;

const MS: u64 = 1_000_000;

fn times(ms: &[u64]) -> Times {
    ms.iter().copied().map(Duration::from_millis).collect()
}

fn case(name: &str) -> Case {
    Case {
        name: name.into(),
        group: "lifecycle".into(),
        family: "ipv4".into(),
        verdict: Judged::Pass,
        reason: None,
        found: [("FIN_WAIT2 under connect()".into(), "kept".into())].into(),
        counters: [("TW".into(), 7)].into(),
        crowd: false,
        lifetimes: [("time-wait expired".into(), times(&[60_100, 60_200, 61_900]))].into(),
        clients: None,
    }
}

fn crowd(refused_syns: u64, delays: &[u64]) -> Case {
    Case {
        crowd: true,
        clients: Some(Clients {
            tried: 100,
            came_through: delays.len() as u64,
            refused_syns,
            per_second: 50.0,
            delays: times(delays),
        }),
        ..case("nat-random")
    }
}

fn run(kernel: &str, cases: Vec<Case>) -> Baseline {
    Baseline {
        format: "twtrace-check".into(),
        v: 1,
        version: "0".into(),
        kernel: kernel.into(),
        attach: "fentry".into(),
        tick_ns: 4 * MS,
        shows: [("secure_tcp_seq_and_ts_off()".into(), false)].into(),
        cases,
    }
}

/// Kind and subject of each difference, one way and the other.
fn both_ways(was: Case, is: Case) -> [Vec<(Kind, String)>; 2] {
    let (was, is) = (run("old", vec![was]), run("new", vec![is]));
    [(&was, &is), (&is, &was)].map(|(a, b)| {
        let found = compare(a, b).differences.into_iter();
        found.map(|one| (one.kind, one.what)).collect()
    })
}

#[test]
fn a_run_is_the_same_as_itself() {
    let one = run("6.1", vec![case("expired"), crowd(40, &[3; 90])]);
    let comparison = compare(&one, &one.clone());
    assert_eq!(comparison.differences, []);
    assert_eq!((comparison.same, comparison.alone), (2, 0));
}

#[test]
fn what_begins_to_fail_is_a_regression_and_the_reverse_an_improvement() {
    let failed = Case {
        verdict: Judged::Fail,
        reason: Some("it lasted 30 s".into()),
        ..case("expired")
    };
    let what = || "verdict".to_owned();
    assert_eq!(
        both_ways(case("expired"), failed),
        [
            vec![(Kind::Regression, what())],
            vec![(Kind::Improvement, what())]
        ]
    );
}

#[test]
fn what_begins_to_be_skipped_has_changed() {
    let skipped = Case {
        verdict: Judged::Skip,
        ..case("destroyed")
    };
    let changed = vec![(Kind::Changed, "verdict".to_owned())];
    assert_eq!(
        both_ways(case("destroyed"), skipped),
        [changed.clone(), changed]
    );
}

#[test]
fn another_counter_or_finding_has_changed() {
    let mut other = case("count-paws");
    other.counters = [("TWKilled".into(), 7)].into();
    other.found.clear();
    let [changed, _] = both_ways(case("count-paws"), other);
    let wanted = ["FIN_WAIT2 under connect()", "TW", "TWKilled"];
    assert_eq!(changed, wanted.map(|what| (Kind::Changed, what.to_owned())));
}

#[test]
fn a_counter_that_a_sign_explains_is_one_difference_in_however_many_cases() {
    let family = |family: &str, tw| Case {
        family: family.into(),
        counters: [("TW".into(), tw)].into(),
        ..case("reset")
    };
    let both = |tw| vec![family("ipv4", tw), family("ipv6", tw)];
    let mut was = run("5.10", both(0));
    let mut is = run("6.1", both(7));
    // Nothing explains it: once for both families.
    let comparison = compare(&was, &is);
    assert_eq!(comparison.differences.len(), 1);
    assert_eq!(comparison.differences[0].family, "ipv4, ipv6");
    let sign = Sign::TwKill.name();
    was.shows.insert(sign.as_str().into(), true);
    is.shows.insert(sign.into(), false);
    let comparison = compare(&was, &is);
    let [one] = &comparison.differences[..] else {
        panic!("{comparison:?}");
    };
    assert_eq!(
        (one.name.as_str(), one.what.as_str()),
        ("counters", "TcpExt TW")
    );
    assert_eq!(
        one.because,
        ["6.1 has no inet_timewait_sock.tw_kill: TW and TWKilled count at birth"]
    );
    assert_eq!(comparison.same, 2);
}

#[test]
fn a_counter_does_not_explain_another() {
    let of = |challenges| Case {
        counters: [("TCPSYNChallenge".into(), challenges)].into(),
        ..case("refused-established")
    };
    let (mut was, mut is) = (run("6.1", vec![of(0)]), run("6.18", vec![of(5)]));
    was.shows.insert(Sign::PawsOldAck.name().into(), false);
    is.shows.insert(Sign::PawsOldAck.name().into(), true);
    let comparison = compare(&was, &is);
    let [one] = &comparison.differences[..] else {
        panic!("{comparison:?}");
    };
    let [because] = &one.because[..] else {
        panic!("{one:?}");
    };
    assert!(because.contains("an old SYN gets"), "{because}");
}

#[test]
fn counters_of_a_crowd_follow_the_weather() {
    let mut other = crowd(0, &[3; 100]);
    other.counters.clear();
    assert_eq!(both_ways(crowd(0, &[3; 100]), other), [vec![], vec![]]);
}

#[test]
fn lifetimes_within_a_granule_of_the_wheel_are_the_same_and_others_are_not() {
    let with = |ms: &[u64]| Case {
        lifetimes: [("time-wait expired".into(), times(ms))].into(),
        ..case("expired")
    };
    // 60 s are 15,000 ticks of 4 ms, and their granule is 2.048 s.
    assert_eq!(
        both_ways(with(&[60_050; 3]), with(&[62_040; 3])),
        [vec![], vec![]]
    );
    let found = ["median time-wait expired", "longest time-wait expired"];
    let changed = found.map(|what| (Kind::Changed, what.to_owned())).to_vec();
    assert_eq!(
        both_ways(with(&[60_050; 3]), with(&[64_000; 3])),
        [changed.clone(), changed]
    );
}

#[test]
fn granules_are_those_of_the_timer_wheel() {
    let granule = |tick_ms: u64, s: u64| {
        let ticks = Ticks(tick_ms * MS);
        ticks.granule(Duration::from_secs(s)).as_millis()
    };
    assert_eq!(granule(4, 60), 2_048);
    assert_eq!(granule(1, 60), 4_096);
    assert_eq!(granule(10, 60), 5_120);
    assert_eq!(granule(4, 1), 32);
}

#[test]
fn clients_that_begin_to_be_refused_are_a_regression_with_its_cause() {
    let before = run("6.18.15", vec![crowd(0, &[3; 100])]);
    let mut after = run(
        "7.2",
        vec![crowd(40, &[[3; 60], [1_100; 60]].concat()[..80])],
    );
    after
        .shows
        .insert("secure_tcp_seq_and_ts_off()".into(), true);
    let comparison = compare(&before, &after);
    let found: Vec<_> = comparison
        .differences
        .iter()
        .map(|one| one.what.as_str())
        .collect();
    assert_eq!(
        found,
        ["SYNs refused per client", "clients that took over 0.5 s"]
    );
    assert_eq!(comparison.count(Kind::Regression), 2);
    assert_eq!(
        comparison.differences[0].because,
        ["7.2 has secure_tcp_seq_and_ts_off(): SYNs are refused"]
    );
    assert_eq!(compare(&after, &before).count(Kind::Improvement), 2);
}

#[test]
fn shares_that_differ_by_chance_are_the_same() {
    let [a, b] = [30, 42].map(|refused| crowd(refused, &[3; 95]));
    assert_eq!(both_ways(a, b), [vec![], vec![]]);
}

#[test]
fn cases_that_one_run_left_out_are_counted() {
    let all = run("6.1", vec![case("expired"), case("reset")]);
    let some = run("6.1", vec![case("reset")]);
    assert_eq!(compare(&all, &some).alone, 1);
    assert_eq!(compare(&some, &all).alone, 1);
}
