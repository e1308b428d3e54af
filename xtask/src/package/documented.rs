//! What rustdoc says of one crate, item by item.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use public_api::{Builder, PublicApi};
use serde_json::Value;

use super::rustdoc;
use crate::paths;
use crate::run::output;

/// One crate, hidden items included: rustdoc's JSON has no place for what is shown under another
/// path, if its own is hidden.
pub(super) struct Documented {
    api: PublicApi,
    /// By number.
    index: Value,
    /// `twtrace::kernel::`: the modules that are hidden.
    inside: Vec<String>,
    /// Paths inside, and the ones under which the same is shown.
    shown_as: BTreeMap<String, String>,
}

/// An item that the documentation shows.
pub(super) struct Shown {
    pub(super) line: String,
    pub(super) documented: bool,
}

impl Documented {
    pub(super) fn of(package: &str) -> Result<Self> {
        let path = json(package)?;
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut whole: Value = serde_json::from_str(&text)?;
        let api = Builder::from_rustdoc_json(&path)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()
            .with_context(|| format!("cannot read the surface in {}", path.display()))?;
        let mut documented = Self {
            api,
            index: whole["index"].take(),
            inside: Vec::new(),
            shown_as: BTreeMap::new(),
        };
        documented.inside = documented.hidden_modules();
        documented.shown_as = documented.other_paths();
        Ok(documented)
    }

    /// What is shown of the crate, of what is at chosen paths.
    pub(super) fn shown(&self, chosen: impl Fn(&str) -> bool) -> Vec<Shown> {
        let of_traits = self.of_traits();
        let mut seen = BTreeSet::new();
        let mut shown = Vec::new();
        for item in self.api.items() {
            let (id, line) = (item.id().0, self.renamed(&item.to_string()));
            let is_shown =
                own_path(&line).is_some_and(|path| chosen(path) && !self.is_inside(path));
            if !is_shown || self.is_hidden(id) || !seen.insert(line.clone()) {
                continue;
            }
            let of_trait = of_traits.contains(&id) || line.starts_with("impl");
            if of_trait && self.leads_inside(&line) {
                // A trait for what is hidden, such as `From`: the documentation leaves it out.
                continue;
            }
            let item = &self.index[id.to_string()];
            let is_explained = EXPLAINED
                .iter()
                .any(|kind| item["inner"].get(kind).is_some());
            shown.push(Shown {
                line,
                documented: !item["docs"].is_null() || is_explained || of_trait,
            });
        }
        shown.sort_by_key(|one: &Shown| own_path(&one.line).map(str::to_owned));
        shown
    }

    /// Paths in other crates of what this one exports.
    pub(super) fn exported(&self) -> BTreeSet<String> {
        let items = self
            .api
            .items()
            .map(|item| (item, &self.index[item.id().0.to_string()]));
        let shown = items.filter(|(item, _)| {
            let line = item.to_string();
            own_path(&line).is_some_and(|path| !self.is_inside(path))
        });
        let sources = shown.filter_map(|(_, item)| item["inner"]["use"]["source"].as_str());
        sources.map(str::to_owned).collect()
    }

    /// Whether a line names something in a hidden module.
    pub(super) fn leads_inside(&self, line: &str) -> bool {
        self.inside
            .iter()
            .any(|module| line.contains(module.as_str()))
    }

    fn is_inside(&self, path: &str) -> bool {
        let within =
            |module: &String| path.starts_with(module.as_str()) || *module == format!("{path}::");
        self.inside.iter().any(within)
    }

    fn is_hidden(&self, id: u32) -> bool {
        let attributes = self.index[id.to_string()]["attrs"].as_array();
        let mut each = attributes.into_iter().flatten();
        each.any(|attribute| attribute["other"] == "#[doc(hidden)]")
    }

    fn hidden_modules(&self) -> Vec<String> {
        let lines = self.api.items().filter(|item| self.is_hidden(item.id().0));
        let lines = lines.map(ToString::to_string);
        let modules =
            lines.filter_map(|line| Some(format!("{}::", line.strip_prefix("pub mod ")?)));
        modules.collect()
    }

