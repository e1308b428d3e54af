//! Runs a command repeatedly, to find failures that occur once in a hundred runs.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Maximum number of runs.
    times: u32,
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// Runs the command until it fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (program, rest) = args.command.split_first().context("no command")?;
    for time in 1..=args.times {
        let status = Command::new(program)
            .args(rest)
            .status()
            .with_context(|| format!("cannot start {program}"))?;
        ensure!(status.success(), "run {time}: {status}");
        say(&format!("run {time} of {}: {status}", args.times));
    }
    Ok(())
}
