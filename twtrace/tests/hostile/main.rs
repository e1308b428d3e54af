//! Files that somebody made to do harm: nothing of them is obeyed by a terminal, and reading them
//! takes a bounded amount of memory and time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

mod bombs;
mod craft;
mod letters;
#[path = "../support/program.rs"]
mod program;

use std::path::{Path, PathBuf};
use std::process::Output;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn twtrace(arguments: &[&str], file: &Path) -> Output {
    program::twtrace()
        .args(arguments)
        .arg(file)
        .output()
        .unwrap()
}
