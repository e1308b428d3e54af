//! What mandoc says of the man pages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::tools::Tool;
use crate::run::show;

const MANDOC: Tool = Tool {
    name: "mandoc",
    packages: &["mandoc"],
};

/// Messages about style that stay, and why.
const ACCEPTED: &[(&str, &str)] = &[(
    "STYLE: input text line longer than 80 bytes",
    "a sentence of the definition is one line, and nobody edits the pages",
)];

/// Every page is right to mandoc.
pub(super) fn check(folder: &Path) -> Result<String> {
    let mandoc = match MANDOC.get() {
        Ok(mandoc) => mandoc,
        Err(why) => return Ok(format!("pages SKIPPED: {why}")),
    };
    let pages = pages(folder)?;
    ensure!(!pages.is_empty(), "{} has no pages", folder.display());
    // Its exit code is that of the worst message, and those that are accepted count.
    let ended = mandoc
        .command()
        .args(["-T", "lint", "-W", "all"])
        .args(&pages)
        .output()
        .context("cannot start mandoc")?;
    let text = String::from_utf8_lossy(&ended.stdout);
    let bad: Vec<_> = text.lines().filter(|line| !accepted(line)).collect();
    bad.iter().for_each(|line| show(line));
    ensure!(
        bad.is_empty() && ended.stderr.is_empty(),
        "mandoc has {} objections: {} {}",
        bad.len(),
        bad.first().unwrap_or(&""),
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(format!("mandoc objects to none of {} pages", pages.len()))
}

fn pages(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut pages = Vec::new();
    for entry in entries {
        pages.push(entry?.path());
    }
    pages.sort();
    Ok(pages)
}

/// `mandoc: FILE:LINE:COLUMN: LEVEL: message`
fn accepted(line: &str) -> bool {
    ACCEPTED.iter().any(|(message, _)| line.contains(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_accepted() {
        let of = |message: &str| accepted(&format!("mandoc: man/twtrace.1:7:82: {message}: x"));
        assert!(of("STYLE: input text line longer than 80 bytes"));
        assert!(!of("STYLE: lower case character in document title"));
        assert!(!of("WARNING: skipping paragraph macro"));
    }
}
