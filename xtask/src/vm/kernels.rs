//! The kernels that twtrace promises, and where the newest build of each is found.

use anyhow::{Context as _, Result, bail};

use crate::apt::{Candidate, Private, kernel_series, newer};
use crate::run::say;
use crate::vm::package::{self, Kernel};

/// A series of kernels and Debian's suites that may carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    flavour: Flavour,
    suites: &'static [&'static str],
}

/// Debian's builds of one kernel, as their packages name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// For virtual machines: small.
    Cloud,
    /// PREEMPT_RT, with drivers for all hardware.
    Rt,
}

impl Flavour {
    fn ending(self) -> &'static str {
        match self {
            Self::Cloud => "cloud-amd64",
            Self::Rt => "rt-amd64",
        }
    }
}

const fn cloud(name: &'static str, suites: &'static [&'static str]) -> Series {
    Series {
        name,
        flavour: Flavour::Cloud,
        suites,
    }
}

/// Oldest first. CI, tests and documents derive from this table.
pub(crate) const KERNELS: &[Series] = &[
    cloud("5.10", &["bullseye", "bullseye-security"]),
    cloud("6.1", &["bookworm", "bookworm-security"]),
    cloud("6.12", &["trixie", "trixie-security", "bookworm-backports"]),
    cloud("6.18", &["trixie-backports"]),
    cloud("7.2", &["sid", "trixie-backports"]),
    NEWEST,
];

/// Whatever stable kernel is the newest; may be the same as the last series.
const NEWEST: Series = cloud("newest", &["sid", "trixie-backports"]);

/// Those of the table that are run with four CPUs as well.
pub(crate) const MANY_CPUS: &[&str] = &["5.10", "6.18"];

/// The newest kernel built with PREEMPT_RT.
pub(crate) const REALTIME: Series = Series {
    name: "rt",
    flavour: Flavour::Rt,
    suites: &["sid", "trixie-backports"],
};

/// Series in between, and builds from before a change that came within their series, which `cargo
/// xtask matrix` runs as well.
pub(crate) const MORE: &[Series] = &[
    // FIN_WAIT2 is taken over by connect() until 5.10.227.
    cloud("5.10.0-30", &["bullseye", "bullseye-security"]),
    // Ports are not hashed into the clock until 6.1.191 and 6.12.94.
    cloud("6.1.0-47", &["bookworm", "bookworm-security"]),
    cloud("6.12.43", &["bookworm-backports"]),
    backport("6.16"),
    backport("6.17"),
    backport("6.19"),
    backport("7.0"),
    backport("7.1"),
    backport("7.3"),
];

const fn backport(name: &'static str) -> Series {
    cloud(name, &["trixie-backports", "sid"])
}

/// What a person may say after `--kernel`, or a test may need.
pub(crate) fn series(name: &str) -> Result<Series> {
    let name = match name {
        "oldest" => KERNELS[0].name,
        "host" => kernel_series().unwrap_or("6.12"),
        name => name,
    };
    let all = || KERNELS.iter().chain([&REALTIME]).chain(MORE);
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
    let found = apt.search(&pattern(series))?;
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
fn pattern(series: Series) -> String {
    let builds = match series.name {
        "newest" | "rt" => "[0-9]+\\.[0-9.]+[.+-].*".to_owned(),
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
    format!("^linux-image-{builds}-{}$", series.flavour.ending())
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
    fn kernels_with_many_cpus_are_in_the_table() {
        for name in MANY_CPUS {
            assert!(KERNELS.iter().any(|series| series.name == *name), "{name}");
        }
    }

    #[test]
    fn packages_of_a_flavour_are_looked_for() {
        let newest = "^linux-image-[0-9]+\\.[0-9.]+[.+-].*-";
        assert_eq!(pattern(NEWEST), format!("{newest}cloud-amd64$"));
        assert_eq!(pattern(REALTIME), format!("{newest}rt-amd64$"));
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
