//! `cargo xtask package`: what a release needs. The library promises what docs/api.txt lists, and
//! both crates can be published.

mod documented;
pub(crate) mod rustdoc;
mod surface;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use std::{env, fs, io};

use anyhow::{Context as _, Result, ensure};

use crate::paths;
use crate::run::{say, shown};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare the library's surface with docs/api.txt.
    #[arg(long)]
    surface: bool,
}

/// In the order in which they must be published.
const CRATES: [&str; 2] = ["twtrace-common", "twtrace"];

pub(crate) fn run(args: &Args) -> Result<()> {
    say(&surface::check()?);
    if !args.surface {
        say(&check()?);
    }
    Ok(())
}

/// Packs both crates, builds them from their packages, and asks the registry whether it would take
/// them, where one can be reached. Says what it found.
pub(crate) fn check() -> Result<String> {
    forget_earlier()?;
    let packed = Command::new("cargo").clean(&["package", "--offline"])?;
    let packed = match packed {
        Some(_) => packed,
        // Crates that were never fetched, as in a fresh clone.
        None => Command::new("cargo").clean(&["package"])?,
    };
    ensure!(
        packed.is_some(),
        "the packages need crates that cannot be fetched"
    );
    let names = CRATES.join(" and ");
    Ok(
        match Command::new("cargo").clean(&["publish", "--dry-run", "--no-verify"])? {
            Some(_) => format!("{names} can be published"),
            None => format!("{names} build from their packages; no registry was asked"),
        },
    )
}

/// Removes what cargo keeps of earlier packages of ours. It takes one version of a packed crate to be
/// the same for ever, so `twtrace` would be built with an earlier `twtrace-common`.
fn forget_earlier() -> Result<()> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("no HOME")?).join(".cargo"),
    };
    for registry in entries(&home.join("registry/src"))? {
        // Others begin with the name of a host.
        if name_of(&registry).starts_with('-') {
            for name in CRATES {
                remove(&registry.join(format!("{name}-{}", env!("CARGO_PKG_VERSION"))))?;
            }
        }
    }
    let mut changed = SystemTime::UNIX_EPOCH;
    for source in entries(&paths::root().join("twtrace-common/src"))? {
        changed = changed.max(fs::metadata(source)?.modified()?);
    }
    for built in entries(&paths::root().join("target/debug/.fingerprint"))? {
        let is_older = fs::metadata(&built)?.modified()? < changed;
        if is_older && name_of(&built).starts_with("twtrace-common-") {
            remove(&built)?;
        }
    }
    Ok(())
}

/// What is in a folder; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?),
    }
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

trait Clean {
    /// Runs cargo on both crates; `None` if it lacked the network. A warning is an error.
    fn clean(self, args: &[&str]) -> Result<Option<()>>;
}

impl Clean for Command {
    fn clean(mut self, args: &[&str]) -> Result<Option<()>> {
        self.current_dir(paths::root())
            .args(args)
            // What is committed is the business of others.
            .args(["--allow-dirty", "--locked"])
            .args(CRATES.map(|name| format!("--package={name}")))
            .stdin(Stdio::null());
        let output = self
            .output()
            .with_context(|| format!("cannot start `{}`", shown(&self)))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && OFFLINE.iter().any(|sign| stderr.contains(sign)) {
            return Ok(None);
        }
        let wrong: Vec<_> = stderr.lines().filter(|line| is_wrong(line)).collect();
        ensure!(
            output.status.success() && wrong.is_empty(),
            "`{}` ended with {}: {}",
            shown(&self),
            output.status,
            if wrong.is_empty() {
                stderr.trim().to_owned()
            } else {
                wrong.join("; ")
            }
        );
        Ok(Some(()))
    }
}

/// What cargo says where there is no network, or where it may not be used.
const OFFLINE: [&str; 5] = [
    "but --offline was specified",
    "--offline flag",
    "offline mode",
    "Could not resolve host",
    "failed to download",
];

/// Warnings that come with what we want: tests stay in the repository, and nothing is uploaded.
const EXPECTED: [&str; 2] = ["ignoring test `", "aborting upload due to dry run"];

fn is_wrong(line: &str) -> bool {
    let is_told = line.starts_with("warning: ") || line.starts_with("error");
    is_told && !EXPECTED.iter().any(|expected| line.contains(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_wrong_unless_it_comes_with_what_we_want() {
        assert!(is_wrong("warning: manifest has no description"));
        assert!(is_wrong("error[E0432]: unresolved import"));
        assert!(!is_wrong(
            "warning: ignoring test `golden` as it is not included"
        ));
        assert!(!is_wrong("   Packaged 256 files, 2.3MiB"));
    }
}
