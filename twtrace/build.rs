//! Tells `--version` from which commit, and for which target, this is built.
//!
//! It runs again when the commit is another, and at no other time. What is not committed leaves no
//! trace: to see it, the build would have to look at every file each time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What packagers set who build outside of git.
const COMMIT: &str = "TWTRACE_COMMIT";
/// What `cargo package` puts beside the manifest.
const PACKAGED: &str = ".cargo_vcs_info.json";
/// Digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let commit = env::var(COMMIT)
        .ok()
        .or_else(|| packaged(&root))
        .or_else(|| checked_out(&root));
    let commit = commit.map_or_else(|| "unknown".to_owned(), |commit| digits(&commit));
    println!("cargo::rustc-env={COMMIT}={commit}");
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=TWTRACE_TARGET={target}");
}

/// What cannot be a commit ends at its first letter that is none of a number.
fn digits(commit: &str) -> String {
    let digits = commit.chars().take_while(char::is_ascii_hexdigit);
    digits.take(DIGITS).collect()
}

/// `{"git":{"sha1":"…"}}`
fn packaged(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join(PACKAGED)).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// Of the repository that this is a part of, and of no other around it.
fn checked_out(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if fs::canonicalize(root).ok()?.parent()? != fs::canonicalize(top).ok()? {
        return None;
    }
    git(root, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let files = ["HEAD", "logs/HEAD", "packed-refs"].map(str::to_owned);
    for name in files.into_iter().chain(branch) {
        let path = git(root, &["rev-parse", "--git-path", &name]).map(|path| root.join(path));
        // What is not there would be taken for changed each time.
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(root, &["rev-parse", "HEAD"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
