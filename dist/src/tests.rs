//! Every subcommand and option is in the pages, and every section.

use std::path::Path;
use std::{fs, io};

use clap::Command;
use roff::{Roff, roman};
use twtrace::cli::Cli;

use super::*;

fn built() -> Command {
    let mut definition = Cli::definition().disable_help_subcommand(true);
    definition.build();
    definition
}

fn made() -> Vec<File> {
    files(&Stamp::of_seconds(1_700_000_000).unwrap()).unwrap()
}

fn text(path: &str) -> String {
    let found = made().into_iter().find(|file| file.path == path);
    let bytes = found.unwrap_or_else(|| panic!("no {path}")).bytes;
    String::from_utf8(bytes).unwrap()
}

fn has_section(page: &str, name: &str) -> bool {
    let plain = format!(".SH {name}");
    let quoted = format!(".SH \"{name}\"");
    page.lines().any(|line| line == plain || line == quoted)
}

/// As it stands in a page.
fn written(text: &str) -> String {
    let rendered = Roff::new().text([roman(text)]).render();
    rendered.lines().last().unwrap().to_owned()
}

#[test]
fn every_option_is_in_the_page_of_its_subcommand() {
    for command in subcommand::shown(&built()) {
        let page = text(&format!("man/twtrace-{}.1", command.get_name()));
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let shown = format!("{}\\fR", written(&format!("--{long}")));
            assert_eq!(page.contains(&shown), !arg.is_hide_set(), "{long}");
        }
    }
}

const SECTIONS: [&str; 6] = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "EXIT STATUS",
    "SEE ALSO",
];

#[test]
fn every_page_has_its_sections() {
    let pages = made()
        .into_iter()
        .filter(|file| file.path.starts_with("man/"));
    for File { path, bytes } in pages {
        let page = String::from_utf8(bytes).unwrap();
        for section in SECTIONS {
            assert!(has_section(&page, section), "{path}: {section}");
        }
        assert!(page.contains("2023-11-14"), "{path} has another date");
    }
    let overview = text("man/twtrace.1");
    for section in [
        "SUBCOMMANDS",
        "OVERHEAD",
        "SECURITY",
        "FILES",
        "ENVIRONMENT",
    ] {
        assert!(has_section(&overview, section), "{section}");
    }
}

#[test]
fn the_examples_of_the_help_are_in_the_pages() {
    for command in subcommand::shown(&built()) {
        for example in examples::of(command) {
            let page = text(&format!("man/twtrace-{}.1", command.get_name()));
            assert!(has_section(&page, "EXAMPLES"));
            assert!(page.contains(&written(&example.line)), "{}", example.line);
        }
    }
    assert!(has_section(&text("man/twtrace.1"), "EXAMPLES"));
}

#[test]
fn the_overview_has_each_subcommand_and_exit_code() {
    let overview = text("man/twtrace.1");
    for command in subcommand::shown(&built()) {
        let about = command.get_about().unwrap().to_string();
        assert!(overview.contains(&written(&about)), "{about}");
    }
    for code in 0..=4 {
        assert!(overview.contains(&format!("\\fB{code}\\fR\n")), "{code}");
    }
}

#[test]
fn what_is_read_of_the_environment_is_told() {
    let told: String = overview::ENVIRONMENT
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let mut seen = 0;
    each_source(Path::new("../twtrace/src"), &mut |source| {
        for call in ["var(\"", "var_os(\""] {
            for rest in source.split(call).skip(1) {
                let name = rest.split('"').next().unwrap();
                // Those of our own tests.
                if name.starts_with("TWTRACE_") {
                    continue;
                }
                assert!(told.contains(name), "{name}");
                seen += 1;
            }
        }
    })
    .unwrap();
    assert!(seen > 2);
}

fn each_source(folder: &Path, look: &mut impl FnMut(&str)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            each_source(&path, look)?;
        } else {
            look(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}
