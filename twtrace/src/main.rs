//! Table of contents: parse, run, say what went wrong, exit.

use std::process::ExitCode;

use clap::Parser;
use twtrace::cli::Cli;
use twtrace::cmd;
use twtrace::error::Exit;

fn main() -> ExitCode {
    let exit = match cmd::run(Cli::parse()) {
        Ok(exit) => exit,
        Err(error) => {
            cmd::talk(&format!("twtrace: {error}"));
            Exit::CannotRun
        }
    };
    ExitCode::from(exit as u8)
}
