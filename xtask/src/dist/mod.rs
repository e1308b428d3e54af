//! `cargo xtask dist`: the man pages and completions that a package has beside the binary.

mod lint;
mod shells;
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::run::{output, run as run_command, say, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to write to [default: target/dist].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Then have mandoc read the pages, and complete words in bash, zsh and fish.
    #[arg(long, conflicts_with = "out")]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        show(&check()?);
        return Ok(());
    }
    let folder = args.out.clone().unwrap_or_else(default_folder);
    make(&folder, &date()?)?;
    say(&format!("man pages and completions: {}", folder.display()));
    Ok(())
}

/// Makes them and tries each by its own tool. Says what was tried, and what could not be for want
/// of the tool, which is no failure.
pub(crate) fn check() -> Result<String> {
    let folder = default_folder();
    // Whatever the date, where there is no git to ask.
    make(&folder, &date().unwrap_or_else(|_| "0".to_owned()))?;
    let mut told = vec![lint::check(&folder.join("man"))?];
    told.extend(shells::check(&folder.join("completions"))?);
    Ok(told.join("; "))
}

fn default_folder() -> PathBuf {
    paths::root().join("target/dist")
}

fn make(folder: &Path, date: &str) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let mut command = Command::new("cargo");
    command
        .current_dir(paths::root())
        .args(["run", "--quiet", "--locked", "--package", "twtrace-dist"])
        .arg("--")
        .arg(folder)
        .env("SOURCE_DATE_EPOCH", date);
    run_command(&mut command)
}

/// The date of the pages: that of the commit, unless who builds says another.
fn date() -> Result<String> {
    if let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(seconds);
    }
    let mut log = Command::new("git");
    log.current_dir(paths::root())
        .args(["log", "-1", "--format=%ct"]);
    let seconds = output(&mut log).context("without git, set SOURCE_DATE_EPOCH")?;
    Ok(seconds.trim().to_owned())
}
