//! The verdicts: text for people, JSON, KTAP and JUnit for machines.

mod evidence;
mod json;
mod junit;
mod ktap;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};

use super::baseline::{Comparison, Difference, Kind};
use super::expect::Shown;
use super::outcome::Run;
use crate::event::Family;
pub(super) use ktap::bail_out;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    /// One object a line.
    Json,
    /// The kernel's Test Anything Protocol, as kselftest's tools read it.
    Ktap,
    /// JUnit XML.
    Junit,
}

/// What can be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) name: &'static str,
    pub(super) families: &'static [Family],
    /// Connections with each.
    pub(super) count: usize,
}

/// `--list`.
pub(super) fn list(
    scenarios: &[Listed],
    shown: Option<&Shown>,
    format: Format,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Json => json::list(scenarios, shown, out),
        // The others have no words for what was not run.
        Format::Text | Format::Ktap | Format::Junit => text::list(scenarios, shown, colour, out),
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
