//! EXIT STATUS: of twtrace, and of each subcommand those that it can have.

use clap::Command;
use roff::{bold, roman};

use crate::page::Body;

/// Of twtrace as a whole; as `twtrace::error::Exit` has them.
pub(crate) const ALL: [(u8, &str); 5] = [
    (
        0,
        "Done. Also when the reader of standard output closed the pipe, as `head` does.",
    ),
    (
        1,
        "A check failed, doctor found a danger, or what `--fail-on` names happened.",
    ),
    (
        2,
        "Could not run: a mistake in the command line, missing privileges, a file or a kernel that does not fit.",
    ),
    (
        3,
        "Incomplete: events were lost or cut off, or the kernel's counters disagree. What was printed is right, but not all there is.",
    ),
    (4, "All checks were skipped."),
];

/// What 1 means for a subcommand, if it can happen.
fn finding(command: &Command) -> Option<&'static str> {
    match command.get_name() {
        "check" => Some("A check failed, or this kernel is worse than the baseline."),
        "doctor" => Some("A finding is a danger."),
        _ if has(command, "fail_on") => Some("What `--fail-on` names happened."),
        _ => None,
    }
}

/// Those of one subcommand.
pub(crate) fn of(command: &Command) -> Vec<(u8, &'static str)> {
    let traces = has(command, "duration") || command.get_name() == "report";
    let possible = |(code, meaning): (u8, &'static str)| match code {
        1 => finding(command).map(|meaning| (1, meaning)),
        3 => traces.then_some((3, meaning)),
        4 => (command.get_name() == "check").then_some((4, meaning)),
        _ => Some((code, meaning)),
    };
    ALL.into_iter().filter_map(possible).collect()
}

fn has(command: &Command, option: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == option)
}

/// As a section.
pub(crate) fn body(codes: &[(u8, &str)]) -> Body {
    let mut body = Body::default();
    for (code, meaning) in codes {
        body.item(
            vec![bold(code.to_string())],
            crate::documents::inlines(meaning),
        );
    }
    if codes.is_empty() {
        body.text(vec![roman("Always 0.")]);
    }
    body
}
