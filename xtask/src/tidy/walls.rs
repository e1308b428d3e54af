//! The walls between the rooms of the house: who may use whom.

use super::imports::{Crate, Module};
use super::{Finding, Source};

/// A room of twtrace/src and the rooms that it may use.
struct Room {
    name: &'static str,
    uses: Uses,
}

enum Uses {
    Only(&'static [&'static str]),
    All,
}

const ROOMS: &[Room] = &[
    room("text", &[]),
    room("error", &["text"]),
    room("event", &["text"]),
    room("decode", &["event"]),
    room("model", &["event", "text"]),
    room("view", &["model", "event", "host", "text"]),
    room("kernel", &["error", "event", "text"]),
    room("recording", &["error", "event"]),
    room("host", &["error", "event", "text"]),
    // What the library offers beside the types of other rooms.
    room(
        "reader",
        &["decode", "error", "event", "model", "recording"],
    ),
    room("session", &["decode", "error", "event", "kernel", "model"]),
    // Each of its own rooms may use less.
    room(
        "check",
        &[
            "decode", "error", "event", "host", "kernel", "model", "text", "view",
        ],
    ),
    Room {
        name: "cmd",
        uses: Uses::All,
    },
    Room {
        name: "cli",
        uses: Uses::All,
    },
    Room {
        name: "main",
        uses: Uses::All,
    },
];

/// Rooms that only the entrance (`main`, `cli`, `cmd`) may use, or nobody in the house.
const PRIVATE: &[&str] = &["cmd", "cli", "reader", "session"];
const WAY_IN: &[&str] = &["main", "cli", "cmd"];

/// A room inside of `check`, the rooms of the house that it may use, and those beside it.
struct Inner {
    name: &'static str,
    house: &'static [&'static str],
    beside: &'static [&'static str],
}

/// What is expected, what was made and what is reported of it know no kernel; only the workers do.
const CHECK: &[Inner] = &[
    inner("life", &["event"], &[]),
    inner("expect", &["event"], &[]),
    inner("outcome", &["event", "text"], &["expect", "life"]),
    inner("judge", &["event", "model"], &["life"]),
    inner(
        "baseline",
        &["error", "event", "text"],
        &["expect", "life", "outcome"],
    ),
    // It prints events as `trace` does.
    inner(
        "report",
        &["event", "host", "model", "text", "view"],
        &["baseline", "expect", "outcome"],
    ),
    inner(
        "lab",
        &["error", "event", "host", "kernel"],
        &["expect", "life", "net"],
    ),
    inner("net", &["error", "kernel"], &["lab"]),
    inner(
        "work",
        &["decode", "error", "event", "kernel"],
        &["expect", "lab", "life", "net"],
    ),
    inner("scenarios", &["event"], &["lab", "life", "work"]),
];

/// These bring all of them together.
const CHECK_ALL: &[&str] = &["runner", "progress"];

/// Who may use `check`.
const WAY_TO_CHECK: [&str; 2] = ["cmd", "check"];

const fn inner(
    name: &'static str,
    house: &'static [&'static str],
    beside: &'static [&'static str],
) -> Inner {
    Inner {
        name,
        house,
        beside,
    }
}

const fn room(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room {
        name,
        uses: Uses::Only(uses),
    }
}

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let in_house = sources.iter().filter_map(|source| {
        let place = source.path.strip_prefix("twtrace/src/")?;
        let name = place.split(['/', '.']).next()?;
        (source.is_rust() && name != "lib").then_some((source, name))
    });
    let mut findings: Vec<_> = in_house
        .flat_map(|(source, name)| in_room(source, name))
        .collect();
    findings.extend(around_check(sources));
    findings
}

/// The walls inside of `check`, and its door.
fn around_check(sources: &[Source]) -> Vec<Finding> {
    let house = Crate::read(sources, "twtrace/src/");
    let mut findings = Vec::new();
    for (module, file) in &house.files {
        for (line, target) in house.uses(module) {
            findings.extend(through(module, &target).map(|what| Finding {
                path: file.path.to_owned(),
                line,
                what,
            }));
        }
    }
    findings
}

/// What is wrong with a module's use of another, if `check` is one of the two.
fn through(module: &Module, target: &Module) -> Option<String> {
    let step = |of: &Module, at: usize| of.get(at).cloned().unwrap_or_default();
    let into = step(target, 0);
    if step(module, 0) != "check" {
        let free = into != "check" || *module == WAY_TO_CHECK;
        return (!free).then(|| format!("only {} may use `check`", WAY_TO_CHECK.join("/")));
    }
    let name = step(module, 1);
    if name.is_empty() || CHECK_ALL.contains(&name.as_str()) {
        return None;
    }
    let Some(room) = CHECK.iter().find(|room| room.name == name) else {
        return Some(format!(
            "the room `check/{name}` is not in the table of walls"
        ));
    };
    let (allowed, other) = if into == "check" {
        let other = step(target, 1);
        let own = other.is_empty() || other == name;
        (own || room.beside.contains(&other.as_str()), other)
    } else {
        (into.is_empty() || room.house.contains(&into.as_str()), into)
    };
    (!allowed).then(|| format!("`check/{name}` may not use `{other}`"))
}

