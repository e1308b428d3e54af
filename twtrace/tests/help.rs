//! The helps, byte by byte: every `-h` and `--help`. `TWTRACE_BLESS=1` writes them anew.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/program.rs"]
mod program;
#[expect(dead_code, reason = "the other golden tests use the rest")]
mod support;

use std::fs;

use twtrace::cli::Cli;

use program::twtrace;
use support::{expect, golden};

/// As wide as a help may be.
const COLUMNS: &str = "100";

fn printed(arguments: &[&str]) -> String {
    // It asks all three whether they are a terminal, and how wide.
    let output = twtrace()
        .args(arguments)
        .env("COLUMNS", COLUMNS)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands, and none.
fn subcommands() -> Vec<String> {
    let definition = Cli::definition();
    let each = definition
        .get_subcommands()
        .map(|one| one.get_name().to_owned());
    each.collect()
}

#[test]
fn each_help_is_as_it_was() {
    for name in subcommands() {
        for (flag, length) in [("-h", "short"), ("--help", "long")] {
            let file = golden("help").join(format!("{name}.{length}.txt"));
            expect(&file, printed(&[&name, flag]).as_bytes());
        }
    }
    // Without `check`, there is a subcommand less.
    if cfg!(feature = "check") {
        for (flag, length) in [("-h", "short"), ("--help", "long")] {
            let file = golden("help").join(format!("twtrace.{length}.txt"));
            expect(&file, printed(&[flag]).as_bytes());
        }
        let files = fs::read_dir(golden("help")).unwrap().count();
        let known = 2 * (subcommands().len() + 1);
        assert_eq!(files, known, "a help of what is gone");
    }
}

#[test]
fn the_short_help_is_shorter_and_only_the_long_one_has_examples() {
    for name in subcommands() {
        let [short, long] = ["-h", "--help"].map(|flag| printed(&[&name, flag]));
        assert!(short.lines().count() < long.lines().count(), "{name}");
        assert!(!short.contains("Examples:"), "{name}");
        let examples = long.split("Examples:\n").nth(1).unwrap();
        assert_eq!(examples.lines().count(), 3, "{name}");
        assert!(!long.contains("--pid"), "{name}");
    }
    for flag in ["-h", "--help"] {
        let help = printed(&[flag]);
        assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    }
}
