//! `twtrace completions`: a script for a shell.

use super::output::Output;
use crate::cli::CompletionsArgs;
use crate::error::{Exit, Result};

pub(super) fn run(args: &CompletionsArgs) -> Result<Exit> {
    let mut out = Output::stdout();
    out.buffer().extend(args.shell.script());
    out.flush()?;
    Ok(Exit::Done)
}
