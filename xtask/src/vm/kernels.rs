//! The kernels that twtrace promises, and where the newest build of each is found.

use anyhow::{Context as _, Result, bail};

use crate::apt::{Candidate, Private, kernel_series, newer};
use crate::run::say;
use crate::vm::package::{self, Kernel};

/// A series of kernels and Debian's suites that may carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    suites: &'static [&'static str],
}

/// Oldest first. CI, tests and documents derive from this table.
pub(crate) const KERNELS: &[Series] = &[
    Series {
        name: "5.10",
        suites: &["bullseye", "bullseye-security"],
    },
    Series {
        name: "6.1",
        suites: &["bookworm", "bookworm-security"],
    },
    Series {
        name: "6.12",
        suites: &["trixie", "trixie-security", "bookworm-backports"],
    },
    Series {
        name: "6.18",
        suites: &["trixie-backports"],
    },
    Series {
        name: "7.2",
        suites: &["sid", "trixie-backports"],
    },
    NEWEST,
];

/// Whatever stable kernel is the newest; may be the same as the last series.
const NEWEST: Series = Series {
    name: "newest",
    suites: &["sid", "trixie-backports"],
};

/// Series in between, and builds from before a change that came within their series, which `cargo
/// xtask matrix` runs as well.
pub(crate) const MORE: &[Series] = &[
    // FIN_WAIT2 is taken over by connect() until 5.10.227.
    Series {
        name: "5.10.0-30",
        suites: &["bullseye", "bullseye-security"],
    },
    // Ports are not hashed into the clock until 6.1.191 and 6.12.94.
    Series {
        name: "6.1.0-47",
        suites: &["bookworm", "bookworm-security"],
    },
    Series {
        name: "6.12.43",
        suites: &["bookworm-backports"],
    },
    backport("6.16"),
    backport("6.17"),
    backport("6.19"),
    backport("7.0"),
    backport("7.1"),
    backport("7.3"),
];

const fn backport(name: &'static str) -> Series {
    Series {
        name,
        suites: &["trixie-backports", "sid"],
    }
}

/// What a person may say after `--kernel`, or a test may need.
pub(crate) fn series(name: &str) -> Result<Series> {
    let name = match name {
        "oldest" => KERNELS[0].name,
        "host" => kernel_series().unwrap_or("6.12"),
        name => name,
    };
    let all = || KERNELS.iter().chain(MORE);
    let found = all().find(|series| series.name == name);
    found.copied().with_context(|| {
        let names: Vec<_> = all().map(|series| series.name).collect();
        format!(
            "no kernel `{name}` in the table: there are {}, oldest, host, or a path to a vmlinuz",
            names.join(", ")
        )
    })
}

/// Fetches the newest build of a series, unless it is in the cache already.
pub(crate) fn fetch(series: Series) -> Result<Kernel> {
    let suites: Vec<&str> = all_suites();
    match Private::derive(&suites).and_then(|apt| fetch_from(&apt, series)) {
        Ok(kernel) => Ok(kernel),
        Err(reason) => match package::cached(series.name) {
            Some(kernel) => {
                say(&format!("{reason:#}"));
                say(&format!("using the {} fetched before", kernel.release));
                Ok(kernel)
            }
            None => Err(reason),
        },
    }
}

fn fetch_from(apt: &Private, series: Series) -> Result<Kernel> {
    let found = apt.search(&pattern(series.name))?;
    let Some(newest) = newest(found, series.suites) else {
        bail!(
            "no stable build of Linux {} in {}",
            series.name,
            series.suites.join(", ")
        );
    };
    package::fetch(apt, series.name, &newest)
}

/// The packages of a series or a build, but no meta-package.
fn pattern(name: &str) -> String {
    let builds = match name {
        "newest" => "[0-9.]+.*".to_owned(),
        name => {
            let whole = name.matches('.').count() > 1;
            let rest = if whole {
                "([.+-][^c].*)?"
            } else {
                "[.+-][^c].*"
            };
            name.replace('.', "\\.") + rest
        }
    };
    format!("^linux-image-{builds}-cloud-amd64$")
}

fn newest(found: Vec<Candidate>, suites: &[&str]) -> Option<Candidate> {
    found
        .into_iter()
        .filter(|build| suites.contains(&build.suite.as_str()))
        .filter(|build| !build.version.contains("~rc"))
        .reduce(|best, build| {
            if newer(&build.version, &best.version) {
                build
            } else {
                best
            }
        })
}

/// All suites of the table, so that one private apt directory serves every kernel.
fn all_suites() -> Vec<&'static str> {
    let mut suites: Vec<&str> = KERNELS
        .iter()
        .flat_map(|series| series.suites)
        .copied()
        .collect();
    suites.sort_unstable();
    suites.dedup();
    suites
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(version: &str, suite: &str) -> Candidate {
        Candidate {
            package: format!("linux-image-{version}"),
            version: version.to_owned(),
            suite: suite.to_owned(),
        }
    }

    #[test]
    fn names_are_found_and_others_are_explained() {
        assert_eq!(series("6.18").unwrap().name, "6.18");
        assert_eq!(series("oldest").unwrap().name, "5.10");
        let error = series("4.19").unwrap_err().to_string();
        assert!(error.contains("6.12"), "{error}");
    }

    #[test]
    fn release_candidates_and_other_suites_do_not_count() {
        let found = vec![
            build("7.3~rc7-1~exp1", "sid"),
            build("7.2.9-1", "sid"),
            build("7.2.13-1", "sid"),
            build("7.9.1-1", "experimental"),
        ];
        assert_eq!(newest(found, &["sid"]).unwrap().version, "7.2.13-1");
        assert_eq!(newest(Vec::new(), &["sid"]), None);
    }
}
