//! Which file of a crate uses which: by its `use` lines and by paths in the code, tests left out.

use std::collections::BTreeMap;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

use super::Source;

/// The crates of the workspace, by where their code is.
pub(super) const CRATES: &[&str] = &[
    "twtrace/src/",
    "twtrace-common/src/",
    "twtrace-ebpf/src/",
    "xtask/src/",
    "dist/src/",
    "tests/vm/src/",
];

/// A module by its path from the root of its crate, which is empty.
pub(super) type Module = Vec<String>;

/// The files of one crate that are modules of their own.
pub(super) struct Crate<'a> {
    pub(super) files: BTreeMap<Module, File<'a>>,
}

pub(super) struct File<'a> {
    pub(super) path: &'a str,
    /// Paths that it uses, as written but whole, with their lines.
    paths: Vec<(usize, Vec<String>)>,
    /// Those among them that it hands on by `pub use`.
    exports: Vec<Vec<String>>,
}

impl<'a> Crate<'a> {
    /// Reads what is below `root`. A file that cannot be parsed uses nothing: the compiler says so.
    pub(super) fn read(sources: &'a [Source], root: &str) -> Self {
        let in_crate = sources.iter().filter_map(|source| {
            let place = source.path.strip_prefix(root)?.strip_suffix(".rs")?;
            let module = module(place)?;
            let text = std::str::from_utf8(&source.bytes).ok()?;
            let mut seen = Seen::default();
            seen.visit_file(&syn::parse_file(text).ok()?);
            let file = File {
                path: &source.path,
                paths: seen.paths,
                exports: seen.exports,
            };
            Some((module, file))
        });
        Self {
            files: in_crate.collect(),
        }
    }

    /// What a file uses of its crate, by line.
    pub(super) fn uses(&self, module: &Module) -> Vec<(usize, Module)> {
        let Some(file) = self.files.get(module) else {
            return Vec::new();
        };
        let targets = file.paths.iter().filter_map(|(line, path)| {
            let target = self.resolve(module, path, 0)?;
            (target != *module).then_some((*line, target))
        });
        targets.collect()
    }

    /// The file in which is defined what a path in a module leads to; `None` if that is elsewhere.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        const DEEPEST: usize = 8;
        let (first, _) = path.split_first()?;
        let mut rest = path;
        let mut base = match first.as_str() {
            "crate" => {
                rest = &rest[1..];
                Module::new()
            }
            "self" => {
                rest = &rest[1..];
                module.clone()
            }
            "super" => {
                let ups = rest.iter().take_while(|step| *step == "super").count();
                rest = &rest[ups..];
                module[..module.len().checked_sub(ups)?].to_vec()
            }
            _ if self.child(module, first).is_some() => module.clone(),
            _ => return None,
        };
        while let Some(child) = rest.first().and_then(|step| self.child(&base, step)) {
            base = child;
            rest = &rest[1..];
        }
        let file = self.files.get(&base)?;
        if let Some(name) = rest.first()
            && base != *module
            && depth < DEEPEST
        {
            let leads =
                |path: &&Vec<String>| path.last().is_some_and(|last| last == name || last == "*");
            let handed_on = file.exports.iter().filter(leads);
            let further = handed_on.filter_map(|path| self.resolve(&base, path, depth + 1));
            if let Some(target) = further.into_iter().find(|target| *target != base) {
                return Some(target);
            }
        }
        Some(base)
    }

    fn child(&self, module: &Module, name: &str) -> Option<Module> {
        let mut child = module.clone();
        child.push(name.to_owned());
        self.files.contains_key(&child).then_some(child)
    }
}

/// `model/stats` or `model/mod`; `None` for tests.
fn module(place: &str) -> Option<Module> {
    let mut steps: Module = place.split('/').map(str::to_owned).collect();
    if steps.iter().any(|step| step == "tests") {
        return None;
    }
    if matches!(steps.last()?.as_str(), "mod" | "lib" | "main") {
        steps.pop();
    }
    Some(steps)
}

#[derive(Default)]
struct Seen {
    paths: Vec<(usize, Vec<String>)>,
    exports: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut all = Vec::new();
        leaves(&item.tree, &mut Vec::new(), &mut all);
        if !matches!(item.vis, Visibility::Inherited) {
            self.exports.extend(all.iter().cloned());
        }
        let line = item.span().start().line;
        self.paths.extend(all.into_iter().map(|path| (line, path)));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let steps = path.segments.iter().map(|step| step.ident.to_string());
            self.paths.push((path.span().start().line, steps.collect()));
        }
        visit::visit_path(self, path);
    }
}

fn leaves(tree: &UseTree, before: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    let mut leaf = |name: String| all.push([before.as_slice(), &[name]].concat());
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, all);
            before.pop();
        }
        // Its name here does not matter.
        UseTree::Rename(rename) => leaf(rename.ident.to_string()),
        UseTree::Name(name) if name.ident == "self" => all.push(before.clone()),
        UseTree::Name(name) => leaf(name.ident.to_string()),
        UseTree::Glob(_) => leaf("*".to_owned()),
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, before, all);
            }
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Ident>()
            .is_ok_and(|what| what == "test")
}
