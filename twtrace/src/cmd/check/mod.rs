//! `twtrace check`: makes every end and every refusal for real and sees whether the tracer, the
//! kernel's counters and the socket tables agree on it.
//!
//! A scenario (`scenarios`) is run by `runner` once per address family, each in a thread and a network
//! namespace of its own (`lab`), all side by side. What it made and saw by its own clock (`life`)
//! is then compared with the tracer's events and totals and the kernel's counters (`judge`). Where
//! more than one namespace is needed, `net` joins them; the test VMs' workloads use it too.

mod calls;
mod cgroup;
mod gate;
mod judge;
mod lab;
mod life;
mod mini;
pub mod net;
mod progress;
mod report;
mod runner;
mod scenarios;
mod segment;
mod socket_table;
mod sockets;
mod work;

use std::io::{self, Write};
use std::path::PathBuf;

pub use report::Format;
use report::Tally;
use scenarios::{SCENARIOS, Scenario};

use crate::error::{Error, Exit, Result};
use crate::kernel::{Attach, Options, Session};

/// What to check, and how.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// Names of scenarios; none means all.
    pub scenarios: Vec<String>,
    /// Only name and explain them.
    pub list: bool,
    pub format: Format,
    pub attach: Attach,
    /// BTF of the running kernel, by default its own.
    pub btf: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<Exit> {
    let scenarios = select(&args.scenarios)?;
    if args.list {
        written(report::list(&scenarios, args.format, out))?;
        return Ok(Exit::Done);
    }
    let cases = runner::cases(&scenarios);
    let start = |ports| {
        Session::start(&Options {
            attach: args.attach,
            btf: args.btf.clone(),
            births: true,
            ports,
            ..Options::default()
        })
    };
    let (session, outcomes) = runner::run(&cases, start)?;
    written(report::report(&outcomes, session.meta(), args.format, out))?;
    Ok(exit(Tally::of(&outcomes)))
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

fn exit(tally: Tally) -> Exit {
    match tally {
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
            exit(Tally {
                passed,
                failed,
                skipped,
            })
        };
        assert_eq!(tally(5, 1, 1), Exit::Finding);
        assert_eq!(tally(5, 0, 1), Exit::Done);
        assert_eq!(tally(0, 0, 3), Exit::Skipped);
    }
}
