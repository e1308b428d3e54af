//! One file per subcommand, and what they share. The only place that does I/O end to end.

mod attached;
mod charset;
#[cfg(feature = "check")]
mod check;
mod child;
mod completions;
mod conflicts;
mod doctor;
mod files;
mod filter;
mod groups;
mod hist;
mod input;
mod live;
mod lookout;
mod manner;
mod namer;
mod outlet;
mod output;
mod pipe;
mod ports;
mod record;
mod replay;
mod report;
mod signals;
mod top;
mod trace;

use crate::cli::{Cli, Command, Ring, Tracing};
use crate::error::{Exit, Result};
use crate::kernel::{GivenBtf, Options};
use crate::view::columns;
use output::Output;

pub use output::talk;

/// Runs what the command line says.
pub fn run(cli: Cli) -> Result<Exit> {
    manner::set(cli.manner);
    match cli.command {
        command if command.asks_for_fields() => {
            let mut out = Output::stdout().text(true);
            out.buffer().extend_from_slice(columns::list().as_bytes());
            out.flush()?;
            Ok(Exit::Done)
        }
        Command::Trace(args) => trace::run(&args),
        Command::Hist(args) => hist::run(&args),
        Command::Conflicts(args) => conflicts::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Report(args) => report::run(&args),
        #[cfg(feature = "check")]
        Command::Check(args) => check::run(args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// The options that the command line gives every trace; the rest are the defaults.
fn options(tracing: &Tracing, filters: &crate::cli::Filters) -> Result<Options> {
    Ok(Options {
        attach: tracing.attach.into(),
        filter: filter::build(filters)?,
        max_sockets: tracing.max_sockets,
        btf: tracing.btf.clone().map(GivenBtf::new).transpose()?,
        ..Options::default()
    })
}

/// The same for commands that take records.
fn with_records(options: Options, ring: &Ring) -> Options {
    Options {
        ring_bytes: ring.ring_bytes,
        refusal_rate: ring.max_refusals,
        ..options
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::kernel::privileges::Later;

    const REQUIREMENTS: &str = include_str!("../../../docs/requirements.md");

    /// What a command line keeps of root's capabilities once it is attached.
    fn kept(line: &str) -> (&'static str, BTreeSet<String>) {
        let (name, options, tracing) = match Cli::parse_from(line.split(' ')).command {
            Command::Trace(args) => ("trace", trace::options(&args), args.tracing),
            Command::Hist(args) => ("hist", hist::options(&args), args.tracing),
            Command::Conflicts(args) => ("conflicts", conflicts::options(&args), args.tracing),
            Command::Ports(args) => ("ports", ports::options(&args), args.tracing),
            Command::Top(args) => ("top", top::options(&args), args.tracing),
            Command::Record(args) => ("record", record::options(&args), args.tracing),
            _ => unreachable!("{line} does not trace"),
        };
        let later = Later::of(&options.unwrap(), tracing.user.is_some());
        let needed = later.needs(&caps::all());
        (name, needed.iter().map(ToString::to_string).collect())
    }

    /// Between the backticks of a cell.
    fn quoted(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }

    #[test]
    fn readme_says_which_capabilities_each_command_keeps() {
        let table = REQUIREMENTS.split("<!-- KEPT: begin -->").nth(1).unwrap();
        let table = table.split("<!-- KEPT: end -->").next().unwrap();
        let rows = table.lines().filter(|line| line.contains('`'));
        let mut seen = BTreeSet::new();
        for row in rows {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let expected: BTreeSet<_> = cells[2].split(", ").map(str::to_owned).collect();
            for line in quoted(cells[1]) {
                let (name, capabilities) = kept(line);
                assert_eq!(capabilities, expected, "{line}");
                seen.insert((name, line.contains(" -L ")));
            }
        }
        let commands = ["trace", "hist", "conflicts", "ports", "top", "record"];
        for command in commands {
            for filtered in [false, true] {
                assert!(seen.contains(&(command, filtered)), "{command}, {filtered}");
            }
        }
    }
}
