//! Stands between cargo and rustc, so that crate identities do not depend on the place.
//!
//! Cargo hashes the path of a package outside its workspace (twtrace-common is one for
//! twtrace-ebpf) into `-C metadata`, from where it gets into symbol names and their order. This
//! gives the crates that come from a path one made of their name instead.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

/// Set for the build: tells xtask that cargo calls it in rustc's stead.
pub(super) const MARK: &str = "TWTRACE_RUSTC_WRAPPER";

/// Crates that come from a path: ours, and those of the standard library.
const CRATES: &[&str] = &[
    "twtrace_common",
    "twtrace_ebpf",
    "core",
    "compiler_builtins",
];

pub(crate) fn is_wanted() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Becomes rustc; returns only if that cannot be started.
pub(crate) fn become_rustc() -> Result<()> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    name_by_name(&mut args);
    let mut args = args.into_iter();
    let rustc = args.next().context("cargo named no rustc")?;
    let error = Command::new(&rustc).args(args).env_remove(MARK).exec();
    Err(error).with_context(|| format!("cannot start {}", rustc.display()))
}

fn name_by_name(args: &mut [OsString]) {
    let position = args.iter().position(|arg| arg == "--crate-name");
    let name = position.and_then(|at| args.get(at + 1)?.to_str().map(str::to_owned));
    let Some(name) = name.filter(|name| CRATES.contains(&name.as_str())) else {
        return;
    };
    for arg in args {
        if arg.to_str().is_some_and(|arg| arg.starts_with("metadata=")) {
            *arg = OsString::from(format!("metadata=twtrace-{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(args: &str) -> String {
        let mut args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        name_by_name(&mut args);
        let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        args.join(" ")
    }

    #[test]
    fn crates_from_a_path_are_known_by_name() {
        assert_eq!(
            renamed("rustc --crate-name twtrace_common -C metadata=0123 -C extra-filename=-4"),
            "rustc --crate-name twtrace_common -C metadata=twtrace-twtrace_common -C extra-filename=-4"
        );
    }

    #[test]
    fn others_stay() {
        let args = "rustc --crate-name aya_ebpf -C metadata=0123";
        assert_eq!(renamed(args), args);
    }
}
