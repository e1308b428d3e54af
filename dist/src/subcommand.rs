//! The page of a subcommand, and what all pages share.

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use roff::{Inline, bold, italic, roman};

use crate::page::{Body, Page, Stamp};
use crate::{examples, exits};

/// Those that users are shown.
pub(crate) fn shown(definition: &Command) -> impl Iterator<Item = &Command> {
    definition
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
}

/// `twtrace-trace`
pub(crate) fn page_name(command: &Command) -> String {
    format!("twtrace-{}", command.get_name())
}

pub(crate) fn page(command: &Command, stamp: &Stamp) -> Result<String> {
    let name = page_name(command);
    let mut page = Page::new(command, &name, stamp)?;
    page.section("NAME", &named(&name, command));
    page.section("SYNOPSIS", &synopsis(command));
    page.of_clap(Man::render_description_section)?;
    page.of_clap(Man::render_options_section)?;
    let examples = examples::of(command);
    if !examples.is_empty() {
        page.section("EXAMPLES", &examples::body(&examples));
    }
    page.section("EXIT STATUS", &exits::body(&exits::of(command)));
    page.section("SEE ALSO", &see_also(&related(command.get_name())));
    Ok(page.finish())
}

/// `name - what it does`, in lower case as in other pages.
pub(crate) fn named(name: &str, command: &Command) -> Body {
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    let mut letters = about.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let first = first.into_iter().collect::<String>();
    let mut body = Body::default();
    body.text(vec![roman(format!("{name} - {first}{}", letters.as_str()))]);
    body
}

/// As `--help` shows it: there are too many options for a line, and each has its entry below.
pub(crate) fn synopsis(command: &Command) -> Body {
    let usage = command.clone().render_usage().to_string();
    let mut body = Body::default();
    for line in usage.trim_start_matches("Usage:").lines() {
        body.text(form(line.trim()));
    }
    body
}

/// The words of a usage: what is typed bold, what stands for something else italic.
fn form(usage: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for (position, word) in usage.split(' ').enumerate() {
        if position > 0 {
            inlines.push(roman(" "));
        }
        let placeholder = |c: char| c.is_ascii_uppercase() || "[]<>.".contains(c);
        inlines.push(if word.chars().all(placeholder) {
            italic(word)
        } else {
            bold(word)
        });
    }
    inlines
}

/// A page of the manual and its section.
type Reference = (String, &'static str);

fn related(name: &str) -> Vec<Reference> {
    let others: &[Reference] = &match name {
        "trace" => vec![own("hist"), own("conflicts"), of("tcp", "7")],
        "hist" => vec![own("trace"), own("report")],
        "conflicts" => vec![own("trace"), of("tcp", "7"), of("nstat", "8")],
        "ports" => vec![own("doctor"), of("ss", "8"), of("tcp", "7")],
        "top" => vec![own("trace"), own("ports"), own("record"), of("ss", "8")],
        "doctor" => vec![own("ports"), of("tcp", "7"), of("sysctl", "8")],
        "record" => vec![own("report"), own("top")],
        "report" => vec![own("record"), own("trace")],
        "check" => vec![own("doctor"), of("network_namespaces", "7")],
        _ => vec![],
    };
    let overview = [of("twtrace", "1")];
    overview.iter().chain(others).cloned().collect()
}

pub(crate) fn own(name: &str) -> Reference {
    (format!("twtrace-{name}"), "1")
}

pub(crate) fn of(name: &str, section: &'static str) -> Reference {
    (name.to_owned(), section)
}

pub(crate) fn see_also(references: &[Reference]) -> Body {
    let mut inlines = Vec::new();
    for (position, (name, section)) in references.iter().enumerate() {
        if position > 0 {
            inlines.push(roman(", "));
        }
        inlines.push(bold(name.as_str()));
        inlines.push(roman(format!("({section})")));
    }
    let mut body = Body::default();
    body.text(inlines);
    body
}
