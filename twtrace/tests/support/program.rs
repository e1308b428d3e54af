//! The program as its users start it, whatever the environment of the tests.

use std::env;
use std::process::{Command, Stdio};

pub(crate) const TWTRACE: &str = env!("CARGO_BIN_EXE_twtrace");

/// What of the environment says nothing of how anything looks.
const KEPT: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// The program, its input closed.
pub(crate) fn twtrace() -> Command {
    program(TWTRACE)
}

/// Any program, its input closed. If it gets a terminal, that has colours and UTF-8.
///
/// Nothing else is inherited: CI, NO_COLOR, TERM, COLUMNS and the locale, for one, decide about
/// colours, widths and characters.
pub(crate) fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| KEPT.iter().any(|kept| name == kept)))
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8");
    command
}
