//! No file of a crate uses another that uses it, through however many others: what two need lives
//! below both. A child may use what its own ancestors define; the two are one room.

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::imports::{CRATES, Crate, Module};
use super::{Finding, Source};

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let crates = CRATES.iter().map(|root| Crate::read(sources, root));
    crates.flat_map(|one| in_crate(&one)).collect()
}

fn in_crate(all: &Crate<'_>) -> Vec<Finding> {
    let modules: Vec<_> = all.files.keys().collect();
    let number = |module: &Module| modules.iter().position(|one| *one == module);
    let mut graph = DiGraphMap::<usize, ()>::new();
    for (from, module) in modules.iter().enumerate() {
        let used = all.uses(module).into_iter().map(|(_, target)| target);
        let others = used.filter(|target| !module.starts_with(target));
        for target in others {
            graph.extend(number(&target).map(|to| (from, to)));
        }
    }
    let path = |module: usize| all.files[modules[module]].path;
    let circles = tarjan_scc(&graph)
        .into_iter()
        .filter(|circle| circle.len() > 1);
    let finding = |circle: Vec<usize>| {
        let mut paths: Vec<_> = circle.into_iter().map(path).collect();
        paths.sort_unstable();
        Finding {
            path: paths[0].to_owned(),
            line: 1,
            what: format!("it is in a circle with {}", paths[1..].join(", ")),
        }
    };
    circles.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let sources: Vec<_> = files
            .iter()
            .flat_map(|(path, text)| planted(path, text))
            .collect();
        let found = check(&sources).into_iter();
        found.map(|one| (one.path, one.what)).collect()
    }

    #[test]
    fn a_circle_is_found_and_its_files_are_named() {
        let files = [
            ("xtask/src/main.rs", "mod a;\nmod b;\nmod c;"),
            ("xtask/src/a.rs", "use crate::b::B;"),
            ("xtask/src/b.rs", "fn f() { super::c::f() }"),
            ("xtask/src/c.rs", "use super::{a::A, d};"),
            ("xtask/src/d.rs", ""),
        ];
        let path = "xtask/src/a.rs".to_owned();
        let what = "it is in a circle with xtask/src/b.rs, xtask/src/c.rs".to_owned();
        assert_eq!(findings(&files), [(path, what)]);
    }

    #[test]
    fn a_name_that_is_handed_on_belongs_to_who_defines_it() {
        let files = [
            (
                "xtask/src/a/mod.rs",
                "mod b;\npub(crate) use b::B;\nuse crate::c::C;",
            ),
            ("xtask/src/a/b.rs", ""),
            ("xtask/src/c.rs", "use crate::a::B;"),
        ];
        assert_eq!(findings(&files), []);
    }

    #[test]
    fn ancestors_and_tests_are_free() {
        let files = [
            (
                "xtask/src/a/mod.rs",
                "mod b;\nuse b::f;\npub(crate) struct A;",
            ),
            ("xtask/src/a/b.rs", "use super::A;"),
            ("xtask/src/c.rs", "use crate::d::D;"),
            (
                "xtask/src/d.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::c::C;\n}",
            ),
        ];
        assert_eq!(findings(&files), []);
    }
}
