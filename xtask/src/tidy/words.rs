//! Words that must not be in the repository.

use super::{Finding, Source};

/// A word, where it is forbidden and why.
struct Word {
    /// In two parts, so that this table does not hold what it forbids.
    parts: [&'static str; 2],
    only_rust: bool,
    why: &'static str,
}

const WORDS: &[Word] = &[
    rust(["to", "do!("], "unfinished"),
    rust(["unimpl", "emented!("], "unfinished"),
    rust(["db", "g!("], "left over"),
    rust(["#[ign", "ore"], "a test that is not run"),
    anywhere(["/wo", "rk/"], "a path of one machine"),
    anywhere(["/ro", "ot/"], "a path of one machine"),
    anywhere(["/ho", "me/"], "a path of one machine"),
    anywhere(["/tmp/se", "tup"], "a path of one machine"),
    anywhere(["deb.deb", "ian.org"], "the host of a package registry"),
    anywhere(["index.cra", "tes.io"], "the host of a package registry"),
    anywhere(["static.cra", "tes.io"], "the host of a package registry"),
    anywhere(
        ["static.rust", "-lang.org"],
        "the host of a package registry",
    ),
];

const fn rust(parts: [&'static str; 2], why: &'static str) -> Word {
    Word {
        parts,
        only_rust: true,
        why,
    }
}

const fn anywhere(parts: [&'static str; 2], why: &'static str) -> Word {
    Word {
        parts,
        only_rust: false,
        why,
    }
}

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for word in WORDS
            .iter()
            .filter(|word| !word.only_rust || source.is_rust())
        {
            let text = word.parts.concat();
            findings.extend(line_of(source, &text).map(|line| Finding {
                path: source.path.clone(),
                line,
                what: format!("`{text}`: {}", word.why),
            }));
        }
    }
    findings
}

/// The first line with the word; binary files are looked through as well.
fn line_of(source: &Source, word: &str) -> Option<usize> {
    let at = source
        .bytes
        .windows(word.len())
        .position(|window| window == word.as_bytes())?;
    Some(
        source.bytes[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    #[test]
    fn each_word_is_found_with_its_line() {
        for word in WORDS {
            let text = format!("first\n  {}", word.parts.concat());
            let findings = check(&planted("twtrace/src/main.rs", &text));
            assert_eq!(findings.len(), 1, "{}", word.parts.concat());
            assert_eq!(findings[0].line, 2);
        }
    }

    #[test]
    fn documents_may_talk_about_macros() {
        let text = ["to", "do!()"].concat();
        assert_eq!(check(&planted("CONTRIBUTING.md", &text)), []);
    }
}
