//! KTAP (Documentation/dev-tools/ktap.rst): a subtest for each group, in it one for each scenario,
//! in it one for each address family.

use std::io::{self, Write};

use super::{Comparison, Kind, details, evidence, headline};
use crate::check::baseline::Clients;
use crate::check::expect::Group;
use crate::check::outcome::{Outcome, Run, Tally, Verdict, family_name};

const VERSION: &str = "KTAP version 1";
/// The subtest that compares.
const BASELINE: &str = "baseline";
/// Of one level.
const INDENT: &str = "  ";

/// All verdicts, and one more subtest for the comparison.
pub(super) fn report(
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let groups = run.map(Run::groups).unwrap_or_default();
    writeln!(out, "{VERSION}")?;
    if let Some(run) = run {
        head(run, out)?;
    }
    let plan = groups.len() + usize::from(comparison.is_some());
    writeln!(out, "1..{plan}")?;
    if let Some(run) = run {
        for (number, (group, scenarios)) in (1..).zip(&groups) {
            of_group(run, number, *group, scenarios, out)?;
        }
    }
    if let Some(comparison) = comparison {
        compared(comparison, plan, out)?;
    }
    let outcomes = run.map_or(&[][..], |run| run.outcomes);
    let Tally {
        passed,
        failed,
        skipped,
    } = Tally::of(outcomes);
    writeln!(
        out,
        "# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:{skipped} error:0"
    )
}

fn head(run: &Run<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (kernel, attach) = (&run.meta.kernel, &run.meta.attach);
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "# twtrace {version} on Linux {kernel}, by {attach}")?;
    for (sign, has) in run.shown.by_name() {
        let has = if has { "has" } else { "has no" };
        writeln!(out, "# this kernel {has} {sign}")?;
    }
    Ok(())
}

fn of_group(
    run: &Run<'_>,
    number: usize,
    group: Group,
    scenarios: &[&[Outcome]],
    out: &mut dyn Write,
) -> io::Result<()> {
    begin(out, 1, group.name(), scenarios.len())?;
    for (number, outcomes) in (1..).zip(scenarios) {
        let name = outcomes[0].case.name;
        begin(out, 2, name, outcomes.len())?;
        for (number, outcome) in (1..).zip(*outcomes) {
            case(out, run, number, outcome)?;
        }
        result(out, 1, number, name, outcomes.iter().collect())?;
    }
    let all = scenarios.iter().copied().flatten().collect();
    result(out, 0, number, group.name(), all)
}

/// A difference for the worse fails, another does not.
fn compared(comparison: &Comparison, number: usize, out: &mut dyn Write) -> io::Result<()> {
    let differences = &comparison.differences;
    // Not even one would be a plan of none.
    if !differences.is_empty() {
        begin(out, 1, BASELINE, differences.len())?;
    }
    for (number, one) in (1..).zip(differences) {
        writeln!(out, "{INDENT}# {}", one.kind.name())?;
        for line in details(comparison, one) {
            writeln!(out, "{INDENT}# {line}")?;
        }
        let ok = verdict(one.kind == Kind::Regression);
        writeln!(out, "{INDENT}{ok} {number} {}", headline(one))?;
    }
    let ok = verdict(comparison.count(Kind::Regression) > 0);
    writeln!(out, "{ok} {number} {BASELINE}")
}

fn verdict(failed: bool) -> &'static str {
    if failed { "not ok" } else { "ok" }
}

/// Nothing could be run at all.
pub(in super::super) fn bail_out(reason: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{VERSION}")?;
    writeln!(out, "Bail out! {reason}")
}

fn begin(out: &mut dyn Write, level: usize, name: &str, count: usize) -> io::Result<()> {
    let indent = INDENT.repeat(level);
    writeln!(out, "{indent}{VERSION}")?;
    writeln!(out, "{indent}# Subtest: {name}")?;
    writeln!(out, "{indent}1..{count}")
}

fn case(out: &mut dyn Write, run: &Run<'_>, number: usize, outcome: &Outcome) -> io::Result<()> {
    let indent = INDENT.repeat(2);
    for line in evidence::explain(run, outcome) {
        writeln!(out, "{indent}# {line}")?;
    }
    if let Some(clients) = Clients::of(outcome) {
        writeln!(out, "{indent}# {}", clients.told())?;
    }
    let ms = outcome.took.as_millis();
    writeln!(out, "{indent}# {} sockets, {ms} ms", outcome.sockets)?;
    result(
        out,
        2,
        number,
        family_name(outcome.case.family),
        vec![outcome],
    )
}

/// The line that decides: failed if any failed, skipped if all were.
fn result(
    out: &mut dyn Write,
    level: usize,
    number: usize,
    name: &str,
    outcomes: Vec<&Outcome>,
) -> io::Result<()> {
    let indent = INDENT.repeat(level);
    let reason = outcomes.iter().find_map(|outcome| match &outcome.verdict {
        Verdict::Skip(reason) => Some(reason),
        _ => None,
    });
    match (Tally::of(outcomes), reason) {
        (Tally { failed: 1.., .. }, _) => writeln!(out, "{indent}not ok {number} {name}"),
        (Tally { passed: 0, .. }, Some(reason)) => {
            writeln!(out, "{indent}ok {number} {name} # SKIP {reason}")
        }
        _ => writeln!(out, "{indent}ok {number} {name}"),
    }
}
