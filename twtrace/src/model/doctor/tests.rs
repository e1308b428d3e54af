mod settings;

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::event::facts::{
    Answer, Destinations, Point, Privileges, Setting, Tracing, Unread, Value,
};
use crate::event::{TsOffset, TwCountedAt};

const OWN: u32 = 7;
const HOUR: u64 = 3600;

fn number(value: i64, default: i64) -> Setting {
    Setting {
        value: Value::Number(value),
        default: Some(Value::Number(default)),
        unit: Default::default(),
    }
}

fn ports(ports: &[(u16, u16)]) -> Setting {
    Setting {
        value: Value::Ports(ports.to_vec()),
        default: None,
        unit: Default::default(),
    }
}

/// A namespace of a recent kernel as it is after the boot.
fn namespace(netns: u32) -> Namespace {
    let sysctls = [
        (Sysctl::TcpTwReuse, number(2, 2)),
        (Sysctl::TcpTwReuseDelay, number(1000, 1000)),
        (Sysctl::TcpTimestamps, number(1, 1)),
        (Sysctl::TcpMaxTwBuckets, number(65_536, 65_536)),
        (Sysctl::TcpFinTimeout, number(60, 60)),
        (Sysctl::TcpRfc1337, number(0, 0)),
        (Sysctl::TcpInvalidRatelimit, number(500, 500)),
        (Sysctl::IpLocalPortRange, ports(&[(32_768, 60_999)])),
        (Sysctl::IpLocalReservedPorts, ports(&[])),
        (Sysctl::IpAutobindReuse, number(0, 0)),
        (Sysctl::TcpSyncookies, number(1, 1)),
    ];
    let counters = ["TW", "PAWSTimewait", "PAWSEstab", "TCPTimeWaitOverflow"];
    Namespace {
        netns,
        sysctls: sysctls.into(),
        counters: counters.map(|name| (name.into(), 0)).into(),
        read_at_ns: 0,
        later: None,
        population: Some(1_204),
        fin_wait_2: None,
        destinations: Destinations::default(),
    }
}

fn point(name: &str, without: Option<&str>) -> Point {
    Point {
        name: name.into(),
        function: "inet_twsk_kill".into(),
        answer: Answer::Yes,
        way: Some("fentry".into()),
        programs: vec!["kill".into()],
        refused: Vec::new(),
        without: without.map(Into::into),
    }
}

/// A host on which nothing is wrong.
fn healthy() -> Facts {
    Facts {
        kernel: "6.18.15".into(),
        uptime_s: 10 * HOUR,
        tracing: Tracing {
            btf: Answer::Yes,
            allowed: Answer::Yes,
            privileges: Privileges::default(),
            points: vec![point("end", None), point("overflow", Some("overflows"))],
            features: Vec::new(),
            ts_offset: Some(TsOffset::Addresses),
            tw_counted_at: Some(TwCountedAt::Birth),
        },
        recycle_files: Vec::new(),
        namespaces: vec![namespace(OWN)],
        unread: Unread::default(),
    }
}

impl Facts {
    fn own(&mut self) -> &mut Namespace {
        &mut self.namespaces[0]
    }

    fn set(&mut self, sysctl: Sysctl, value: i64) {
        self.namespaces[0].set(sysctl, value);
    }

    fn counted(&mut self, name: &str, value: u64) {
        self.own().counters.insert(name.into(), value);
    }

    /// Ports towards one destination.
    fn taken(&mut self, raddr: IpAddr, ports: u32, time_wait: u32) {
        let top = vec![Destination {
            laddr: [10, 0, 0, 5].into(),
            raddr,
            rport: 5432,
            ports,
            time_wait,
        }];
        self.own().destinations = Destinations {
            top,
            count: 1,
            kept: Vec::new(),
            unknown: None,
        };
    }
}

impl Namespace {
    fn set(&mut self, sysctl: Sysctl, value: i64) {
        let setting = self
            .sysctls
            .entry(sysctl)
            .or_insert_with(|| number(value, 0));
        setting.value = Value::Number(value);
    }
}

/// Severity and code of all that is not well.
fn found(facts: &Facts) -> Vec<(Severity, &'static str)> {
    diagnose(facts)
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| (finding.severity, finding.what.code()))
        .collect()
}

fn what(facts: &Facts, code: &str) -> What {
    let diagnosis = diagnose(facts);
    let same = |finding: &&Finding| finding.what.code() == code;
    diagnosis.findings.iter().find(same).unwrap().what.clone()
}

