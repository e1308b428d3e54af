//! What `twtrace check` writes for machines, read by parsers that we did not write: KTAP by the
//! kernel's own (tools/testing/kunit), JUnit by a crate.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lzma_rust2::XzReader;

use crate::apt::Private;
use crate::paths;
use crate::run::{output, say};

/// Any recent source has it; this one is in the host's own suite.
const SUITES: &[&str] = &["bookworm", "trixie"];
const PACKAGES: &str = "^linux-source-6\\.[0-9]+$";
const FOLDER: &str = "tools/testing/kunit/";

/// Reads what the golden tests expect.
pub(super) fn goldens() -> Result<String> {
    let golden = |name: &str| paths::root().join("twtrace/tests/golden").join(name);
    let junit = junit(&golden("check.xml"))?;
    match Kunit::get() {
        Ok(kunit) => Ok(format!("{junit}; {}", kunit.read(&golden("check.ktap"))?)),
        Err(why) => Ok(format!("{junit}; no parser for KTAP: {why:#}")),
    }
}

/// Reads what a VM wrote: a line that says how much.
pub(super) fn of_vm(kunit: Option<&Kunit>, folder: &Path, attach: &str) -> Result<String> {
    let mut told = junit(&folder.join(format!("check-{attach}.xml")))?;
    if let Some(kunit) = kunit {
        told += "; ";
        told += &kunit.read(&folder.join(format!("check-{attach}.ktap")))?;
    }
    Ok(told)
}

fn junit(path: &Path) -> Result<String> {
    let shown = path.display();
    let file = fs::File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let report = junit_parser::from_reader(BufReader::new(file))
        .with_context(|| format!("{shown} is no JUnit"))?;
    let cases: usize = report.suites.iter().map(|suite| suite.cases.len()).sum();
    ensure!(cases > 0, "{shown} has no test case");
    ensure!(
        report.tests == cases as u64,
        "{shown} says {} tests and has {cases}",
        report.tests
    );
    Ok(format!("JUnit: {cases} cases"))
}

/// The kernel's parser of KTAP.
#[derive(Debug)]
pub(super) struct Kunit(PathBuf);

impl Kunit {
    /// Takes it from Debian's source of the kernel, once.
    pub(super) fn get() -> Result<Self> {
        // It looks for the kernel's root by this path.
        let folder = paths::cache().join("linux").join(FOLDER);
        let found = Self(folder.join("kunit.py"));
        if found.0.is_file() {
            return Ok(found);
        }
        which::which("python3").context("there is no python3")?;
        let apt = Private::derive(SUITES)?;
        let newest = apt.search(PACKAGES)?.into_iter().next_back();
        let newest = newest.context("no suite has the kernel's source")?;
        say(&format!(
            "downloading {} for the kernel's parser of KTAP",
            newest.package
        ));
        let tree = paths::cache().join("linux-source");
        apt.unpack(&[format!("{}={}", newest.package, newest.version)], &tree)?;
        let archive = tree
            .join("usr/src")
            .join(format!("{}.tar.xz", newest.package));
        let unpacked = unpack(&archive, &folder);
        fs::remove_dir_all(&tree)?;
        unpacked?;
        ensure!(found.0.is_file(), "the source has no kunit.py");
        Ok(found)
    }

    /// Its verdict on a file: it must know all that is in it, and complain of nothing.
    fn read(&self, path: &Path) -> Result<String> {
        let mut parse = Command::new("python3");
        parse.arg(&self.0).arg("parse").arg(path);
        // Its exit code is that of the tests.
        let ended = parse.stdin(std::process::Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&ended.stdout);
        let shown = path.display();
        let wrong = text.lines().find(|line| line.contains("[ERROR]"));
        ensure!(wrong.is_none(), "{shown}: {}", wrong.unwrap_or_default());
        let last = text
            .lines()
            .find_map(|line| line.split_once("Testing complete. "));
        let (_, last) = last.with_context(|| format!("{shown} is no KTAP: {text}"))?;
        Ok(format!("KTAP: {last}"))
    }
}

/// Only the folder of the parser.
fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let file =
        fs::File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    fs::create_dir_all(to)?;
    let mut tar = tar::Archive::new(XzReader::new(BufReader::new(file), true));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let below = path.components().skip(1).collect::<PathBuf>();
        if let Ok(name) = below.strip_prefix(FOLDER)
            && name.components().count() == 1
            && entry.header().entry_type().is_file()
        {
            entry.unpack(to.join(name))?;
        }
    }
    Ok(())
}

/// Two runs of one kernel, by fentry and by kprobe: nothing may differ.
pub(super) fn same(folder: &Path) -> Result<String> {
    let file = |attach: &str| folder.join(format!("check-{attach}.baseline"));
    let mut compare = Command::new("cargo");
    compare
        .current_dir(paths::root())
        .args(["run", "--quiet", "--package", "twtrace", "--", "check"])
        .arg("--baseline")
        .arg(file("fentry"))
        .arg("--against")
        .arg(file("kprobe"));
    let told = output(&mut compare)?;
    let last = told.lines().next_back().unwrap_or_default();
    ensure!(
        last.starts_with("0 regressions, 0 improvements, 0 changed, "),
        "{told}"
    );
    Ok(last.to_owned())
}
