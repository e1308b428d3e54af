//! For people: groups, one line a case, and what explains a failure.

use std::io::{self, Write};

use super::{Comparison, Kind, Listed, details, evidence, headline};
use crate::check::baseline::Clients;
use crate::check::expect::{self, Shown};
use crate::check::outcome::{Outcome, Run, Tally, Verdict, family_name};
use crate::view::paint::{BAD, CARE, GOOD, HEADING, Paint};

/// `--list`.
pub(super) fn list(
    scenarios: &[Listed],
    shown: Option<&Shown>,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let paint = Paint::new(colour);
    let all = expect::TABLE.iter();
    for (group, behaviours) in all {
        let of_group = |row: &&Listed| behaviours.iter().any(|one| one.name == row.name);
        let mut rows = scenarios.iter().filter(of_group).peekable();
        if rows.peek().is_some() {
            writeln!(out, "{}", paint.on(HEADING, group.name()))?;
        }
        for row in rows {
            let Some((_, behaviour)) = expect::find(row.name) else {
                continue;
            };
            let families = row.families.iter().map(|family| family_name(*family));
            let families: Vec<_> = families.collect();
            writeln!(out, "  {}", row.name)?;
            writeln!(out, "      {}", behaviour.rule)?;
            writeln!(out, "      why: {}", behaviour.why)?;
            writeln!(out, "      kernel: {}", behaviour.source)?;
            for differs in behaviour.differs {
                writeln!(out, "      kernels differ: {}", differs.told(shown))?;
            }
            let (count, families) = (row.count, families.join(", "));
            writeln!(out, "      {count} connections each: {families}")?;
        }
    }
    Ok(())
}

/// All verdicts and their sum, and the comparison.
pub(super) fn report(
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let paint = Paint::new(colour);
    if let Some(run) = run {
        verdicts(run, paint, out)?;
    }
    comparison.map_or(Ok(()), |comparison| compared(comparison, paint, out))
}

fn verdicts(run: &Run<'_>, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    for (group, scenarios) in run.groups() {
        writeln!(out, "{}", paint.on(HEADING, group.name()))?;
        for outcome in scenarios.into_iter().flatten() {
            case(run, outcome, paint, out)?;
        }
    }
    let Tally {
        passed,
        failed,
        skipped,
    } = Tally::of(run.outcomes);
    let failed = paint.count(BAD, failed, &format!("{failed} failed"));
    let (kernel, attach) = (&run.meta.kernel, &run.meta.attach);
    let seconds = run.took.as_secs_f64();
    writeln!(
        out,
        "{passed} passed, {failed}, {skipped} skipped · {kernel} · {attach} · {seconds:.1} s"
    )
}

fn compared(comparison: &Comparison, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let Comparison {
        was,
        is,
        same,
        alone,
        ..
    } = comparison;
    writeln!(out, "{}", paint.on(HEADING, &format!("{is} against {was}")))?;
    for one in &comparison.differences {
        let style = match one.kind {
            Kind::Regression => BAD,
            Kind::Improvement => GOOD,
            Kind::Changed => CARE,
        };
        let kind = paint.on(style, &format!("{:<11}", one.kind.name()));
        writeln!(out, "  {kind} {}", headline(one))?;
        for line in details(comparison, one) {
            writeln!(out, "              {line}")?;
        }
    }
    let regressions = comparison.count(Kind::Regression);
    let regressions = paint.count(BAD, regressions, &format!("{regressions} regressions"));
    let improvements = comparison.count(Kind::Improvement);
    let changed = comparison.count(Kind::Changed);
    write!(
        out,
        "{regressions}, {improvements} improvements, {changed} changed, {same} cases the same"
    )?;
    match alone {
        0 => writeln!(out),
        alone => writeln!(out, ", {alone} not in both"),
    }
}

fn case(run: &Run<'_>, outcome: &Outcome, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let name = outcome.case.name;
    let family = family_name(outcome.case.family);
    let head = |style, word: &str| {
        let word = paint.on(style, &format!("{word:<4}"));
        format!("  {word} {name:<26} {family:<11}")
    };
    match &outcome.verdict {
        Verdict::Pass => {
            let seconds = outcome.took.as_secs_f64();
            let (head, sockets) = (head(GOOD, "ok"), outcome.sockets);
            writeln!(out, "{head} {sockets:>5} sockets {seconds:>6.1} s")?;
            let clients = Clients::of(outcome);
            clients.map_or(Ok(()), |clients| {
                writeln!(out, "         {}", clients.told())
            })
        }
        Verdict::Skip(reason) => writeln!(out, "{} {reason}", head(CARE, "skip")),
        Verdict::Fail(_) => {
            let rule = outcome.case.behaviour.rule;
            writeln!(out, "{} {rule}", head(BAD, "FAIL"))?;
            evidence::explain(run, outcome)
                .iter()
                .try_for_each(|line| writeln!(out, "         {line}"))
        }
    }
}