fn effect(facts: &Facts, sysctl: Sysctl) -> Option<Effect> {
    let diagnosis = diagnose(facts);
    let row = diagnosis.sysctls.iter().find(|row| row.sysctl == sysctl)?;
    Some(row.effect)
}

const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 30));
use Severity::{Danger, Note, Warning};

#[test]
fn on_a_healthy_host_nothing_is_found_and_what_is_well_is_said() {
    let diagnosis = diagnose(&healthy());
    assert_eq!(diagnosis.verdict(), Severity::Ok);
    let codes: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|finding| finding.what.code())
        .collect();
    assert_eq!(codes, ["tw-buckets", "tracing-works"]);
    assert_eq!(diagnosis.myths.len(), 5);
}

#[test]
fn a_full_table_is_a_danger_and_a_nearly_full_one_a_warning() {
    let mut facts = healthy();
    for (population, expected) in [
        (52_428, None),
        (52_430, Some(Warning)),
        (65_535, Some(Warning)),
        (65_536, Some(Danger)),
    ] {
        facts.own().population = Some(population);
        let expected: Vec<_> = expected.map(|is| (is, "tw-buckets")).into_iter().collect();
        assert_eq!(found(&facts), expected, "{population}");
    }
}

#[test]
fn a_limit_of_0_is_full_and_no_population_is_no_finding() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpMaxTwBuckets, 0);
    facts.own().population = Some(0);
    assert!(found(&facts).contains(&(Danger, "tw-buckets")));
    facts.own().population = None;
    assert_eq!(found(&facts), [(Note, "tw-buckets-lowered")]);
}

#[test]
fn overflows_are_told_when_there_is_room_again() {
    let mut facts = healthy();
    facts.counted("TCPTimeWaitOverflow", 7);
    assert_eq!(found(&facts), [(Warning, "tw-overflowed")]);
    facts.own().population = Some(65_536);
    assert_eq!(found(&facts), [(Danger, "tw-buckets")]);
}

#[test]
fn a_limit_below_the_kernels_own_is_noted_where_that_is_known() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpMaxTwBuckets, 5_000);
    assert_eq!(found(&facts), [(Note, "tw-buckets-lowered")]);
    assert!(!diagnose(&facts).myths.contains(&Myth::Buckets));
    facts
        .own()
        .sysctls
        .get_mut(&Sysctl::TcpMaxTwBuckets)
        .unwrap()
        .default = None;
    assert_eq!(found(&facts), []);
    facts.set(Sysctl::TcpMaxTwBuckets, 262_144);
    assert_eq!(found(&facts), []);
}

#[test]
fn the_limit_to_set_leaves_room() {
    let buckets = |population, limit| Buckets {
        population,
        limit,
        default: None,
        overflows: 0,
    };
    assert_eq!(buckets(0, 0).with_room(), 2_048);
    assert_eq!(buckets(70_000, 65_536).with_room(), 140_000);
}

#[test]
fn ports_that_run_out_are_a_danger_and_few_left_a_warning() {
    let mut facts = healthy();
    for (taken, expected) in [
        (19_762, None),
        (19_763, Some(Warning)),
        (26_820, Some(Warning)),
        (26_821, Some(Danger)),
    ] {
        facts.taken(REMOTE, taken, taken);
        let expected: Vec<_> = expected.map(|is| (is, "ports")).into_iter().collect();
        assert_eq!(found(&facts), expected, "{taken}");
    }
}

#[test]
fn whether_reuse_can_help_depends_on_who_holds_the_ports_and_on_the_settings() {
    let help = |facts: &Facts| match what(facts, "ports") {
        What::Ports { help, .. } => help,
        other => panic!("{other:?}"),
    };
    let mut facts = healthy();
    facts.taken(REMOTE, 28_000, 13_999);
    assert_eq!(help(&facts), ReuseHelp::PortsAreInUse);
    facts.taken(REMOTE, 28_000, 27_000);
    assert_eq!(help(&facts), ReuseHelp::OnlyLoopback);
    facts.set(Sysctl::TcpTwReuse, 0);
    assert_eq!(help(&facts), ReuseHelp::IsOff);
    facts.set(Sysctl::TcpTwReuse, 1);
    assert_eq!(help(&facts), ReuseHelp::IsOn);
    facts.set(Sysctl::TcpTimestamps, 0);
    assert_eq!(help(&facts), ReuseHelp::NeedsTimestamps);
}

