//! A kernel on disk: from Debian's packages into the cache, or from a path.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::apt::{Candidate, Private};
use crate::paths;
use crate::run::say;

/// A kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its name in the table, or the file name it was given as.
    pub(crate) name: String,
    /// What `uname -r` says in it.
    pub(crate) release: String,
    pub(crate) vmlinuz: PathBuf,
    /// lib/modules/RELEASE, if it has modules.
    pub(crate) modules: Option<PathBuf>,
}

/// Downloads and unpacks a kernel package with those it consists of, once.
pub(super) fn fetch(apt: &Private, name: &str, build: &Candidate) -> Result<Kernel> {
    let dir = folder().join(format!("{}_{}", build.package, build.version));
    if !dir.is_dir() {
        say(&format!(
            "downloading Linux {name}: {} {} from {}",
            build.package, build.version, build.suite
        ));
        let mut packages = vec![format!("{}={}", build.package, build.version)];
        // Since 6.19 the image package only names those with the binary and the modules.
        let parts = apt.depends(&packages[0])?;
        let wanted = |part: &String| {
            ["linux-binary-", "linux-modules-"]
                .iter()
                .any(|prefix| part.starts_with(prefix))
        };
        for part in parts.into_iter().filter(wanted) {
            // Mirrors keep the signed binary for longer than the modules.
            if part.starts_with("linux-modules-") && apt.versions(&part)?.is_empty() {
                say(&format!(
                    "{part} has left its mirror: Linux {name} runs without modules"
                ));
            } else {
                packages.push(part);
            }
        }
        apt.unpack(&packages, &dir)?;
    }
    let kernel = in_tree(name, &dir)?;
    remember(name, &dir)?;
    Ok(kernel)
}

/// The build of this series that was fetched last.
pub(crate) fn cached(name: &str) -> Option<Kernel> {
    let dir = fs::read_to_string(memory(name)).ok()?;
    in_tree(name, Path::new(dir.trim())).ok()
}

fn remember(name: &str, dir: &Path) -> Result<()> {
    fs::write(memory(name), dir.display().to_string())
        .with_context(|| format!("cannot write {}", memory(name).display()))
}

fn memory(name: &str) -> PathBuf {
    folder().join(format!("{name}.latest"))
}

fn folder() -> PathBuf {
    paths::cache().join("kernels")
}

/// The kernel in an unpacked package tree: the image is in /boot, or with its modules (7.2).
fn in_tree(name: &str, dir: &Path) -> Result<Kernel> {
    let of = |release: &str, vmlinuz, modules| Kernel {
        name: name.to_owned(),
        release: release.to_owned(),
        vmlinuz,
        modules,
    };
    let boot = dir.join("boot");
    for place in ["usr/lib/modules", "lib/modules"] {
        for release in entries(&dir.join(place)) {
            let modules = dir.join(place).join(&release);
            let images = [
                boot.join(format!("vmlinuz-{release}")),
                modules.join("vmlinuz"),
            ];
            if let Some(vmlinuz) = images.into_iter().find(|image| image.is_file()) {
                return Ok(of(&release, vmlinuz, Some(modules)));
            }
        }
    }
    for file in entries(&boot) {
        if let Some(release) = file.strip_prefix("vmlinuz-") {
            return Ok(of(release, boot.join(&file), None));
        }
    }
    bail!("no vmlinuz in {}", dir.display())
}

/// The names in a folder; none if there is no such folder.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(name).collect()
}

/// A kernel given by path: modules are looked for beside it, in its package tree or its build
/// tree's `lib/modules`, and in the system's.
pub(super) fn at_path(path: &Path) -> Result<Kernel> {
    ensure!(path.is_file(), "no kernel image at {}", path.display());
    let file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let release = file.strip_prefix("vmlinuz-").unwrap_or(&file).to_owned();
    let parent = path.parent().unwrap_or(Path::new("."));
    let places = [
        parent.join("modules"),
        parent.join("lib/modules").join(&release),
        parent.join("../lib/modules").join(&release),
        parent.join("../usr/lib/modules").join(&release),
    ];
    Ok(Kernel {
        name: file,
        vmlinuz: path.to_owned(),
        modules: places.into_iter().find(|place| place.is_dir()),
        release,
    })
}

/// The kernel that runs here, where other kernels cannot be fetched.
pub(super) fn of_this_system() -> Result<Kernel> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let path = PathBuf::from(format!("/boot/vmlinuz-{release}"));
    fs::File::open(&path).with_context(|| {
        format!(
            "kernels are fetched through Debian's apt, this is not Debian, and {} cannot be read: pass --kernel PATH",
            path.display()
        )
    })?;
    at_path(&path)
}
