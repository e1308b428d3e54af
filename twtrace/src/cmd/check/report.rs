//! The verdicts as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::to_writer;

use super::runner::{Outcome, Verdict};
use super::scenarios::Scenario;
use crate::event::{Family, Meta};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Version of the JSON objects.
const VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Scenario {
        v: u32,
        name: &'a str,
        proves: &'a str,
        rule: &'a str,
        families: Vec<&'a str>,
        connections: usize,
    },
    Check {
        v: u32,
        name: &'a str,
        family: &'a str,
        verdict: &'a str,
        reason: Option<&'a str>,
        failures: &'a [String],
        sockets: usize,
        took_ms: u128,
    },
    Summary {
        v: u32,
        kernel: &'a str,
        attach: &'a str,
        passed: usize,
        failed: usize,
        skipped: usize,
    },
}

/// How many cases came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Tally {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
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

/// `--list`.
pub(super) fn list(scenarios: &[&Scenario], format: Format, out: &mut dyn Write) -> io::Result<()> {
    for row in scenarios {
        let families: Vec<_> = row
            .families
            .iter()
            .map(|family| family_name(*family))
            .collect();
        match format {
            Format::Text => {
                writeln!(out, "{}", row.name)?;
                writeln!(out, "    {}", row.proves)?;
                writeln!(out, "    kernel: {}", row.rule)?;
                writeln!(
                    out,
                    "    {} connections each: {}",
                    row.count,
                    families.join(", ")
                )?;
            }
            Format::Json => json(
                out,
                &Line::Scenario {
                    v: VERSION,
                    name: row.name,
                    proves: row.proves,
                    rule: row.rule,
                    families,
                    connections: row.count,
                },
            )?,
        }
    }
    Ok(())
}

/// All verdicts and their sum.
pub(super) fn report(
    outcomes: &[Outcome],
    meta: &Meta,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    for outcome in outcomes {
        match format {
            Format::Text => text(outcome, out)?,
            Format::Json => json(out, &line(outcome))?,
        }
    }
    let Tally {
        passed,
        failed,
        skipped,
    } = Tally::of(outcomes);
    let (kernel, attach) = (meta.kernel.as_str(), meta.attach.as_str());
    match format {
        Format::Text => {
            writeln!(
                out,
                "{passed} passed, {failed} failed, {skipped} skipped · {kernel} · {attach}"
            )
        }
        Format::Json => json(
            out,
            &Line::Summary {
                v: VERSION,
                kernel,
                attach,
                passed,
                failed,
                skipped,
            },
        ),
    }
}

fn text(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let name = outcome.case.scenario.name;
    let family = family_name(outcome.case.family);
    let head = |word: &str| format!("{word:<5}{name:<24} {family:<12}");
    match &outcome.verdict {
        Verdict::Pass => {
            let seconds = outcome.took.as_secs_f64();
            writeln!(
                out,
                "{} {:>5} sockets {seconds:>6.1} s",
                head("ok"),
                outcome.sockets
            )
        }
        Verdict::Skip(reason) => writeln!(out, "{} {reason}", head("skip")),
        Verdict::Fail(failures) => {
            writeln!(out, "{} {}", head("FAIL"), outcome.case.scenario.proves)?;
            failures
                .iter()
                .try_for_each(|failure| writeln!(out, "       {failure}"))
        }
    }
}

fn line(outcome: &Outcome) -> Line<'_> {
    let (verdict, reason, failures): (_, _, &[String]) = match &outcome.verdict {
        Verdict::Pass => ("pass", None, &[]),
        Verdict::Skip(reason) => ("skip", Some(reason.as_str()), &[]),
        Verdict::Fail(failures) => ("fail", None, failures),
    };
    Line::Check {
        v: VERSION,
        name: outcome.case.scenario.name,
        family: family_name(outcome.case.family),
        verdict,
        reason,
        failures,
        sockets: outcome.sockets,
        took_ms: outcome.took.as_millis(),
    }
}

fn json(out: &mut dyn Write, line: &Line<'_>) -> io::Result<()> {
    to_writer(&mut *out, line)?;
    writeln!(out)
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
        Family::Ipv4Mapped => "ipv4-mapped",
    }
}
