//! The library's promised surface: all that its documentation shows. A change of it is a change of
//! docs/api.txt, and whatever is in there has a line of documentation.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use super::documented::Documented;
use crate::paths;
use crate::run::show;

const LIST: &str = "docs/api.txt";
/// As for the other golden files.
const BLESS: &str = "TWTRACE_BLESS";

const HEAD: &str = "# What the library promises: every item that its documentation shows, but for
# derived and automatic traits. Made by: TWTRACE_BLESS=1 cargo xtask package --surface
";

/// Compares the surface with the list. Says what it found.
pub(super) fn check() -> Result<String> {
    let own = Documented::of("twtrace")?;
    // Words of the contract that the library exports.
    let common = Documented::of("twtrace-common")?;
    let exported = own.exported();
    let is_exported = |path: &str| {
        let within = |item: &String| path.strip_prefix(item.as_str());
        exported
            .iter()
            .filter_map(within)
            .any(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let mut shown = own.shown(|_| true);
    shown.extend(common.shown(is_exported));
    let undocumented: Vec<_> = shown.iter().filter(|one| !one.documented).collect();
    ensure!(
        undocumented.is_empty(),
        "promised, but not documented: {}",
        list(undocumented)
    );
    let leaks: Vec<_> = shown
        .iter()
        .filter(|one| own.leads_inside(&one.line))
        .collect();
    ensure!(
        leaks.is_empty(),
        "promised, but made of what is not: {}",
        list(leaks)
    );
    let lines: Vec<_> = shown.iter().map(|one| one.line.as_str()).collect();
    compare(&format!("{HEAD}\n{}\n", lines.join("\n")))?;
    Ok(format!(
        "{LIST} has the {} items of the library",
        lines.len()
    ))
}

fn list(shown: Vec<&super::documented::Shown>) -> String {
    let lines: Vec<_> = shown.iter().map(|one| one.line.as_str()).collect();
    lines.join("; ")
}

/// With the list that is committed.
fn compare(list: &str) -> Result<()> {
    let path = paths::root().join(LIST);
    if std::env::var_os(BLESS).is_some() {
        return fs::write(&path, list).with_context(|| format!("cannot write {LIST}"));
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if committed == list {
        return Ok(());
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (old, new) = (lines(&committed), lines(list));
    for line in old.difference(&new) {
        show(&format!("- {line}"));
    }
    for line in new.difference(&old) {
        show(&format!("+ {line}"));
    }
    bail!(
        "the library's surface is not what {LIST} says; if it is meant to be, {BLESS}=1 writes it"
    )
}