    fn other_paths(&self) -> BTreeMap<String, String> {
        let mut outside = BTreeMap::new();
        let mut inside = Vec::new();
        for item in self.api.items() {
            let line = item.to_string();
            let Some(path) = own_path(&line).filter(|_| !line.starts_with("impl")) else {
                continue;
            };
            match self.is_inside(path) {
                true => inside.push((path.to_owned(), item.id().0)),
                false => drop(outside.insert(item.id().0, path.to_owned())),
            }
        }
        let pairs = inside.into_iter();
        pairs
            .filter_map(|(path, id)| Some((path, outside.get(&id)?.clone())))
            .collect()
    }

    /// With the paths under which things are shown.
    fn renamed(&self, line: &str) -> String {
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let mut renamed = String::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let end = match is_path(first) {
                true => rest.find(|c| !is_path(c)).unwrap_or(rest.len()),
                false => first.len_utf8(),
            };
            let (word, after) = rest.split_at(end);
            renamed += &self.other_path(word);
            rest = after;
        }
        renamed
    }

    /// Of something or of what it belongs to; the path itself if it has no other.
    fn other_path(&self, path: &str) -> String {
        let ends = path.rmatch_indices("::").map(|(at, _)| at);
        std::iter::once(path.len())
            .chain(ends)
            .find_map(|end| Some(self.shown_as.get(&path[..end])?.clone() + &path[end..]))
            .unwrap_or_else(|| path.to_owned())
    }

    /// Items in implementations of traits, which are documented there.
    fn of_traits(&self) -> BTreeSet<u32> {
        let all = self.index.as_object().into_iter();
        let blocks = all
            .flat_map(|index| index.values())
            .filter_map(|item| item["inner"].get("impl"));
        blocks
            .filter(|block| !block["trait"].is_null())
            .flat_map(|block| block["items"].as_array().into_iter().flatten())
            .filter_map(|id| u32::try_from(id.as_u64()?).ok())
            .collect()
    }
}

/// Kinds of items that others explain.
const EXPLAINED: [&str; 3] = ["impl", "use", "assoc_type"];

/// The path of an item, or of the type for which an `impl` is.
fn own_path(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("impl") {
        Some(what) => what.split_once(" for ").map_or(what, |(_, of)| of),
        None => line,
    };
    let begin = line.find("twtrace")?;
    let path = &line[begin..];
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    Some(path[..end.unwrap_or(path.len())].trim_end_matches(':'))
}

/// Has rustdoc write about a crate, and says where.
fn json(package: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let target = paths::root().join("target");
    output(
        Command::new("cargo")
            .current_dir(paths::root())
            .args([
                "rustdoc",
                "--quiet",
                "--locked",
                "--lib",
                "--package",
                package,
            ])
            .arg("--target-dir")
            .arg(&target)
            .args(["--", "-Zunstable-options", "--output-format=json"])
            .arg("--document-hidden-items")
            .env("RUSTDOC", this)
            .env(rustdoc::MARK, "1"),
    )?;
    let name = package.replace('-', "_");
    Ok(target.join("doc").join(name).with_extension("json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_a_path_of_its_own() {
        for (line, path) in [
            ("pub mod twtrace", "twtrace"),
            (
                "pub twtrace::Item::Event(twtrace::event::Event)",
                "twtrace::Item::Event",
            ),
            (
                "pub twtrace::event::End::reason: twtrace_common::Reason",
                "twtrace::event::End::reason",
            ),
            (
                "pub fn twtrace::Filter::new() -> Self",
                "twtrace::Filter::new",
            ),
            ("impl core::fmt::Display for twtrace::Text", "twtrace::Text"),
            ("impl twtrace::Filter", "twtrace::Filter"),
        ] {
            assert_eq!(own_path(line), Some(path), "{line}");
        }
        assert_eq!(
            own_path("impl core::fmt::Debug for alloc::string::String"),
            None
        );
    }
}
