//! Running other programs, and talking to the person at the terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A line for the person who waits; data goes to stdout, messages to stderr.
pub(crate) fn say(line: &str) {
    // If stderr is closed, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "xtask: {line}");
}

/// A line of the result. The colours that a program chose for the console of its VM stay only where
/// this stdout has colours, too.
pub(crate) fn show(line: &str) {
    // As above: a closed pipe is the reader's choice.
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// The command as a person would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs to the end with our own stdout and stderr.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns its stdout; its stderr is part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            shown(command),
            output.status,
            stderr.trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` wrote something that is not text", shown(command)))
}
