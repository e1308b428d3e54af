//! The `nft` program and the libraries it needs: the NAT rules of the VMs are made with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::image::Extra;
use crate::apt;
use crate::run::output;

/// Where it may be without being in the PATH of a user.
const PLACES: [&str; 2] = ["/usr/sbin/nft", "/sbin/nft"];

/// This machine's `nft` and its libraries, installed if it is missing.
pub(super) fn files() -> Result<Vec<Extra>> {
    let program = match find() {
        Some(program) => program,
        None => {
            apt::install(&["nftables"])?;
            find().context("nftables is installed, and yet there is no program nft")?
        }
    };
    let loaded = output(Command::new("ldd").arg(&program))?;
    let mut files: Vec<Extra> = loaded
        .lines()
        .filter_map(library)
        .map(|path| Extra {
            from: path.to_owned(),
            to: path.display().to_string(),
        })
        .collect();
    files.push(Extra {
        from: program,
        to: "/bin/nft".to_owned(),
    });
    Ok(files)
}

fn find() -> Option<PathBuf> {
    let known = || PLACES.map(PathBuf::from).into_iter();
    which::which("nft")
        .ok()
        .or_else(|| known().find(|path| path.is_file()))
}

/// The path in a line of `ldd`: `libmnl.so.0 => /lib/libmnl.so.0 (0x…)`, or of the loader itself,
/// `/lib64/ld-linux-x86-64.so.2 (0x…)`. What the kernel maps has none.
fn library(line: &str) -> Option<&Path> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'));
    path.map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_have_a_path() {
        let found = |line| library(line).and_then(Path::to_str);
        let library = "\tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)";
        assert_eq!(found(library), Some("/lib/x86_64-linux-gnu/libmnl.so.0"));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(found(loader), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(found("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(found("\tstatically linked"), None);
    }
}
