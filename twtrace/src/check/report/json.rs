//! One object a line, with the version of its schema.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::to_writer;

use super::{Comparison, Kind, Listed, evidence};
use crate::check::expect::{self, Shown};
use crate::check::outcome::{Outcome, Run, Tally, Verdict, family_name};
use crate::text::Text;

/// Version of the objects.
const VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Scenario {
        v: u32,
        name: &'a str,
        group: &'a str,
        proves: &'a str,
        why: &'a str,
        rule: &'a str,
        /// Where kernels are different by rights, and what is right here.
        differs: Vec<String>,
        families: Vec<&'a str>,
        connections: usize,
    },
    Check {
        v: u32,
        name: &'a str,
        group: &'a str,
        family: &'a str,
        verdict: &'a str,
        reason: Option<&'a str>,
        failures: &'a [String],
        explanation: Vec<String>,
        found: &'a BTreeMap<String, String>,
        counters: &'a BTreeMap<Text, u64>,
        sockets: usize,
        took_ms: u128,
    },
    /// One thing that is not as in the baseline.
    Difference {
        v: u32,
        kind: &'a str,
        name: &'a str,
        family: &'a str,
        what: &'a str,
        was: &'a str,
        is: &'a str,
        because: &'a [String],
    },
    Comparison {
        v: u32,
        kernel: &'a str,
        baseline: &'a str,
        regressions: usize,
        improvements: usize,
        changed: usize,
        /// Cases in which nothing differs, and cases that only one of the two has.
        same: usize,
        alone: usize,
    },
    Summary {
        v: u32,
        kernel: &'a str,
        attach: &'a str,
        shows: BTreeMap<String, bool>,
        passed: usize,
        failed: usize,
        skipped: usize,
        took_ms: u128,
    },
}

/// `--list`.
pub(super) fn list(
    scenarios: &[Listed],
    shown: Option<&Shown>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for row in scenarios {
        let Some((group, behaviour)) = expect::find(row.name) else {
            continue;
        };
        let line = Line::Scenario {
            v: VERSION,
            name: row.name,
            group: group.name(),
            proves: behaviour.rule,
            why: behaviour.why,
            rule: behaviour.source,
            differs: behaviour
                .differs
                .iter()
                .map(|one| one.told(shown))
                .collect(),
            families: row.families.iter().map(|one| family_name(*one)).collect(),
            connections: row.count,
        };
        object(out, &line)?;
    }
    Ok(())
}

/// All verdicts and their sum, and the comparison.
pub(super) fn report(
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(run) = run {
        for outcome in run.outcomes {
            object(out, &check(run, outcome))?;
        }
    }
    if let Some(comparison) = comparison {
        compared(comparison, out)?;
    }
    run.map_or(Ok(()), |run| object(out, &summary(run)))
}

fn compared(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    for one in &comparison.differences {
        let line = Line::Difference {
            v: VERSION,
            kind: one.kind.name(),
            name: &one.name,
            family: &one.family,
            what: &one.what,
            was: &one.was,
            is: &one.is,
            because: &one.because,
        };
        object(out, &line)?;
    }
    let line = Line::Comparison {
        v: VERSION,
        kernel: &comparison.is,
        baseline: &comparison.was,
        regressions: comparison.count(Kind::Regression),
        improvements: comparison.count(Kind::Improvement),
        changed: comparison.count(Kind::Changed),
        same: comparison.same,
        alone: comparison.alone,
    };
    object(out, &line)
}

fn summary<'a>(run: &Run<'a>) -> Line<'a> {
    let Tally {
        passed,
        failed,
        skipped,
    } = Tally::of(run.outcomes);
    Line::Summary {
        v: VERSION,
        kernel: &run.meta.kernel,
        attach: &run.meta.attach,
        shows: run.shown.by_name(),
        passed,
        failed,
        skipped,
        took_ms: run.took.as_millis(),
    }
}

fn check<'a>(run: &Run<'_>, outcome: &'a Outcome) -> Line<'a> {
    let (verdict, reason, failures): (_, _, &[String]) = match &outcome.verdict {
        Verdict::Pass => ("pass", None, &[]),
        Verdict::Skip(reason) => ("skip", Some(reason.as_str()), &[]),
        Verdict::Fail(failures) => ("fail", None, failures),
    };
    Line::Check {
        v: VERSION,
        name: outcome.case.name,
        group: outcome.case.group.name(),
        family: family_name(outcome.case.family),
        verdict,
        reason,
        failures,
        explanation: evidence::explain(run, outcome),
        found: &outcome.found,
        counters: &outcome.counters,
        sockets: outcome.sockets,
        took_ms: outcome.took.as_millis(),
    }
}

fn object(out: &mut dyn Write, line: &Line<'_>) -> io::Result<()> {
    to_writer(&mut *out, line)?;
    writeln!(out)
}
