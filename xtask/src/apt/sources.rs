//! The machine's own apt sources, from either of apt's formats.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// The machine's own archive and security sources, without their suites.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources {
    archive: Source,
    security: Option<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uri: String,
    signed_by: Option<String>,
    suites: Vec<String>,
}

impl Sources {
    pub(super) fn of_machine(codename: &str) -> Result<Self> {
        let mut all = Vec::new();
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            match file.extension().and_then(|ext| ext.to_str()) {
                Some("sources") => all.extend(deb822(&text)),
                Some("list") => all.extend(one_line(&text)),
                _ => {}
            }
        }
        Self::among(&all, codename)
    }

    fn among(all: &[Source], codename: &str) -> Result<Self> {
        let with = |names: &[String]| {
            all.iter()
                .find(|source| source.suites.iter().any(|suite| names.contains(suite)))
                .cloned()
        };
        let names = [codename, "stable", "testing", "unstable", "sid"].map(str::to_owned);
        let security = format!("{codename}-security");
        let Some(archive) = with(&names) else {
            bail!("no apt source of this machine has the suite {codename}");
        };
        Ok(Self {
            archive,
            security: with(&[security, "stable-security".to_owned()]),
        })
    }

    /// The source line for a suite; security suites come from the security mirror if there is one.
    pub(super) fn line(&self, suite: &str) -> String {
        let source = match (&self.security, suite.ends_with("-security")) {
            (Some(security), true) => security,
            (None, true) => return String::new(),
            (_, false) => &self.archive,
        };
        let options = match &source.signed_by {
            Some(key) => format!("[signed-by={key}] "),
            None => String::new(),
        };
        format!("deb {options}{} {suite} main\n", source.uri)
    }
}

/// Sources in the stanza format (`*.sources`).
fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let binary = field("Types").is_some_and(|types| types.split(' ').any(|kind| kind == "deb"));
        let enabled = field("Enabled") != Some("no");
        let (Some(uris), Some(suites)) = (field("URIs"), field("Suites")) else {
            continue;
        };
        if binary && enabled {
            sources.push(Source {
                uri: uris.split(' ').next().unwrap_or_default().to_owned(),
                // A key inside the stanza spans lines and starts with an empty one: apt's own
                // trusted keys must do then.
                signed_by: field("Signed-By")
                    .filter(|key| key.starts_with('/'))
                    .map(str::to_owned),
                suites: suites.split(' ').map(str::to_owned).collect(),
            });
        }
    }
    sources
}

/// Sources in the one-line format (`*.list`).
fn one_line(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", rest),
            };
            let mut words = rest.split_whitespace();
            Some(Source {
                uri: words.next()?.to_owned(),
                signed_by: options
                    .split_whitespace()
                    .find_map(|option| option.strip_prefix("signed-by="))
                    .map(str::to_owned),
                suites: vec![words.next()?.to_owned()],
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "Types: deb\n# a comment\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /keys/debian.gpg\n\nTypes: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nSigned-By: /keys/debian.gpg\n";

    #[test]
    fn stanzas_give_mirror_and_key() {
        let sources = Sources::among(&deb822(STANZAS), "bookworm").unwrap();
        assert_eq!(
            sources.line("trixie"),
            "deb [signed-by=/keys/debian.gpg] http://mirror.test/debian trixie main\n"
        );
        assert_eq!(
            sources.line("bullseye-security"),
            "deb [signed-by=/keys/debian.gpg] http://mirror.test/security bullseye-security main\n"
        );
    }

    #[test]
    fn one_line_sources_do_too() {
        let text = "# deb http://old.test x main\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main contrib\n";
        let sources = Sources::among(&one_line(text), "bookworm").unwrap();
        assert_eq!(
            sources.line("sid"),
            "deb [signed-by=/k.gpg] http://mirror.test/debian sid main\n"
        );
        assert_eq!(
            sources.line("bullseye-security"),
            "",
            "no security mirror known"
        );
    }

    #[test]
    fn a_foreign_source_is_no_archive() {
        let text = "deb http://vendor.test/apt cloud-sdk main\n";
        assert!(Sources::among(&one_line(text), "bookworm").is_err());
    }
}