#[test]
fn ports_that_may_be_taken_over_are_no_danger() {
    let mut facts = healthy();
    facts.taken(Ipv4Addr::LOCALHOST.into(), 28_232, 28_232);
    assert_eq!(found(&facts), [(Warning, "ports")]);
    // Live connections have the rest, and nobody takes those over.
    facts.taken(Ipv4Addr::LOCALHOST.into(), 28_232, 200);
    assert_eq!(found(&facts), [(Danger, "ports")]);
}

#[test]
fn reserved_ports_are_not_for_connect() {
    let mut facts = healthy();
    let reserved = ports(&[
        (1, 40),
        (32_000, 32_769),
        (60_999, 65_535),
        (50_000, 50_000),
    ]);
    facts
        .own()
        .sysctls
        .insert(Sysctl::IpLocalReservedPorts, reserved);
    assert_eq!(
        effect(&facts, Sysctl::IpLocalPortRange),
        Some(Effect::Range(28_228))
    );
    assert_eq!(
        effect(&facts, Sysctl::IpLocalReservedPorts),
        Some(Effect::Reserved)
    );
}

#[test]
fn ports_that_are_listened_on_are_not_for_connect_either() {
    let mut facts = healthy();
    facts.taken(REMOTE, 100, 100);
    facts.own().destinations.kept = vec![(40_000, 40_009), (80, 80)];
    assert_eq!(
        effect(&facts, Sysctl::IpLocalPortRange),
        Some(Effect::Range(28_222))
    );
}

#[test]
fn a_small_range_is_noted() {
    let mut facts = healthy();
    for (high, expected) in [(40_767, vec![]), (40_766, vec![(Note, "small-port-range")])] {
        let range = ports(&[(32_768, high)]);
        facts.own().sysctls.insert(Sysctl::IpLocalPortRange, range);
        assert_eq!(found(&facts), expected);
    }
}

#[test]
fn many_segments_refused_in_time_wait_are_a_warning() {
    let mut facts = healthy();
    facts.counted("PAWSTimewait", 599);
    assert_eq!(found(&facts), [(Note, "refused-by-timestamp")]);
    facts.counted("PAWSTimewait", 600);
    assert_eq!(found(&facts), [(Warning, "refused-by-timestamp")]);
    // PAWSEstab alone says nothing of TIME_WAIT where the two are apart.
    facts.counted("PAWSTimewait", 0);
    facts.counted("PAWSEstab", 60_000);
    assert_eq!(found(&facts), []);
}

#[test]
fn where_paws_is_one_counter_more_is_needed_for_a_warning() {
    let mut facts = healthy();
    facts.own().counters.remove("PAWSTimewait");
    facts.counted("PAWSEstab", 600);
    assert_eq!(found(&facts), [(Note, "refused-by-timestamp")]);
    facts.counted("PAWSEstab", 6_000);
    facts.counted("TCPACKSkippedTimeWait", 5);
    assert_eq!(found(&facts), [(Warning, "refused-by-timestamp")]);
    let What::RefusedByTimestamp {
        in_time_wait,
        unanswered,
        ..
    } = what(&facts, "refused-by-timestamp")
    else {
        panic!("not that");
    };
    assert_eq!((in_time_wait, unanswered), (false, 5));
}

#[test]
fn a_few_in_a_short_uptime_are_no_pattern() {
    let mut facts = healthy();
    facts.uptime_s = 5;
    facts.counted("PAWSTimewait", 9);
    assert_eq!(found(&facts), [(Note, "refused-by-timestamp")]);
}

#[test]
fn drops_of_listeners_and_syns_sent_again_are_told_apart_from_time_wait() {
    let mut facts = healthy();
    facts.counted("ListenDrops", 5);
    assert_eq!(found(&facts), [(Note, "listen-drops")]);
    facts.counted("ListenDrops", 5_000);
    assert_eq!(found(&facts), [(Warning, "listen-drops")]);

    let mut facts = healthy();
    facts.counted("ActiveOpens", 900);
    facts.counted("PassiveOpens", 100);
    for (again, expected) in [(19, None), (20, Some(Note)), (200, Some(Warning))] {
        facts.counted("TCPSynRetrans", again);
        let expected: Vec<_> = expected.map(|is| (is, "syns-again")).into_iter().collect();
        assert_eq!(found(&facts), expected, "{again}");
    }
}

