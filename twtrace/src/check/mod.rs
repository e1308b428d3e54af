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

use crate::error::{Error, Exit, Result, why};
use crate::kernel::btf::VMLINUX;
use crate::kernel::{Attach, GivenBtf, Options, Session, preflight};
use crate::view;

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
    /// No progress.
    pub quiet: bool,
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
    /// Messages that are no warnings.
    pub say: fn(&str),
    /// Makes a file of this name.
    pub create: fn(&Path) -> Result<File>,
    /// Called whenever tracing has begun, with what was asked for.
    pub started: fn(&Session, Attach),
}

/// Runs the scenarios, or compares what two runs kept.
pub(crate) fn run(args: &Args, outside: &mut Outside<'_>) -> Result<Exit> {
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
            args.colour,
            outside.out,
        ))?;
        return Ok(Exit::Done);
    }
    // What cannot be compared with is better known before the minute that it takes.
    let old = args.baseline.as_deref().map(Baseline::load).transpose()?;
    if let (Some(old), Some(path)) = (&old, &args.against) {
        let comparison = compare(old, &Baseline::load(path)?);
        let files = Files::create(args, outside)?;
        tell(args, None, Some(&comparison), files.reports, outside)?;
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
    // Before anything is made or announced.
    preflight::may_check(args.attach, args.btf.as_ref())?;
    let files = Files::create(args, outside)?;
    let started = outside.started;
    let trace = |ports| {
        let session = Session::start(&Options {
            attach: args.attach,
            btf: args.btf.clone(),
            births: true,
            ports,
            ..Options::default()
        })?;
        started(&session, args.attach);
        Ok(session)
    };
    let start = Instant::now();
    let progress = Progress::new(
        cases.len(),
        args.format == Format::Text && !args.quiet,
        outside.say,
    );
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
    tell(args, Some(&run), comparison, files.reports, outside)?;
    if let Some((file, path)) = files.save {
        new.save(file, path)?;
    }
    Ok(exit(Tally::of(&outcomes), comparison))
}

/// What is written at the end, open from the start: a wrong name is told before the minute that
/// it takes.
struct Files<'a> {
    reports: Vec<(Format, File, &'a Path)>,
    save: Option<(File, &'a Path)>,
}

impl<'a> Files<'a> {
    fn create(args: &'a Args, outside: &Outside<'_>) -> Result<Self> {
        let create =
            |path: &'a PathBuf| -> Result<(File, &'a Path)> { Ok(((outside.create)(path)?, path)) };
        let reports = args.reports.iter().map(|(format, path)| {
            let (file, path) = create(path)?;
            Ok((*format, file, path))
        });
        Ok(Self {
            reports: reports.collect::<Result<_>>()?,
            save: args.save.as_ref().map(create).transpose()?,
        })
    }
}

/// On stdout, and in the files that are asked for.
fn tell(
    args: &Args,
    run: Option<&Run<'_>>,
    comparison: Option<&Comparison>,
    files: Vec<(Format, File, &Path)>,
    outside: &mut Outside<'_>,
) -> Result<()> {
    for (format, file, path) in files {
        let mut file = BufWriter::new(file);
        let mut write = || -> io::Result<()> {
            report::report(run, comparison, format, false, &mut file)?;
            file.flush()
        };
        write().map_err(|error| {
            Error::new(format!("cannot write {}: {}", path.display(), why(&error)))
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
            .ok_or_else(|| Error::new(format!("there is no scenario {name}")).hint(hint(name)))
    };
    names.iter().map(find).collect()
}

/// The scenario that is most like it.
fn hint(name: &str) -> String {
    let known = SCENARIOS.iter().map(|row| row.name);
    match view::nearest(name, known) {
        Some(best) => format!("did you mean {best}?"),
        None => "twtrace check --list names them all".to_owned(),
    }
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
