//! A hash over everything that decides what the object is, the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{build, hex, toolchain};
use crate::paths;

/// Files and folders whose contents decide; paths are relative to the root.
const SOURCES: &[&str] = &[
    "twtrace-common/Cargo.toml",
    "twtrace-common/src",
    "twtrace-ebpf/Cargo.lock",
    "twtrace-ebpf/Cargo.toml",
    "twtrace-ebpf/src",
];

/// The hash of all inputs: sources, lock file, flags and pinned tool versions.
pub(super) fn hash() -> Result<String> {
    of(paths::root())
}

fn of(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut list = format!(
        "rustc {}\nbpf-linker {}\nllvm {}\nflags {}\n",
        toolchain::RUSTC,
        toolchain::BPF_LINKER,
        toolchain::LLVM,
        build::FLAGS.join(" ")
    );
    for file in files {
        let bytes = fs::read(root.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        list += &format!("{} {}\n", hex(&bytes), file.display());
    }
    Ok(hex(list.as_bytes()))
}

fn collect(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(path);
    if full.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))?;
    for entry in entries {
        collect(root, &path.join(entry?.file_name()), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy_of_sources() -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for source in SOURCES {
            collect(paths::root(), Path::new(source), &mut files).unwrap();
        }
        for file in files {
            let to = copy.path().join(&file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(paths::root().join(&file), to).unwrap();
        }
        copy
    }

    #[test]
    fn the_place_does_not_matter() {
        let copy = copy_of_sources();
        assert_eq!(of(copy.path()).unwrap(), hash().unwrap());
    }

    #[test]
    fn every_byte_of_the_contract_matters() {
        let copy = copy_of_sources();
        let file = copy.path().join("twtrace-common/src/lib.rs");
        let text = fs::read_to_string(&file).unwrap() + "\n";
        fs::write(&file, text).unwrap();
        assert_ne!(of(copy.path()).unwrap(), hash().unwrap());
    }
}
