//! What is behind `twtrace check`: makes every end and every refusal for real and sees whether the tracer, the
//! kernel's counters and the socket tables agree on it.
//!
//! A scenario (`scenarios`) is run by `runner` once per address family, each in a thread and a network
//! namespace of its own (`lab`), all side by side. What it made and saw by its own clock (`life`)
//! is then compared with the tracer's events and totals and the kernel's counters (`judge`). Where
//! more than one namespace is needed, `net` joins them; the test VMs' workloads use it too.

mod baseline;
mod expect;
mod judge;
mod lab;
mod life;
pub mod net;
mod outcome;
mod progress;
mod report;
mod runner;
mod scenarios;
mod work;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use baseline::{Baseline, Comparison, Kind, compare};
use expect::Shown;
use outcome::{Run, Tally};
use progress::Progress;
pub(crate) use report::Format;
use report::Listed;
use scenarios::{SCENARIOS, Scenario};

use crate::error::{Error, Exit, Result};
use crate::kernel::btf::VMLINUX;
use crate::kernel::{Attach, GivenBtf, Options, Session};

/// What to check, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    /// Names of scenarios; none means all.
    pub scenarios: Vec<String>,
    /// Only name and explain them.
    pub list: bool,
    pub format: Format,
    /// Text in colours.
    pub colour: bool,
    /// Files that get the same in other formats.
    pub reports: Vec<(Format, PathBuf)>,
    /// Keep what was observed in this file.
    pub save: Option<PathBuf>,
    /// Compare with what this file keeps.
    pub baseline: Option<PathBuf>,
    /// Do not run anything; compare this file with the baseline.
    pub against: Option<PathBuf>,
    pub attach: Attach,
    /// BTF of the running kernel, by default its own.
    pub btf: Option<GivenBtf>,
}

/// Where it writes.
pub(crate) struct Outside<'a> {
    /// The verdicts.
    pub out: &'a mut dyn Write,
    /// Messages.
    pub talk: fn(&str),
    /// Makes a file of this name; the text says what for.
    pub create: fn(&Path, &str) -> Result<File>,
}

/// Runs the scenarios, or compares what two runs kept.
pub(crate) fn run(args: &Args, outside: &mut Outside<'_>) -> Result<Exit> {
    let out = &mut *outside.out;
    let scenarios = select(&args.scenarios)?;
    let btf = args.btf.as_deref().unwrap_or(Path::new(VMLINUX));
    let shown = lab::kernel::shown(btf);
    if args.list {
        // Only to tell what is right here; no privilege is needed for the list.
        let listed = scenarios.iter().map(|scenario| Listed {
            name: scenario.name,
            families: scenario.families,
            count: scenario.count,
        });
        written(report::list(
            &listed.collect::<Vec<_>>(),
            shown.ok().as_ref(),
            args.format,
            out,
        ))?;
        return Ok(Exit::Done);
    }
    // What cannot be compared with is better known before the minute that it takes.
    let old = args.baseline.as_deref().map(Baseline::load).transpose()?;
    if let (Some(old), Some(path)) = (&old, &args.against) {
        let comparison = compare(old, &Baseline::load(path)?);
        written(report::report(
            None,
            Some(&comparison),
            args.format,
            args.colour,
            out,
        ))?;
        return Ok(exit(Tally::default(), Some(&comparison)));
    }
    let ran = shown.and_then(|shown| check(args, &scenarios, &shown, old.as_ref(), outside));
    if let (Format::Ktap, Err(error)) = (args.format, &ran) {
        written(report::bail_out(error.message(), &mut *outside.out))?;
    }
    ran
}

fn check(
    args: &Args,
    scenarios: &[&'static Scenario],
    shown: &Shown,
    old: Option<&Baseline>,
    outside: &mut Outside<'_>,
) -> Result<Exit> {
    let cases = runner::cases(scenarios)?;
    let trace = |ports| {
        Session::start(&Options {
            attach: args.attach,
            btf: args.btf.clone(),
            births: true,
            ports,
            ..Options::default()
        })
    };
    let start = Instant::now();
    let progress = Progress::new(cases.len(), args.format == Format::Text, outside.talk);
    let (session, outcomes) = runner::run(&cases, shown, progress, trace)?;
    let run = Run {
        meta: session.meta(),
        shown,
        outcomes: &outcomes,
        took: start.elapsed(),
    };
    let new = Baseline::of(&run);
    let comparison = old.map(|old| compare(old, &new));
    let comparison = comparison.as_ref();
    tell(args, Some(&run), comparison, outside)?;
    if let Some(path) = &args.save {
        new.save((outside.create)(path, "the baseline")?, path)?;
    }
    Ok(exit(Tally::of(&outcomes), comparison))
}

/// On stdout, and in the files that are asked for.
fn tell(
    args: &Args,
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    outside: &mut Outside<'_>,
) -> Result<()> {
    for (format, path) in &args.reports {
        let mut file = BufWriter::new((outside.create)(path, "the report")?);
        let mut write = || -> io::Result<()> {
            report::report(run, comparison, *format, false, &mut file)?;
            file.flush()
        };
        write().map_err(|error| {
            Error::new(format!(
                "cannot write the report {}: {error}",
                path.display()
            ))
        })?;
    }
    written(report::report(
        run,
        comparison,
        args.format,
        args.colour,
        outside.out,
    ))
}

fn select(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        SCENARIOS
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(|| {
                Error::new(format!("there is no scenario {name}"))
                    .hint("twtrace check --list names them all")
            })
    };
    names.iter().map(find).collect()
}

fn exit(tally: Tally, comparison: Option<&Comparison>) -> Exit {
    let worse = comparison.is_some_and(|comparison| comparison.count(Kind::Regression) > 0);
    match tally {
        _ if worse => Exit::Finding,
        Tally { failed: 1.., .. } => Exit::Finding,
        Tally {
            passed: 0,
            skipped: 1..,
            ..
        } => Exit::Skipped,
        _ => Exit::Done,
    }
}

/// A reader that went away has read enough.
fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(format!("cannot write the verdicts: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_named() {
        let error = select(&["expired".into(), "nonsense".into()]).unwrap_err();
        assert_eq!(error.message(), "there is no scenario nonsense");
        assert_eq!(select(&["expired".into()]).unwrap().len(), 1);
        assert_eq!(select(&[]).unwrap().len(), SCENARIOS.len());
    }

    #[test]
    fn one_failure_decides_and_skips_alone_are_no_success() {
        let tally = |passed, failed, skipped| {
            let tally = Tally {
                passed,
                failed,
                skipped,
            };
            exit(tally, None)
        };
        assert_eq!(tally(5, 1, 1), Exit::Finding);
        assert_eq!(tally(5, 0, 1), Exit::Done);
        assert_eq!(tally(0, 0, 3), Exit::Skipped);
    }
}
