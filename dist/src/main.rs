//! Writes what a package of twtrace has beside the binary: man pages and completions. It is a crate
//! of its own so that xtask does not need a twtrace that compiles.

mod documents;
mod examples;
mod exits;
mod overview;
mod page;
mod subcommand;
#[cfg(test)]
mod tests;
mod values;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum as _};
use twtrace::cli::{Cli, Shell};

use page::Stamp;

/// Write man pages and completions of twtrace into a folder.
#[derive(Debug, Parser)]
struct Args {
    /// The folder; files in it that have the same names are replaced
    folder: PathBuf,
}

/// A file, and where it goes in the folder.
struct File {
    path: String,
    bytes: Vec<u8>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let stamp = Stamp::of_environment()?;
    for File { path, bytes } in files(&stamp)? {
        let path = args.folder.join(path);
        let parent = path.parent().unwrap_or(&args.folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, bytes))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn files(stamp: &Stamp) -> Result<Vec<File>> {
    let mut definition = Cli::definition().disable_help_subcommand(true);
    // Only then the subcommands have the options that are common to all.
    definition.build();
    let mut files = vec![manual("twtrace", overview::page(&definition, stamp)?)];
    for command in subcommand::shown(&definition) {
        let name = subcommand::page_name(command);
        files.push(manual(&name, subcommand::page(command, stamp)?));
    }
    files.extend(Shell::value_variants().iter().map(|&shell| File {
        path: format!("completions/{}", script_name(shell)),
        bytes: shell.script(),
    }));
    Ok(files)
}

fn manual(name: &str, text: String) -> File {
    File {
        path: format!("man/{name}.1"),
        bytes: text.into_bytes(),
    }
}

/// As the shell wants it called.
fn script_name(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => "twtrace.bash",
        Shell::Zsh => "_twtrace",
        Shell::Fish => "twtrace.fish",
    }
}
