//! One run of four cases, in every format. KTAP and JUnit are also given to parsers that we did not
//! write: the kernel's own (`cargo xtask test`) and a crate.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::check::baseline::Difference;
use crate::check::expect::Sign;
use crate::check::outcome::{Outcome, Verdict};
use crate::check::runner;
use crate::check::scenarios::SCENARIOS;
use crate::event::{BornAs, End, Event, Flow, Meta};

fn meta() -> Meta {
    Meta {
        kernel: "6.18.0-test".into(),
        hooks: 11,
        wall_offset_ns: 1_700_000_000_000_000_000,
        rearms: true,
        refusals: true,
        drops: true,
        ..Meta::sample()
    }
}

fn end() -> End {
    let flow = Flow {
        laddr: [127, 0, 0, 1].into(),
        lport: 4000,
        raddr: [127, 0, 0, 1].into(),
        rport: 443,
        netns: 4_026_532_200,
        uid: Some(10_007),
        ..Flow::sample()
    };
    End {
        born_as: Some(BornAs::FinWait2),
        time_wait_ns: Some(1_300_000_000),
        ended_ns: 31_300_000_000,
        ..End::sample(flow)
    }
}

fn outcomes() -> Vec<Outcome> {
    let wanted = ["expired", "reuse-delay-range", "destroyed"];
    let scenarios = SCENARIOS.iter().filter(|row| wanted.contains(&row.name));
    let cases = runner::cases(&scenarios.collect::<Vec<_>>()).unwrap();
    let outcome = |planned: &runner::Planned| {
        let mut outcome = Outcome {
            case: planned.case,
            verdict: Verdict::Pass,
            sockets: 11,
            took: Duration::from_millis(62_345),
            found: BTreeMap::new(),
            counters: [("TW".into(), 11)].into(),
            events: Vec::new(),
            crowd: false,
            clients: None,
        };
        match (planned.case.name, planned.case.family) {
            ("expired", Family::Ipv6) => {
                let lie = "127.0.0.1:4000 > 127.0.0.1:443 was in TIME_WAIT for 30 s";
                outcome.verdict = Verdict::Fail(vec![lie.into()]);
                outcome.events = vec![Event::End(end())];
            }
            ("destroyed", _) => {
                outcome.verdict = Verdict::Skip("the kernel answers EOPNOTSUPP".into());
            }
            _ => {}
        }
        outcome
    };
    cases.iter().map(outcome).collect()
}

fn comparison() -> Comparison {
    let difference = |kind, name: &str| Difference {
        kind,
        name: name.into(),
        family: "ipv4".into(),
        what: "SYNs refused per client".into(),
        was: "0.00".into(),
        is: "0.41".into(),
        because: vec!["it has a sign".into()],
    };
    Comparison {
        was: "6.1.0-test".into(),
        is: "6.18.0-test".into(),
        differences: vec![
            difference(Kind::Regression, "nat-random"),
            difference(Kind::Changed, "count-paws"),
        ],
        same: 5,
        alone: 1,
    }
}

fn printed(format: Format) -> String {
    let (meta, outcomes) = (meta(), outcomes());
    let shown = Shown::from_iter([Sign::ReuseDelay]);
    let run = Run {
        meta: &meta,
        shown: &shown,
        outcomes: &outcomes,
        took: Duration::from_millis(63_000),
    };
    let mut out = Vec::new();
    report(Some(&run), Some(&comparison()), format, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Compares with a file, or writes it if TWTRACE_BLESS is set.
fn golden(name: &str, found: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TWTRACE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), found, "{name}");
}

#[test]
fn each_format_says_the_same_as_ever() {
    golden("check.txt", &printed(Format::Text));
    golden("check.ktap", &printed(Format::Ktap));
    golden("check.json", &printed(Format::Json));
    golden("check.xml", &printed(Format::Junit));
}

#[test]
fn a_failure_is_explained_by_its_rule_and_its_events() {
    let text = printed(Format::Text);
    for wanted in [
        "was in TIME_WAIT for 30 s",
        "expected: TIME_WAIT that began as FIN_WAIT2 lasts 60 s",
        "why it matters: ",
        "in the kernel: tw_timer_handler",
        "counters that moved: TW 11",
        "1 events were traced:",
        "127.0.0.1:4000",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn one_failed_family_fails_its_scenario_and_its_group_in_ktap() {
    let ktap = printed(Format::Ktap);
    let results: Vec<&str> = ktap.lines().filter(|line| line.contains("ok ")).collect();
    assert_eq!(
        results,
        [
            "    ok 1 ipv4",
            "    not ok 2 ipv6",
            "    ok 3 ipv4-mapped",
            "  not ok 1 expired",
            "    ok 1 ipv4 # SKIP the kernel answers EOPNOTSUPP",
            "    ok 2 ipv6 # SKIP the kernel answers EOPNOTSUPP",
            "    ok 3 ipv4-mapped # SKIP the kernel answers EOPNOTSUPP",
            "  ok 2 destroyed # SKIP the kernel answers EOPNOTSUPP",
            "not ok 1 lifecycle",
            "    ok 1 ipv4",
            "  ok 1 reuse-delay-range",
            "ok 2 reuse",
            "  not ok 1 nat-random ipv4: SYNs refused per client",
            "  ok 2 count-paws ipv4: SYNs refused per client",
            "not ok 3 baseline",
        ]
    );
}

#[test]
fn a_junit_parser_reads_what_we_write() {
    let read = junit_parser::from_reader(printed(Format::Junit).as_bytes()).unwrap();
    assert_eq!((read.tests, read.failures, read.skipped), (9, 2, 3));
    assert_eq!(read.suites.len(), 3);
    let expired = &read.suites[0].cases[1];
    let classname = expired.classname.as_deref();
    assert_eq!(classname, Some("twtrace.lifecycle.expired"));
    let failure = match &expired.status {
        junit_parser::TestStatus::Failure(failure) => failure,
        other => panic!("{other:?}"),
    };
    assert!(failure.message.contains("was in TIME_WAIT for 30 s"));
    assert!(failure.text.contains("in the kernel: tw_timer_handler"));
}

#[test]
fn colours_are_for_those_who_want_them() {
    let (meta, outcomes) = (meta(), outcomes());
    let run = Run {
        meta: &meta,
        shown: &Shown::default(),
        outcomes: &outcomes,
        took: Duration::ZERO,
    };
    let mut out = Vec::new();
    report(Some(&run), None, Format::Text, true, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("\u{1b}[32mok"));
    assert!(!printed(Format::Text).contains('\u{1b}'));
}
