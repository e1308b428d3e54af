//! `cargo xtask fuzz`: the targets of fuzz/ for a while each, from seeds of the golden tests.

#[expect(unreachable_pub, reason = "fuzz/ is a crate of its own")]
#[path = "../../fuzz/src/seeds.rs"]
mod seeds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::paths;
use crate::run::{output, run as run_command, say, show};

/// As in fuzz/src/targets.rs; a test compares.
pub(crate) const TARGETS: [&str; 5] = ["decode", "recording", "btf", "text", "facts"];
const CARGO_FUZZ: &str = "0.13.2";
/// An input that takes this much memory is a finding (in MB).
const RSS_LIMIT_MB: u32 = 512;
/// As is one that takes this long, in seconds.
const TIMEOUT: u32 = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds per target.
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
    /// These targets instead of all.
    #[arg(value_name = "TARGET", value_parser = TARGETS)]
    targets: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let fuzzer = Fuzzer::get()?;
    let named: Vec<_> = args.targets.iter().map(String::as_str).collect();
    let targets = if named.is_empty() {
        &TARGETS
    } else {
        &named[..]
    };
    show(&fuzzer.each(targets, args.seconds)?);
    Ok(())
}

/// What fuzzes, with its seeds.
pub(crate) struct Fuzzer {
    tool: PathBuf,
}

impl Fuzzer {
    /// Finds or installs cargo-fuzz and builds the targets. What fails here is the toolchain.
    pub(crate) fn get() -> Result<Self> {
        which::which("g++").context("libFuzzer needs g++")?;
        let fuzzer = Self { tool: tool()? };
        fuzzer.build()?;
        Ok(fuzzer)
    }

    /// Runs these targets and says how many inputs each took.
    pub(crate) fn each(&self, targets: &[&str], seconds: u32) -> Result<String> {
        let mut told = Vec::new();
        for target in targets {
            say(&format!("fuzzing {target} for {seconds} s"));
            told.push(self.one(target, seconds)?);
        }
        Ok(told.join(", "))
    }

    fn one(&self, target: &str, seconds: u32) -> Result<String> {
        let corpus = folder().join("corpus").join(target);
        seed(target, &corpus)?;
        let mut command = self.command("run");
        command
            .arg(target)
            .arg(corpus)
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"))
            .arg(format!("-timeout={TIMEOUT}"))
            .args(["-print_final_stats=1", "-verbosity=1"]);
        let ended = command.output().context("cannot start cargo-fuzz")?;
        let text = String::from_utf8_lossy(&ended.stderr);
        if !ended.status.success() {
            let tail: Vec<_> = text.lines().rev().take(40).collect();
            tail.iter().rev().for_each(|line| show(line));
            bail!("{target}: an input fails, see above");
        }
        let inputs = inputs(&text).with_context(|| format!("{target} ran nothing"))?;
        Ok(format!("{target} {inputs}"))
    }

    fn build(&self) -> Result<()> {
        say("building the fuzz targets (some minutes the first time)");
        run_command(&mut self.command("build"))
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.tool);
        command
            .current_dir(paths::root())
            // What is fuzzed is safe Rust: a mistake is a panic, not a wrong address. Without a
            // sanitizer the pinned stable compiler will do.
            .args(["fuzz", what, "--sanitizer", "none", "--fuzz-dir"])
            .arg(folder());
        command
    }
}

/// How many inputs libFuzzer says that it ran.
fn inputs(stats: &str) -> Option<u64> {
    let line = |line: &str| {
        line.strip_prefix("stat::number_of_executed_units:")?
            .trim()
            .parse()
            .ok()
    };
    stats.lines().find_map(line).filter(|&inputs| inputs > 0)
}

fn folder() -> PathBuf {
    paths::root().join("fuzz")
}

/// Writes the first inputs of a corpus; what was found in earlier runs stays beside them.
fn seed(target: &str, corpus: &Path) -> Result<()> {
    fs::create_dir_all(corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let seeds = seeds::of(target, &paths::root().join("twtrace/tests/golden"));
    ensure!(!seeds.is_empty(), "{target} has no seeds");
    for (number, seed) in seeds.iter().enumerate() {
        let path = corpus.join(format!("seed-{number}"));
        fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// cargo-fuzz from PATH or the cache, else built into the cache.
fn tool() -> Result<PathBuf> {
    let built = paths::cache().join("cargo-fuzz/bin/cargo-fuzz");
    let found = which::which("cargo-fuzz").ok().into_iter();
    for candidate in found.chain([built.clone()]) {
        if output(Command::new(&candidate).arg("--version")).is_ok() {
            return Ok(candidate);
        }
    }
    say("building cargo-fuzz (about a minute)");
    run_command(
        Command::new("cargo")
            .args([
                "install",
                "--quiet",
                "--locked",
                "cargo-fuzz",
                "--version",
                CARGO_FUZZ,
            ])
            .arg("--root")
            .arg(paths::cache().join("cargo-fuzz")),
    )?;
    ensure!(built.is_file(), "cargo install left no {}", built.display());
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_are_run() {
        let source = std::fs::read_to_string(folder().join("src/targets.rs")).unwrap();
        let there = source.matches("\npub fn ").count();
        assert_eq!(there, TARGETS.len());
        for target in TARGETS {
            assert!(
                source.contains(&format!("(\"{target}\", {target})")),
                "{target}"
            );
        }
    }

    #[test]
    fn a_run_without_inputs_is_no_run() {
        assert_eq!(
            inputs("stat::number_of_executed_units: 1234\n"),
            Some(1_234)
        );
        assert_eq!(inputs("stat::number_of_executed_units: 0\n"), None);
        assert_eq!(inputs("INFO: nothing\n"), None);
    }
}
