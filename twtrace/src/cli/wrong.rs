//! A command line that is not understood, as one line and one hint.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Error;
use crate::view::nearest;

/// `None` if nothing is wrong: help or version was asked for, and is in clap's error.
#[must_use]
pub fn wrong(error: &clap::Error) -> Option<Error> {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => None,
        _ => Some(Error::new(line(error)).hint(hint(error))),
    }
}

/// What clap says first, without its headings and lists below one another.
fn line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.lines().take_while(|line| !line.trim().is_empty());
    let parts: Vec<_> = first
        .map(str::trim)
        .filter(|line| !line.starts_with('['))
        .collect();
    let line = parts.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// The nearest word, else all that there are, else where to read on.
fn hint(error: &clap::Error) -> String {
    let known = words(error, ContextKind::ValidValue);
    let known: Vec<_> = known.iter().filter(|word| !word.is_empty()).collect();
    if !known.is_empty() {
        let given = words(error, ContextKind::InvalidValue).concat();
        let known: Vec<_> = known.iter().map(|word| word.as_str()).collect();
        return match nearest(&given, known.iter().copied()) {
            Some(best) => format!("did you mean {best}?"),
            None => format!("there are: {}", known.join(", ")),
        };
    }
    let alike = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg];
    if let Some(best) = alike
        .iter()
        .find_map(|kind| words(error, *kind).into_iter().next())
    {
        return format!("did you mean {best}?");
    }
    let usage = words(error, ContextKind::Usage).concat();
    let call = usage.split_once("twtrace").map_or("", |call| call.1);
    let name = call.split_whitespace().next();
    match name.filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase())) {
        Some(name) => format!("try twtrace {name} --help"),
        None => "try twtrace --help".to_owned(),
    }
}

fn words(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    /// The line and the hint.
    fn said(line: &str) -> [String; 2] {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        let text = wrong(&error).unwrap().to_string();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.try_into().unwrap()
    }

    #[test]
    fn each_mistake_is_one_line_and_one_hint() {
        for (call, line, hint) in [
            (
                "twtrace trace --color red",
                "invalid value 'red' for '--color <WHEN>'",
                "there are: auto, always, never",
            ),
            (
                "twtrace hist --by per",
                "invalid value 'per' for '--by <WHAT>'",
                "did you mean peer?",
            ),
            (
                "twtrace histo",
                "unrecognized subcommand 'histo'",
                "did you mean hist?",
            ),
            (
                "twtrace trace --durations 3s",
                "unexpected argument '--durations' found",
                "did you mean --duration?",
            ),
            (
                "twtrace record",
                "the following required arguments were not provided: <FILE>",
                "try twtrace record --help",
            ),
            (
                "twtrace ports --fail-on stuck",
                "invalid value 'stuck' for '--fail-on <WHAT>'",
                "there are: failure, pressure",
            ),
            (
                "twtrace trace -4 -6",
                "the argument '--ipv4' cannot be used with '--ipv6'",
                "try twtrace trace --help",
            ),
            (
                "twtrace -q",
                "'twtrace' requires a subcommand but one was not provided",
                "",
            ),
        ] {
            let [first, second] = said(call);
            assert_eq!(first, line, "{call}");
            assert!(
                second.starts_with(&format!("hint: {hint}")),
                "{call}: {second}"
            );
        }
    }

    #[test]
    fn what_is_asked_for_is_no_mistake() {
        for call in [
            "twtrace --help",
            "twtrace -V",
            "twtrace --version --verbose",
            "twtrace",
        ] {
            let error = Cli::try_parse_from(call.split(' ')).unwrap_err();
            assert!(wrong(&error).is_none(), "{call}");
        }
    }
}
