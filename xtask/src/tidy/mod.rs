//! `cargo xtask tidy`: what the compiler and clippy do not check about this repository.

mod circles;
mod imports;
mod links;
mod outside;
mod size;
mod walls;
mod words;

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::paths;
use crate::run::{output, say, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// A file of the repository.
struct Source {
    /// Relative to the root.
    path: String,
    bytes: Vec<u8>,
}

impl Source {
    /// Its lines with their numbers; none if it is not text.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let text = std::str::from_utf8(&self.bytes).unwrap_or_default();
        text.lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Something that must not be.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

type Check = fn(&[Source]) -> Vec<Finding>;

/// All checks: each takes every file of the repository.
const CHECKS: &[Check] = &[
    walls::check,
    circles::check,
    outside::check,
    words::check,
    size::check,
    links::check,
];

pub(crate) fn run(_: &Args) -> Result<()> {
    let sources = sources()?;
    let findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&sources)).collect();
    for Finding { path, line, what } in &findings {
        show(&format!("{path}:{line}: {what}"));
    }
    ensure!(findings.is_empty(), "{} things to tidy", findings.len());
    say(&format!("tidy: {} files are in order", sources.len()));
    Ok(())
}

/// Everything git tracks or would track.
fn sources() -> Result<Vec<Source>> {
    let list = output(Command::new("git").current_dir(paths::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))?;
    let mut sources = Vec::new();
    for path in list.split_terminator('\0') {
        let full = paths::root().join(path);
        if !full.is_file() {
            // Deleted, but not yet in the index.
            continue;
        }
        sources.push(Source {
            path: path.to_owned(),
            bytes: fs::read(&full).with_context(|| format!("cannot read {path}"))?,
        });
    }
    Ok(sources)
}

#[cfg(test)]
fn planted(path: &str, text: &str) -> Vec<Source> {
    vec![Source {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }]
}
