//! Debian packages: installing them, and fetching those of other suites through a private apt
//! directory that is derived from the machine's own sources.

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::paths;
use crate::run::{output, run, say};
use sources::Sources;

/// Package lists older than this are fetched again.
const FRESH: Duration = Duration::from_secs(3600);

/// Installs packages on this machine, after saying so.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    ensure!(
        which::which("apt-get").is_ok(),
        "not installed: {names} (or what this system calls them); there is no apt-get here to do it"
    );
    say(&format!("installing with apt-get: {names}"));
    let install = || {
        run(as_root("apt-get")
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(&missing))
    };
    if install().is_ok() {
        return Ok(());
    }
    // Lists may be missing or stale, and an unpacking may have been cut short.
    say("once more, with fresh package lists");
    run(as_root("apt-get").args(["update", "--quiet=2"]))?;
    run(as_root("apt-get").args(["install", "--fix-broken", "--yes", "--quiet=2"]))?;
    install()
}

fn installed(package: &str) -> bool {
    output(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn as_root(program: &str) -> Command {
    let mut command = if rustix::process::getuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// An apt of our own: other suites, but the machine's mirrors, keys, proxies and rules.
#[derive(Debug)]
pub(crate) struct Private {
    dir: PathBuf,
}

/// A package at a version, and the suites that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) suite: String,
}

impl Private {
    /// Sets the directory up for these suites, with package lists at most an hour old.
    pub(crate) fn derive(suites: &[&str]) -> Result<Self> {
        let codename = debian_codename()?;
        let sources = Sources::of_machine(&codename)?;
        let mut list = String::new();
        for suite in suites {
            list += &sources.line(suite);
        }
        let name = format!("apt-{:016x}", fnv(&list));
        let private = Self {
            dir: paths::cache().join(name),
        };
        fs::create_dir_all(private.dir.join("lists/partial"))?;
        fs::create_dir_all(private.dir.join("cache/archives/partial"))?;
        fs::write(private.dir.join("sources.list"), list)?;
        private.update()?;
        Ok(private)
    }

    /// For this machine's own release, whose programs run here.
    pub(crate) fn of_this_release() -> Result<Self> {
        Self::derive(&[&debian_codename()?])
    }

    fn update(&self) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        say("fetching Debian package lists");
        // A suite that has left the mirror fails the update as a whole, but not the others' lists.
        if let Err(reason) = output(self.command("apt-get").args(["update", "--quiet=2"])) {
            say(&format!("some lists could not be fetched: {reason:#}"));
        }
        fs::write(stamp, "")?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, value) in [
            ("Dir::Etc::SourceList", self.dir.join("sources.list")),
            ("Dir::Etc::SourceParts", PathBuf::from("-")),
            ("Dir::State::Lists", self.dir.join("lists")),
            ("Dir::Cache", self.dir.join("cache")),
            ("Acquire::Languages", PathBuf::from("none")),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                PathBuf::from("false"),
            ),
            ("Acquire::Retries", PathBuf::from("3")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command
    }

    /// All packages whose name matches the regular expression, with version and suite.
    pub(crate) fn search(&self, pattern: &str) -> Result<Vec<Candidate>> {
        let found = output(
            self.command("apt-cache")
                .args(["search", "--names-only", pattern]),
        )?;
        let names: Vec<&str> = found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let table = output(self.command("apt-cache").arg("madison").args(names))?;
        Ok(table.lines().filter_map(madison).collect())
    }

    /// The versions of one package, newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = output(self.command("apt-cache").args(["madison", package]))?;
        Ok(table
            .lines()
            .filter_map(madison)
            .map(|candidate| candidate.version)
            .collect())
    }

    /// The packages that `package=version` depends on by exact name, first alternatives only.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let record = output(self.command("apt-cache").args(["show", package]))?;
        let depends = record
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "));
        Ok(depends
            .unwrap_or_default()
            .split(", ")
            .filter_map(|term| term.split(' ').next())
            .map(str::to_owned)
            .collect())
    }

    /// Downloads packages (`name=version`) and unpacks them into `dir`, all or nothing.
    pub(crate) fn unpack(&self, packages: &[String], dir: &Path) -> Result<()> {
        let parent = dir.parent().context("no folder to unpack into")?;
        fs::create_dir_all(parent)?;
        let debs = tempfile::Builder::new()
            .prefix("debs-")
            .tempdir_in(parent)?;
        let tree = tempfile::Builder::new()
            .prefix("tree-")
            .tempdir_in(parent)?;
        let mut download = self.command("apt-get");
        download
            .current_dir(debs.path())
            // apt's own user cannot write here; signatures are checked all the same.
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["download", "--quiet=2"])
            .args(packages);
        output(&mut download)?;
        for deb in fs::read_dir(debs.path())? {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .arg(deb?.path())
                .arg(tree.path()))?;
        }
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::rename(tree.keep(), dir)?;
        Ok(())
    }
}

/// A line of `apt-cache madison`: ` name | version | URI suite/component arch Packages`.
fn madison(line: &str) -> Option<Candidate> {
    let mut columns = line.split('|').map(str::trim);
    let package = columns.next()?.to_owned();
    let version = columns.next()?.to_owned();
    let source = columns.next()?.split(' ').nth(1)?;
    let suite = source.split('/').next()?.to_owned();
    Some(Candidate {
        package,
        version,
        suite,
    })
}

/// How dpkg orders two versions.
pub(crate) fn newer(left: &str, right: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", left, "gt", right])
        .status()
        .is_ok_and(|status| status.success())
}

/// A field of /etc/os-release.
fn os_release(name: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.map(|value| value.trim_matches('"').to_owned())
}

/// Packages of other suites can be fetched here.
pub(crate) fn is_debian() -> bool {
    os_release("ID").as_deref() == Some("debian") && which::which("apt-get").is_ok()
}

/// The codename of this Debian, such as `bookworm`.
fn debian_codename() -> Result<String> {
    ensure!(
        is_debian(),
        "kernels and packages of other suites are fetched through Debian's apt, and this is not Debian; pass --kernel PATH (a vmlinuz, its modules folder beside it)"
    );
    os_release("VERSION_CODENAME").context("/etc/os-release has no VERSION_CODENAME")
}

/// The series of kernels that this Debian ships, if it is one of these.
pub(crate) fn kernel_series() -> Option<&'static str> {
    match debian_codename().ok()?.as_str() {
        "bullseye" => Some("5.10"),
        "bookworm" => Some("6.1"),
        "trixie" => Some("6.12"),
        _ => None,
    }
}

/// Names the directory after what is in its source list.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madison_lines_are_read() {
        let line = " linux-image-6.1 |  6.1.180-1 | http://mirror.test/debian bookworm-security/main amd64 Packages";
        assert_eq!(
            madison(line),
            Some(Candidate {
                package: "linux-image-6.1".to_owned(),
                version: "6.1.180-1".to_owned(),
                suite: "bookworm-security".to_owned(),
            })
        );
    }
}
