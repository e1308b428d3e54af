use std::collections::BTreeSet;

use super::docs::CODES;
use super::say::say;
use crate::event::facts::{Destination, FullFinWait2, Holder};
use crate::model::doctor::{Buckets, Finding, Moved, Rate, ReuseAge, ReuseHelp, Severity, What};

const BUCKETS: Buckets = Buckets {
    population: 4_096,
    limit: 4_096,
    default: None,
    overflows: 7,
};
const RATE: Rate = Rate {
    count: 1_204,
    per_hour: 120.4,
};

fn ports(help: ReuseHelp) -> What {
    What::Ports {
        destination: Destination {
            laddr: [10, 0, 0, 5].into(),
            raddr: [10, 0, 0, 30].into(),
            rport: 5432,
            ports: 28_001,
            time_wait: 27_610,
        },
        usable: 28_232,
        help,
    }
}

/// One of each kind.
fn every() -> Vec<What> {
    let why = || "why".into();
    let refused = |in_time_wait| What::RefusedByTimestamp {
        count: RATE,
        in_time_wait,
        unanswered: 3,
    };
    vec![
        What::NoBtf { why: why() },
        What::TracingRefused { why: why() },
        What::NeedsPrivileges {
            missing: vec!["CAP_BPF".into(), "CAP_PERFMON".into()],
        },
        What::PointMissing {
            point: "end".into(),
            why: why(),
            without: None,
        },
        What::PointMissing {
            point: "overflow".into(),
            why: why(),
            without: Some("overflows are not seen".into()),
        },
        What::TracingWorks {
            fentry: 9,
            kprobe: 1,
        },
        What::NamespacesUnread {
            count: 2,
            why: why(),
        },
        What::Buckets(BUCKETS),
        What::Overflowed(BUCKETS),
        What::BucketsLowered {
            limit: 5_000,
            default: 65_536,
        },
        ports(ReuseHelp::PortsAreInUse),
        ports(ReuseHelp::NeedsTimestamps),
        ports(ReuseHelp::IsOn),
        ports(ReuseHelp::OnlyLoopback),
        ports(ReuseHelp::IsOff),
        What::SmallRange { usable: 101 },
        What::ReuseWithoutTimestamps,
        What::ReuseOnlyOutgoing {
            age: ReuseAge::Ms(200),
        },
        What::ReuseOnlyOutgoing {
            age: ReuseAge::NextSecond,
        },
        What::TimestampsOff,
        What::Rfc1337 { refused: 0 },
        What::Rfc1337 { refused: 1 },
        What::FinTimeout { seconds: 15 },
        What::FinTimeout { seconds: 120 },
        What::RecycleOn { dropped: 41 },
        What::RecycleThere,
        What::RecycleGone {
            files: vec!["/etc/sysctl.conf".into()],
        },
        What::AutobindReuse,
        refused(true),
        refused(false),
        What::FinWait2Held(FullFinWait2 {
            held: 150,
            orphans: 0,
            named: 140,
            holders: vec![Holder {
                pid: 812,
                command: "python3".into(),
                sockets: 130,
            }],
        }),
        What::RefusedNow(Moved {
            counters: vec![("PAWSEstab", 3), ("TCPSYNChallenge", 1)],
            within_ns: 1_200_000_000,
        }),
        What::RefusedElsewhere {
            counters: vec![("TCPSYNChallenge", RATE)],
        },
        What::ListenDrops { count: RATE },
        What::SynsAgain {
            count: 41,
            opens: 1_000,
        },
        What::ClosedByReset {
            count: 41,
            opens: 1_000,
        },
    ]
}

fn finding(severity: Severity, what: What) -> Finding {
    Finding::new(severity, None, what)
}

#[test]
fn every_finding_has_a_subject_evidence_and_a_documented_code() {
    let mut codes = BTreeSet::new();
    for what in every() {
        let said = say(&finding(Severity::Warning, what.clone()));
        assert!(!said.subject.is_empty(), "{what:?}");
        assert!(!said.evidence.is_empty(), "{what:?}");
        // What is to be run has a price, unless it only looks.
        let looks = |command: &String| command.contains("twtrace");
        let free = said.command.as_ref().is_none_or(looks);
        assert!(free || said.side_effect.is_some(), "{what:?}");
        codes.insert(what.code());
    }
    let documented: BTreeSet<_> = CODES.iter().map(|code| code.0).collect();
    assert_eq!(codes, documented);
}

#[test]
fn no_sentence_ends_in_a_dot_or_holds_two_spaces() {
    for what in every() {
        for severity in [Severity::Danger, Severity::Warning, Severity::Ok] {
            let said = say(&finding(severity, what.clone()));
            let advice = said.advice.unwrap_or_default();
            let side_effect = said.side_effect.unwrap_or_default();
            for text in [said.subject, said.evidence, advice, side_effect] {
                assert!(!text.ends_with('.') && !text.contains("  "), "{text}");
            }
        }
    }
}

/// Evidence and command of a finding.
fn said(severity: Severity, what: What) -> (String, String) {
    let said = say(&finding(severity, what));
    (said.evidence, said.command.unwrap_or_default())
}

#[test]
fn a_full_table_says_how_full_and_what_to_run() {
    let (evidence, command) = said(Severity::Danger, What::Buckets(BUCKETS));
    assert_eq!(
        evidence,
        "4,096 closed connections of 4,096 allowed by tcp_max_tw_buckets (100 %). 7 connections ended without TIME_WAIT so far for lack of room"
    );
    assert_eq!(command, "sysctl -w net.ipv4.tcp_max_tw_buckets=8192");
}

#[test]
fn ports_say_who_holds_them_and_the_advice_fits_that() {
    let of = |help| said(Severity::Danger, ports(help));
    let (evidence, command) = of(ReuseHelp::OnlyLoopback);
    assert_eq!(
        evidence,
        "28,001 of 28,232 local ports in use, 27,610 by TIME_WAIT"
    );
    assert_eq!(command, "sysctl -w net.ipv4.tcp_tw_reuse=1");
    let needs = of(ReuseHelp::NeedsTimestamps).1;
    assert!(needs.contains("tcp_timestamps=1") && needs.contains("tcp_tw_reuse=1"));
    assert!(
        of(ReuseHelp::PortsAreInUse)
            .1
            .contains("ip_local_port_range")
    );
    assert_eq!(of(ReuseHelp::IsOn).1, "");
}

#[test]
fn the_age_for_reuse_is_said_as_this_kernel_has_it() {
    let of = |age| said(Severity::Note, What::ReuseOnlyOutgoing { age }).0;
    assert!(of(ReuseAge::Ms(200)).contains("older than 200 ms"));
    assert!(of(ReuseAge::NextSecond).contains("from the next full second on"));
}

#[test]
fn where_the_kernel_does_not_count_time_wait_apart_it_is_said() {
    let of = |in_time_wait| {
        let what = What::RefusedByTimestamp {
            count: Rate {
                count: 1,
                per_hour: 0.5,
            },
            in_time_wait,
            unanswered: 0,
        };
        said(Severity::Note, what).0
    };
    assert_eq!(
        of(true),
        "1 segment that met a TIME_WAIT socket had an older timestamp than the segment before and was refused (under 1/h)"
    );
    assert!(of(false).contains("this kernel counts both together"));
}
