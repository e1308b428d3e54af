//! Files that a person can read at a sitting.

use super::{Finding, Source};

const MOST_LINES: usize = 600;

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| source.is_rust())
        .filter_map(|source| {
            let lines = source.lines().count();
            (lines >= MOST_LINES).then(|| Finding {
                path: source.path.clone(),
                line: lines,
                what: format!("{lines} lines; {MOST_LINES} are too many"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    #[test]
    fn long_files_are_found() {
        assert_eq!(check(&planted("a.rs", &"x\n".repeat(599))), []);
        assert_eq!(check(&planted("a.rs", &"x\n".repeat(600))).len(), 1);
    }
}
