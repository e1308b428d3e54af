//! Links between documents lead somewhere.

use std::path::Path;

use super::{Finding, Source};

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let exists = |path: &Path| {
        sources
            .iter()
            .any(|source| Path::new(&source.path).starts_with(path))
    };
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        let folder = Path::new(&source.path).parent().unwrap_or(Path::new(""));
        for (line, text) in source.lines() {
            let broken = targets(text).filter(|target| !exists(&resolved(folder, target)));
            findings.extend(broken.map(|target| Finding {
                path: source.path.clone(),
                line,
                what: format!("the link `{target}` leads nowhere"),
            }));
        }
    }
    findings
}

/// Targets of `[text](target)` inside the repository, without their `#section`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
}

/// `docs/../README.md` is `README.md`.
fn resolved(folder: &Path, target: &str) -> std::path::PathBuf {
    let mut path = folder.to_owned();
    for step in target.split('/') {
        match step {
            "." | "" => {}
            ".." => drop(path.pop()),
            step => path.push(step),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    #[test]
    fn broken_links_are_found() {
        let text = "[a](output.md) [b](../docs/output.md#x) [c](https://x.test/y)\n[d](gone.md)";
        let findings = check(&planted("docs/output.md", text));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].line, 2);
    }
}
