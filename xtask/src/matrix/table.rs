//! Behaviours by kernels, in Markdown. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{BEGIN, END};

/// Where counters are what it is about.
const COUNTERS: &str = "counters";
/// They differ wherever there is a mini-socket, by the sign `tw_kill`: once is enough.
const BIRTHS: [&str; 2] = ["TW", "TWKilled"];

/// A behaviour that is expected (`twtrace check --list -o json`).
#[derive(Debug, Deserialize)]
pub(super) struct Behaviour {
    name: String,
    group: String,
    proves: String,
}

/// What a kernel showed (`twtrace check --save`), as far as the table needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Baseline {
    pub(super) kernel: String,
    shows: BTreeMap<String, bool>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    verdict: String,
    reason: Option<String>,
    found: BTreeMap<String, String>,
    counters: BTreeMap<String, u64>,
    crowd: bool,
}

/// Orders kernels by the numbers in their releases.
pub(super) fn version(release: &str) -> Vec<u64> {
    let numbers = release.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// The text with the table in its place.
pub(super) fn replace(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("no place for the table")?;
    let (_, after) = rest.split_once(END).context("the table has no end")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Signs by kernels, behaviours by kernels, and what differs.
pub(super) fn render(behaviours: &[Behaviour], kernels: &[Baseline], date: &str) -> String {
    let mut out = Out(String::new());
    let short = short(kernels);
    let builds: Vec<&str> = kernels.iter().map(|one| one.kernel.as_str()).collect();
    out.line(&format!("Of {date}, on {}.", builds.join(", ")));
    out.line("");
    out.row("what it shows", &short);
    out.row("---", &vec!["---".to_owned(); short.len()]);
    for sign in kernels[0].shows.keys() {
        let has = |one: &Baseline| one.shows.get(sign).copied().unwrap_or_default();
        let cells = kernels.iter().map(|one| if has(one) { "yes" } else { "–" });
        out.row(
            &format!("`{sign}`"),
            &cells.map(str::to_owned).collect::<Vec<_>>(),
        );
    }
    let mut notes = Vec::new();
    let mut group = "";
    for behaviour in by_group(behaviours) {
        if behaviour.group != group {
            group = &behaviour.group;
            out.line("");
            out.row(group, &short);
            out.row("---", &vec!["---".to_owned(); short.len()]);
        }
        let seen: Vec<String> = kernels
            .iter()
            .map(|one| signature(one, behaviour))
            .collect();
        let mut kinds: Vec<&String> = Vec::new();
        for one in seen.iter().filter(|one| !one.is_empty()) {
            if !kinds.contains(&one) {
                kinds.push(one);
            }
        }
        let differs = kinds.len() > 1;
        let cells = kernels.iter().zip(&seen).map(|(kernel, seen)| {
            let mark = kinds.iter().position(|kind| *kind == seen);
            let mark = mark.filter(|_| differs).map(letter);
            let mark = mark.map(|letter| format!(" {letter}")).unwrap_or_default();
            format!("{}{mark}", verdict(kernel, behaviour))
        });
        out.row(&format!("`{}`", behaviour.name), &cells.collect::<Vec<_>>());
        if differs {
            let told = kinds.iter().enumerate();
            let told: Vec<_> = told
                .map(|(index, kind)| format!("{}: {kind}", letter(index)))
                .collect();
            notes.push(format!(
                "* `{}` ({}): {}",
                behaviour.name,
                behaviour.proves,
                told.join("; ")
            ));
        }
    }
    out.line("");
    out.line("✓ as expected, – skipped, ✗ not as expected. What differs (TW and TWKilled only where counters are the subject):");
    out.line("");
    notes.iter().for_each(|note| out.line(note));
    out.0
}

/// Groups in the order of their first behaviours.
fn by_group(behaviours: &[Behaviour]) -> Vec<&Behaviour> {
    let mut groups: Vec<&str> = Vec::new();
    for one in behaviours {
        if !groups.contains(&one.group.as_str()) {
            groups.push(&one.group);
        }
    }
    let of = |group| behaviours.iter().filter(move |one| one.group == group);
    groups.into_iter().flat_map(of).collect()
}

fn letter(index: usize) -> char {
    ('a'..='z').nth(index).unwrap_or('z')
}

/// Names by series, or by build where there are several of one series.
fn short(kernels: &[Baseline]) -> Vec<String> {
    let all: Vec<String> = kernels.iter().map(|one| series(&one.kernel)).collect();
    let each = kernels.iter().zip(&all);
    let name = |(one, series): (&Baseline, &String)| match all
        .iter()
        .filter(|other| *other == series)
        .count()
    {
        1 => series.clone(),
        _ => build(&one.kernel),
    };
    each.map(name).collect()
}

/// 6.12.118+deb13-cloud-amd64 is 6.12.
fn series(release: &str) -> String {
    let numbers: Vec<&str> = release.split('.').take(2).collect();
    numbers.join(".")
}

/// 6.12.118+deb13-cloud-amd64 is 6.12.118, 5.10.0-46-cloud-amd64 is 5.10.0-46.
fn build(release: &str) -> String {
    let flavour = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic());
    let parts: Vec<&str> = release
        .split('-')
        .take_while(|part| !flavour(part))
        .collect();
    let all = parts.join("-");
    all.split('+').next().unwrap_or_default().to_owned()
}

fn of<'a>(kernel: &'a Baseline, behaviour: &'a Behaviour) -> impl Iterator<Item = &'a Case> {
    let cases = kernel.cases.iter();
    cases.filter(|case| case.name == behaviour.name)
}

/// The worst of its address families.
fn verdict(kernel: &Baseline, behaviour: &Behaviour) -> &'static str {
    let any = |verdict: &str| of(kernel, behaviour).any(|case| case.verdict == verdict);
    match (any("fail"), any("skip"), any("pass")) {
        (true, ..) => "✗",
        (false, true, _) => "–",
        (false, false, true) => "✓",
        _ => "",
    }
}

