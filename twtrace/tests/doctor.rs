//! What `doctor` says of facts that it read in VMs: exact bytes. The facts were written there by
//! `cargo xtask vm --kernel 6.1 -- twtrace doctor --facts`; `TWTRACE_BLESS=1` writes the rest anew.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[expect(dead_code, reason = "the other golden tests use the rest")]
mod support;

use std::fs;
use std::path::PathBuf;

use twtrace::event::facts::{Answer, Destination, Facts, Later, Sysctl, Unread, Value};
use twtrace::host::Names;
use twtrace::model::doctor::{Severity, diagnose};
use twtrace::view::docs;
use twtrace::view::doctor::{json, text};
use twtrace::view::paint::Paint;

use support::{expect, golden};

const KERNELS: [&str; 4] = ["5.10", "6.1", "6.18", "7.2"];

fn file(name: &str) -> PathBuf {
    golden("doctor").join(name)
}

/// A VM's facts, right after its boot.
fn facts(kernel: &str) -> Facts {
    let text = fs::read_to_string(file(&format!("{kernel}.facts.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The same host in trouble: out of ports, at the limit, with settings that were copied from an
/// old web page, seen by a user.
fn troubled() -> Facts {
    let mut facts = facts("6.1");
    facts.uptime_s = 2 * 86_400;
    facts.recycle_files = vec!["/etc/sysctl.d/99-tuning.conf".into()];
    facts.unread = Unread {
        count: 3,
        why: Some("entering them needs CAP_SYS_ADMIN (root)".into()),
        more: true,
    };
    facts.tracing.privileges.missing = vec!["CAP_BPF".into(), "CAP_PERFMON".into()];
    let refused = Answer::Unknown("bpf(2): Operation not permitted (os error 1)".into());
    facts.tracing.allowed = refused.clone();
    for point in &mut facts.tracing.points {
        if point.answer == Answer::Yes {
            point.answer = refused.clone();
        }
    }
    let mut other = facts.namespaces[0].clone();
    other.netns = 4_026_532_281;
    let own = &mut facts.namespaces[0];
    let mut set = |sysctl, value| {
        own.sysctls.get_mut(&sysctl).unwrap().value = Value::Number(value);
    };
    set(Sysctl::TcpTwReuse, 1);
    set(Sysctl::TcpTimestamps, 0);
    set(Sysctl::TcpFinTimeout, 15);
    set(Sysctl::TcpRfc1337, 1);
    let limit = own.number(Sysctl::TcpMaxTwBuckets).unwrap();
    own.population = Some(limit.unsigned_abs());
    own.destinations.count = 2;
    own.destinations.top = vec![
        Destination {
            laddr: [10, 0, 0, 5].into(),
            raddr: [10, 0, 0, 30].into(),
            rport: 5432,
            ports: 28_001,
            time_wait: 27_610,
        },
        Destination {
            laddr: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap(),
            raddr: "2001:db8::9".parse().unwrap(),
            rport: 443,
            ports: 20_000,
            time_wait: 10,
        },
    ];
    for (name, value) in [
        ("TW", 1_812_204),
        ("TCPTimeWaitOverflow", 4_117),
        ("PAWSEstab", 52_311),
        ("TCPACKSkippedTimeWait", 977),
        ("ListenDrops", 41),
        ("ActiveOpens", 1_900_000),
        ("TCPSynRetrans", 90_000),
        ("TCPAbortOnData", 120_000),
        ("TCPSYNChallenge", 12),
    ] {
        own.counters.insert(name.into(), value);
    }
    let mut counters = own.counters.clone();
    counters.insert("PAWSEstab".into(), 52_314);
    own.read_at_ns = 2 * 86_400_000_000_000;
    own.later = Some(Later {
        at_ns: own.read_at_ns + 1_200_300_000,
        counters,
    });
    other.sysctls.get_mut(&Sysctl::TcpTwReuse).unwrap().value = Value::Number(0);
    facts.namespaces.push(other);
    facts
}

#[test]
fn each_kernel_is_described_as_it_is() {
    for kernel in KERNELS {
        let facts = facts(kernel);
        let said = text(&facts, &diagnose(&facts), Paint::NONE, &mut Names::none());
        expect(&file(&format!("{kernel}.txt")), said.as_bytes());
    }
}

#[test]
fn a_host_in_trouble_is_told_the_worst_first() {
    let facts = troubled();
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.verdict(), Severity::Danger);
    let said = text(&facts, &diagnosis, Paint::NONE, &mut Names::none());
    expect(&file("troubled.txt"), said.as_bytes());
    expect(&file("troubled.json"), json(&facts, &diagnosis).as_bytes());
}

#[test]
fn text_fits_80_columns() {
    let mut all = KERNELS.map(facts).to_vec();
    all.push(troubled());
    for facts in all {
        for line in text(&facts, &diagnose(&facts), Paint::NONE, &mut Names::none()).lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(!line.ends_with(' '), "{line:?}");
        }
    }
}

#[test]
fn json_has_exactly_the_documented_fields() {
    let facts = troubled();
    let object: serde_json::Value = serde_json::from_str(&json(&facts, &diagnose(&facts))).unwrap();
    let keys: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let page = docs::output_md();
    let start = page.find("## The object of `doctor`").unwrap();
    let section = &page[start..page[start..].find("A finding has").unwrap() + start];
    let mut documented: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    documented.sort_unstable();
    let mut keys = keys;
    keys.sort_unstable();
    assert_eq!(keys, documented);
}

#[test]
fn what_is_not_known_is_null_and_what_may_not_be_asked_is_unknown() {
    let facts = troubled();
    let object: serde_json::Value = serde_json::from_str(&json(&facts, &diagnose(&facts))).unwrap();
    for hook in object["hooks"].as_array().unwrap() {
        let expected = match hook["way"].is_null() {
            true => "no",
            false => "unknown",
        };
        assert_eq!(hook["answer"], expected, "{hook}");
    }
    let delay = object["sysctls"].as_array().unwrap().iter();
    let delay = delay
        .clone()
        .find(|row| row["name"] == "tcp_tw_reuse_delay");
    assert!(delay.unwrap()["value"].is_null());
    for finding in object["findings"].as_array().unwrap() {
        let command = finding["command"].as_str().unwrap_or_default();
        if command.starts_with("sysctl") {
            assert!(finding["side_effect"].is_string(), "{finding}");
        }
    }
}
