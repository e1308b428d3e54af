//! A command over and over: what fails once in a hundred times is found on an afternoon.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often, at most.
    times: u32,
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// Runs it until it fails.
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