fn in_room(source: &Source, name: &str) -> Vec<Finding> {
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        return vec![Finding {
            path: source.path.clone(),
            line: 1,
            what: format!("the room `{name}` is not in the table of walls"),
        }];
    };
    let text = String::from_utf8_lossy(&source.bytes);
    used(&text)
        .into_iter()
        .filter(|(_, other)| other != name && !allowed(room, other))
        .map(|(line, other)| Finding {
            path: source.path.clone(),
            line,
            what: format!("`{name}` may not use `{other}`"),
        })
        .collect()
}

fn allowed(room: &Room, other: &str) -> bool {
    if PRIVATE.contains(&other) {
        return WAY_IN.contains(&room.name);
    }
    match room.uses {
        Uses::All => true,
        Uses::Only(rooms) => rooms.contains(&other),
    }
}

/// Every first step of a path into the crate (`crate::x`, `twtrace::x`, and each of `crate::{…}`)
/// with its line. Comments do not count.
fn used(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = without_comments(text);
    for root in ["crate::", "twtrace::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let names = first_steps(&code[at + root.len()..]);
            found.extend(names.into_iter().map(|name| (line, name)));
        }
    }
    found
}

fn first_steps(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return rooms_only([identifier(path)]);
    };
    let mut depth = 0_i32;
    let mut names = Vec::new();
    let mut fresh = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    rooms_only(names)
}

/// Modules only: constants, types and macros at the crate's root are nobody's room.
fn rooms_only(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_module = |name: &String| name.starts_with(|c: char| c.is_ascii_lowercase());
    names.into_iter().filter(is_module).collect()
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&planted(path, text))
            .into_iter()
            .map(|finding| (finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_hole_in_a_wall_is_found() {
        assert_eq!(
            findings(
                "twtrace/src/model/books.rs",
                "use crate::event::End;\nuse crate::kernel::X;"
            ),
            [(2, "`model` may not use `kernel`".to_owned())]
        );
    }

    #[test]
    fn groups_are_looked_into() {
        let text = "use crate::{event::{End, Flow}, host::clock, Error};";
        assert_eq!(
            findings("twtrace/src/decode.rs", text),
            [(1, "`decode` may not use `host`".to_owned())]
        );
    }

    #[test]
    fn nobody_uses_the_commands() {
        let text = "fn f() { crate::cmd::run() }";
        assert_eq!(findings("twtrace/src/view/text.rs", text).len(), 1);
        assert_eq!(findings("twtrace/src/main.rs", "use twtrace::cmd;"), []);
    }

    #[test]
    fn check_has_walls_of_its_own_and_one_door() {
        let inside = |text| {
            let files = [
                ("twtrace/src/check/mod.rs", ""),
                ("twtrace/src/check/judge/mod.rs", text),
                ("twtrace/src/check/lab/mod.rs", ""),
                ("twtrace/src/check/life.rs", ""),
                ("twtrace/src/kernel/mod.rs", ""),
            ];
            let sources = files.iter().flat_map(|(path, text)| planted(path, text));
            let found = check(&sources.collect::<Vec<_>>()).into_iter();
            found.map(|one| one.what).collect::<Vec<_>>()
        };
        assert_eq!(inside("use super::life::Made;"), [""; 0]);
        assert_eq!(
            inside("use super::lab::Lab;"),
            ["`check/judge` may not use `lab`"]
        );
        assert_eq!(
            inside("fn f() { crate::kernel::probe() }"),
            ["`check/judge` may not use `kernel`"]
        );
        let outside = [
            ("twtrace/src/check/mod.rs", ""),
            ("twtrace/src/cmd/check.rs", "use crate::check::run;"),
            ("twtrace/src/cmd/trace.rs", "use crate::check::run;"),
        ];
        let sources = outside.iter().flat_map(|(path, text)| planted(path, text));
        let found = check(&sources.collect::<Vec<_>>());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, "twtrace/src/cmd/trace.rs");
    }

    #[test]
    fn a_new_room_needs_a_row() {
        assert_eq!(findings("twtrace/src/cellar.rs", "").len(), 1);
    }

    #[test]
    fn itself_comments_and_other_crates_are_free() {
        let text = "use crate::model::stats; // not crate::kernel\nuse my_crate::kernel;";
        assert_eq!(findings("twtrace/src/model/mod.rs", text), []);
        assert_eq!(findings("xtask/src/main.rs", "use crate::vm;"), []);
    }
}