/// What may differ from kernel to kernel: findings and counters, or why it was skipped. Nothing for
/// a failure, which is not a legitimate difference.
fn signature(kernel: &Baseline, behaviour: &Behaviour) -> String {
    let Some(case) = of(kernel, behaviour).find(|case| case.verdict != "fail") else {
        return String::new();
    };
    let mut told: Vec<String> = Vec::new();
    told.extend(case.reason.clone());
    told.extend(
        case.found
            .iter()
            .map(|(what, found)| format!("{what} {found}")),
    );
    if !case.crowd {
        let births = |name: &str| BIRTHS.contains(&name) && behaviour.group != COUNTERS;
        told.extend(
            case.counters
                .iter()
                .filter(|(name, _)| !births(name))
                .map(|(name, by)| format!("{name} {by}")),
        );
    }
    match (told.is_empty(), case.verdict.as_str()) {
        (true, "pass") => "no counter".to_owned(),
        _ => told.join(", "),
    }
}

struct Out(String);

impl Out {
    fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn row(&mut self, head: &str, cells: &[String]) {
        self.line(&format!("| {head} | {} |", cells.join(" | ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(release: &str, counter: &str, verdict: &str) -> Baseline {
        Baseline {
            kernel: release.into(),
            shows: [("TcpExt PAWSTimewait".into(), counter == "PAWSTimewait")].into(),
            cases: vec![Case {
                name: "count-paws".into(),
                verdict: verdict.into(),
                reason: None,
                found: BTreeMap::new(),
                counters: [(counter.into(), 3)].into(),
                crowd: false,
            }],
        }
    }

    #[test]
    fn differences_are_marked_and_explained() {
        let behaviours = [Behaviour {
            name: "count-paws".into(),
            group: "counters".into(),
            proves: "one counter".into(),
        }];
        let kernels = [
            kernel("6.1.0-56-cloud-amd64", "PAWSEstab", "pass"),
            kernel("6.18.15+deb13-cloud-amd64", "PAWSTimewait", "pass"),
            kernel("7.2.13+deb14-cloud-amd64", "PAWSTimewait", "fail"),
        ];
        let table = render(&behaviours, &kernels, "2026-01-01");
        for wanted in [
            "| what it shows | 6.1 | 6.18 | 7.2 |",
            "| `TcpExt PAWSTimewait` | – | yes | yes |",
            "| `count-paws` | ✓ a | ✓ b | ✗ |",
            "* `count-paws` (one counter): a: PAWSEstab 3; b: PAWSTimewait 3",
        ] {
            assert!(table.contains(wanted), "{wanted}: {table}");
        }
    }

    #[test]
    fn each_group_has_one_table_and_a_failure_is_no_other_way() {
        let behaviour = |name: &str, group: &str| Behaviour {
            name: name.into(),
            group: group.into(),
            proves: String::new(),
        };
        let behaviours = [
            behaviour("count-paws", "reset"),
            behaviour("other", "reuse"),
            behaviour("count-reset", "reset"),
        ];
        let mut failed = kernel("6.1.0-1-amd64", "TW", "fail");
        failed.cases[0].reason = Some("it lasted 30 s".into());
        let kernels = [kernel("5.10.0-1-amd64", "TWRecycled", "pass"), failed];
        let table = render(&behaviours, &kernels, "2026-01-01");
        assert_eq!(table.matches("| reset |").count(), 1, "{table}");
        assert!(table.contains("| `count-paws` | ✓ | ✗ |"), "{table}");
    }

    #[test]
    fn builds_of_one_series_are_told_apart() {
        let of = |release| kernel(release, "TW", "pass");
        let kernels = [
            of("5.10.0-46-cloud-amd64"),
            of("6.12.43+deb12-cloud-amd64"),
            of("6.12.118+deb13-cloud-amd64"),
        ];
        assert_eq!(short(&kernels), ["5.10", "6.12.43", "6.12.118"]);
        let kernels = [of("5.10.0-30-cloud-amd64"), of("5.10.0-46-cloud-amd64")];
        assert_eq!(short(&kernels), ["5.10.0-30", "5.10.0-46"]);
    }

    #[test]
    fn the_table_has_its_place() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let wanted = format!("before\n{BEGIN}new\n{END}after\n");
        assert_eq!(replace(&text, "new\n").unwrap(), wanted);
        assert!(replace("nothing", "new").is_err());
    }

    #[test]
    fn kernels_are_ordered_by_number() {
        let mut releases = ["6.12.1", "5.10.0-46", "6.1.0"];
        releases.sort_by_key(|release| version(release));
        assert_eq!(releases, ["5.10.0-46", "6.1.0", "6.12.1"]);
    }
}
