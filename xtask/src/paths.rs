//! Where things are.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// Downloads and tools, kept between runs: `TWTRACE_CACHE`, or target/xtask-cache.
pub(crate) fn cache() -> PathBuf {
    match std::env::var_os("TWTRACE_CACHE") {
        Some(path) => PathBuf::from(path),
        None => root().join("target/xtask-cache"),
    }
}