#[test]
fn connections_closed_by_a_reset_are_noted_if_they_are_many() {
    let mut facts = healthy();
    facts.counted("ActiveOpens", 1_000);
    facts.counted("TCPAbortOnData", 19);
    assert_eq!(found(&facts), []);
    facts.counted("TCPAbortOnData", 1_000);
    assert_eq!(found(&facts), [(Note, "closed-by-reset")]);
    assert!(!diagnose(&facts).myths.contains(&Myth::Linger));
}

#[test]
fn tracing_that_is_refused_is_never_called_impossible() {
    let mut facts = healthy();
    facts.tracing.allowed = Answer::Unknown("EPERM".into());
    facts.tracing.points[0].answer = Answer::Unknown("EPERM".into());
    assert_eq!(found(&facts), [(Warning, "tracing-refused")]);
    facts.tracing.privileges.missing = vec!["CAP_BPF".into()];
    assert_eq!(found(&facts), [(Note, "needs-privileges")]);
}

#[test]
fn a_kernel_without_btf_or_a_point_says_so() {
    let mut facts = healthy();
    facts.tracing.btf = Answer::No("no file".into());
    assert_eq!(found(&facts), [(Warning, "no-btf")]);

    let mut facts = healthy();
    for (index, severity) in [(0, Warning), (1, Note)] {
        let mut facts = facts.clone();
        facts.tracing.points[index].answer = Answer::No("not in BTF".into());
        facts.tracing.points[index].refused = vec!["fentry: not in BTF".into()];
        assert_eq!(found(&facts), [(severity, "point-missing")]);
    }
    // A point that is of no use here was refused nothing.
    facts.tracing.points[1].answer = Answer::No("drops do not tell".into());
    assert_eq!(found(&facts), []);
}

#[test]
fn namespaces_that_were_not_looked_into_are_said() {
    let mut facts = healthy();
    facts.unread = Unread {
        count: 3,
        why: Some("CAP_SYS_ADMIN".into()),
        more: true,
    };
    assert_eq!(found(&facts), [(Note, "namespaces-unread")]);
}

#[test]
fn of_other_namespaces_only_what_differs_is_told() {
    let mut facts = healthy();
    facts.set(Sysctl::TcpFinTimeout, 15);
    let mut other = namespace(8);
    other.set(Sysctl::TcpFinTimeout, 15);
    facts.namespaces.push(other);
    assert_eq!(found(&facts), [(Note, "fin-timeout")]);
    facts.namespaces[1].set(Sysctl::TcpFinTimeout, 20);
    facts.namespaces[1].population = Some(65_536);
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.findings[0].netns, Some(8));
    assert_eq!(diagnosis.findings[0].severity, Danger);
    let elsewhere: Vec<_> = diagnosis
        .sysctls
        .iter()
        .filter(|row| row.netns == 8)
        .map(|row| row.sysctl)
        .collect();
    assert_eq!(elsewhere, [Sysctl::TcpFinTimeout]);
    assert!(
        diagnosis
            .counters
            .iter()
            .all(|counter| counter.netns == OWN)
    );
}

#[test]
fn the_worst_comes_first_then_the_best_supported() {
    let mut facts = healthy();
    facts.own().population = Some(60_000);
    facts.taken(REMOTE, 28_232, 28_232);
    facts.counted("ListenDrops", 1);
    facts.counted("PAWSTimewait", 200);
    let codes: Vec<_> = found(&facts).into_iter().map(|(_, code)| code).collect();
    assert_eq!(
        codes,
        [
            "ports",
            "tw-buckets",
            "refused-by-timestamp",
            "listen-drops"
        ]
    );
}

#[test]
fn what_a_counter_counts_depends_on_the_kernel() {
    let counts = |facts: &Facts, name: &str| {
        let rows = super::counters::rows(facts);
        rows.iter().find(|row| row.name == name).unwrap().counts
    };
    let mut facts = healthy();
    assert_eq!(counts(&facts, "TW"), Counts::Births);
    assert_eq!(counts(&facts, "PAWSEstab"), Counts::RefusedAlive);
    facts.tracing.tw_counted_at = Some(TwCountedAt::Expiry);
    facts.own().counters.remove("PAWSTimewait");
    assert_eq!(counts(&facts, "TW"), Counts::Expiries);
    assert_eq!(counts(&facts, "PAWSEstab"), Counts::RefusedAnywhere);
    facts.tracing.tw_counted_at = None;
    assert_eq!(counts(&facts, "TW"), Counts::BirthsOrExpiries);
}
