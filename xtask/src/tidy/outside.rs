//! Text from outside has a type of its own in the rooms that hand it to the views.

use super::{Finding, Source};

/// Rooms whose types the views show.
const ROOMS: &[&str] = &["event", "host", "model"];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| shown(source))
        .flat_map(in_file)
        .collect()
}

fn shown(source: &Source) -> bool {
    let place = source.path.strip_prefix("twtrace/src/").unwrap_or_default();
    let room = place.split(['/', '.']).next().unwrap_or_default();
    source.is_rust() && ROOMS.contains(&room) && !place.contains("tests")
}

fn in_file(source: &Source) -> Vec<Finding> {
    let code = source
        .lines()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    code.filter(|(_, line)| hands_out(line))
        .map(|(line, _)| Finding {
            path: source.path.clone(),
            line,
            what: "a `String` that a view may show: text from outside is a `text::Text`".to_owned(),
        })
        .collect()
}

/// A field, or a variant with text in it, that is a `String`. Functions make theirs themselves.
fn hands_out(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default().trim();
    let field = code.starts_with("pub ") && !code.contains("fn ") && code.ends_with(',');
    let variant = code.starts_with(|first: char| first.is_ascii_uppercase())
        && code.ends_with("),")
        && !code.contains("::");
    (field || variant) && code.contains("String")
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let found = check(&planted(path, text));
        found.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_string_in_what_views_show_is_found() {
        let text = "struct A {\n    pub name: String,\n    pub users: BTreeMap<u32, String>,\n}\nenum B {\n    No(String),\n}";
        for room in [
            "event.rs",
            "event/facts.rs",
            "host/names.rs",
            "model/tally.rs",
        ] {
            assert_eq!(
                lines(&format!("twtrace/src/{room}"), text),
                [2, 3, 6],
                "{room}"
            );
        }
    }

    #[test]
    fn functions_tests_and_other_rooms_are_free() {
        let text = "pub fn f(a: String) -> String {\n    String::from_utf8(a),\n}\n#[cfg(test)]\nstruct A {\n    pub name: String,\n}";
        assert!(lines("twtrace/src/event.rs", text).is_empty());
        assert!(lines("twtrace/src/view/text.rs", "    pub name: String,").is_empty());
    }
}
