//! The command line, understood and refused.

use super::*;

#[test]
fn the_definition_is_consistent() {
    Cli::definition().debug_assert();
}

#[test]
fn flags_of_the_bcc_family_are_understood() {
    let line = "twtrace trace -4 -L 80,443 -R 5432 -w -o json -c true --duration 30s";
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let Command::Trace(args) = cli.command else {
        panic!("not trace");
    };
    assert!(args.filters.ipv4 && args.view.wide);
    assert_eq!(args.filters.lport, [80, 443]);
    assert_eq!(args.view.output(), Output::Json);
}

#[test]
fn questions_about_conflicts_are_understood_live_and_of_a_recording() {
    let line = "twtrace conflicts --what-if recycle --fail-on stuck --max-refusals 50";
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let Command::Conflicts(args) = cli.command else {
        panic!("not conflicts");
    };
    assert_eq!(args.questions.what_if, Some(WhatIfArg::Recycle));
    assert_eq!(args.questions.fail_on, Some(ConflictFound::Stuck));
    assert_eq!(args.ring.max_refusals, 50);
    let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
    assert!(parses("twtrace report FILE --conflicts --fail-on refused"));
    assert!(!parses("twtrace report FILE --conflicts --hist"));
    assert!(!parses("twtrace conflicts --max-refusals 0"));
}

#[cfg(feature = "check")]
#[test]
fn verdicts_go_to_several_places() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    let line = "twtrace check --ktap --report junit=a.xml --report json=b=c --save d";
    let Command::Check(args) = parse(line).unwrap().command else {
        panic!("not check");
    };
    assert_eq!(
        args.reports,
        [
            (CheckOutput::Junit, "a.xml".into()),
            (CheckOutput::Json, "b=c".into())
        ]
    );
    for wrong in [
        "--report a.xml",
        "--report pdf=a",
        "--ktap -o json",
        "--against a",
    ] {
        assert!(parse(&format!("twtrace check {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn frames_of_top_have_a_size_and_a_pace() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    let line = "twtrace top --replay FILE --speed 0.5 --batch -n 3 --interval 5 --size 80x24";
    let Command::Top(args) = parse(line).unwrap().command else {
        panic!("not top");
    };
    assert_eq!(
        (args.speed, args.frames, args.size),
        (0.5, Some(3), (80, 24))
    );
    for wrong in [
        "-n 3",
        "--speed 2",
        "--batch --size 80",
        "--batch --size 0x5",
    ] {
        assert!(parse(&format!("twtrace top {wrong}")).is_err(), "{wrong}");
    }
    assert!(parse("twtrace top --replay FILE --speed 0").is_err());
}

#[test]
fn groups_are_understood_live_and_of_a_recording() {
    let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
    for by in ["peer", "service", "lport", "uid", "cgroup", "netns"] {
        assert!(parses(&format!("twtrace hist --by {by} --top 3 10")));
        assert!(parses(&format!("twtrace trace --by {by}")));
        assert!(parses(&format!("twtrace report FILE --hist --by {by}")));
    }
    assert!(!parses("twtrace hist --by colour"));
    assert!(!parses("twtrace hist --by uid --top 0"));
    assert!(!parses("twtrace report FILE --conflicts --by uid"));
}

#[test]
fn a_count_needs_an_interval_and_families_exclude_each_other() {
    assert!(Cli::try_parse_from(["twtrace", "hist", "0"]).is_err());
    assert!(Cli::try_parse_from(["twtrace", "hist", "5", "3"]).is_ok());
    assert!(Cli::try_parse_from(["twtrace", "trace", "-4", "-6"]).is_err());
}
