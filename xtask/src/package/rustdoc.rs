//! Stands between cargo and rustdoc, so that the pinned stable Rust writes JSON.
//!
//! `RUSTC_BOOTSTRAP` allows it. Set for all of cargo, build scripts would see it and every
//! dependency would be built again; so only rustdoc gets it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Result, anyhow};

/// Tells xtask that cargo calls it in rustdoc's stead.
pub(super) const MARK: &str = "TWTRACE_RUSTDOC_WRAPPER";

pub(crate) fn is_wanted() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Becomes rustdoc; returns only if that cannot be started.
pub(crate) fn become_rustdoc() -> Result<()> {
    let error = Command::new("rustdoc")
        .args(std::env::args_os().skip(1))
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove(MARK)
        .exec();
    Err(anyhow!("cannot start rustdoc: {error}"))
}
