//! One file per subcommand, and what they share. The only place that does I/O end to end.

pub mod check;
mod conflicts;
mod doctor;
mod filter;
mod groups;
mod hist;
mod live;
mod lookout;
mod namer;
mod output;
mod ports;
mod record;
mod replay;
mod report;
mod top;
mod trace;
mod version;
mod witness;

use std::io;

use anstream::{AutoStream, ColorChoice};

use crate::cli::{CheckArgs, Cli, Command, Ring, Tracing};
use crate::error::{Exit, Result};
use crate::kernel::{GivenBtf, Options};

/// Runs what the command line says.
pub fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        _ if cli.version => version::run(cli.verbose),
        None => version::run(false),
        Some(Command::Trace(args)) => trace::run(&args),
        Some(Command::Hist(args)) => hist::run(&args),
        Some(Command::Conflicts(args)) => conflicts::run(&args),
        Some(Command::Top(args)) => top::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Ports(args)) => ports::run(&args),
        Some(Command::Record(args)) => record::run(&args),
        Some(Command::Report(args)) => report::run(&args),
        Some(Command::Check(args)) => run_check(args),
    }
}

fn run_check(args: CheckArgs) -> Result<Exit> {
    let args = check::Args {
        scenarios: args.scenarios,
        list: args.list,
        format: match args.ktap {
            true => check::Format::Ktap,
            false => args.output.into(),
        },
        reports: args
            .reports
            .into_iter()
            .map(|(format, file)| (format.into(), file))
            .collect(),
        colour: AutoStream::choice(&io::stdout()) != ColorChoice::Never,
        save: args.save,
        baseline: args.baseline,
        against: args.against,
        attach: args.attach.into(),
        btf: args.btf.map(GivenBtf::new).transpose()?,
    };
    check::run(&args, &mut io::stdout().lock())
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
