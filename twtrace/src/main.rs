//! Table of contents: parse, run, say what went wrong, exit.

use std::process::ExitCode;

use twtrace::cli::{Cli, wrong};
use twtrace::cmd;
use twtrace::error::Exit;

fn main() -> ExitCode {
    let ran = match Cli::of_process() {
        Ok(cli) => cmd::run(cli),
        Err(asked) => match wrong(&asked) {
            Some(error) => Err(error),
            // It is for help or for the version.
            None => asked.exit(),
        },
    };
    let exit = ran.unwrap_or_else(|error| {
        cmd::talk(&format!("twtrace: {error}"));
        Exit::CannotRun
    });
    ExitCode::from(exit as u8)
}
