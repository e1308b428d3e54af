//! The examples of the help, so that they are written once.

use clap::Command;
use roff::{bold, roman};

use crate::page::Body;

/// A command line, and what it shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) line: String,
    pub(crate) meaning: String,
}

/// Those at the end of a command's help: from `Examples:` to an empty line.
pub(crate) fn of(command: &Command) -> Vec<Example> {
    let help = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    help.map_or_else(Vec::new, |help| read(&help.to_string()))
}

fn read(help: &str) -> Vec<Example> {
    let lines = help.lines().skip_while(|line| line.trim() != "Examples:");
    lines
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| {
            let line = line.trim();
            let (line, meaning) = line.split_once("  ").unwrap_or((line, ""));
            Example {
                line: line.to_owned(),
                meaning: meaning.trim().to_owned(),
            }
        })
        .collect()
}

/// As a section.
pub(crate) fn body(examples: &[Example]) -> Body {
    let mut body = Body::default();
    for Example { line, meaning } in examples {
        let meaning = if meaning.is_empty() {
            Vec::new()
        } else {
            vec![roman(meaning.as_str())]
        };
        body.item(vec![bold(line.as_str())], meaning);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_columns_are_read() {
        let help = "Examples:\n  twtrace a -b    what  it is\n  twtrace c\n\nExit codes: 0";
        let example = |line: &str, meaning: &str| Example {
            line: line.to_owned(),
            meaning: meaning.to_owned(),
        };
        assert_eq!(
            read(help),
            [
                example("twtrace a -b", "what  it is"),
                example("twtrace c", "")
            ]
        );
        assert_eq!(read("No examples here."), []);
    }
}
