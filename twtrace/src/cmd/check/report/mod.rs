//! The verdicts: text for people, JSON, KTAP and JUnit for machines.

mod evidence;
mod json;
mod junit;
mod ktap;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::time::Duration;

use super::baseline::{Comparison, Difference, Kind};
use super::expect::{Group, Shown};
use super::runner::{Outcome, Verdict};
use super::scenarios::Scenario;
use crate::event::{Family, Meta};
pub(super) use ktap::bail_out;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// One object a line.
    Json,
    /// The kernel's Test Anything Protocol, as kselftest's tools read it.
    Ktap,
    /// JUnit XML.
    Junit,
}

/// Everything that was run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) meta: &'a Meta,
    /// What the kernel shows of itself; the expectations follow it.
    pub(super) shown: &'a Shown,
    /// In the order of the scenarios.
    pub(super) outcomes: &'a [Outcome],
    pub(super) took: Duration,
}

/// How many cases came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Tally {
    pub(super) fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Pass => tally.passed += 1,
                Verdict::Fail(_) => tally.failed += 1,
                Verdict::Skip(_) => tally.skipped += 1,
            }
        }
        tally
    }
}

impl Run<'_> {
    /// The outcomes of each group that has any, and in it of each scenario.
    fn groups(&self) -> Vec<(Group, Vec<&[Outcome]>)> {
        let mut groups: Vec<(Group, Vec<&[Outcome]>)> = Vec::new();
        let same = |a: &Outcome, b: &Outcome| a.case.scenario.name == b.case.scenario.name;
        for scenario in self.outcomes.chunk_by(same) {
            let group = scenario[0].case.group;
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, scenarios)) => scenarios.push(scenario),
                None => groups.push((group, vec![scenario])),
            }
        }
        groups.sort_by_key(|(group, _)| *group);
        groups
    }
}

/// `--list`.
pub(super) fn list(
    scenarios: &[&Scenario],
    shown: Option<&Shown>,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Json => json::list(scenarios, shown, out),
        // The others have no words for what was not run.
        Format::Text | Format::Ktap | Format::Junit => text::list(scenarios, shown, out),
    }
}

/// All verdicts and their sum, and how they compare with others.
pub(super) fn report(
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    format: Format,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => text::report(run, comparison, colour, out),
        Format::Json => json::report(run, comparison, out),
        Format::Ktap => ktap::report(run, comparison, out),
        Format::Junit => junit::report(run, comparison, out),
    }
}

/// What differs, in one line.
fn headline(difference: &Difference) -> String {
    let Difference {
        name, family, what, ..
    } = difference;
    format!("{name} {family}: {what}")
}

/// What it was and is, and what explains it.
fn details(comparison: &Comparison, difference: &Difference) -> Vec<String> {
    let Comparison { was, is, .. } = comparison;
    let mut lines = vec![
        format!("{was}: {}", difference.was),
        format!("{is}: {}", difference.is),
    ];
    lines.extend(difference.because.iter().cloned());
    lines
}

pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
        Family::Ipv4Mapped => "ipv4-mapped",
    }
}
