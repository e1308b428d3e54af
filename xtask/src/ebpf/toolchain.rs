//! The pinned toolchain of the eBPF object, found or installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::apt::{self, Private};
use crate::paths;
use crate::run::{output, run, say};

/// The compiler; rust-toolchain.toml pins the same.
pub(super) const RUSTC: &str = "1.95.0";
pub(super) const BPF_LINKER: &str = "0.13.0";
/// rustc 1.95 emits bitcode of LLVM 22.
pub(super) const LLVM: &str = "22";

/// Everything that is needed to build the object.
pub(super) struct Toolchain {
    pub(super) sysroot: PathBuf,
    pub(super) bpf_linker: PathBuf,
    pub(super) objcopy: PathBuf,
}

impl Toolchain {
    /// Finds the toolchain, installing what is missing.
    pub(super) fn get() -> Result<Self> {
        let version = rustc_version()?;
        ensure!(
            version == RUSTC,
            "rustc {RUSTC} is needed, this is {version}"
        );
        let sysroot = output(
            Command::new("rustc")
                .args(["--print", "sysroot"])
                .env("RUSTUP_TOOLCHAIN", RUSTC),
        )?;
        let sysroot = PathBuf::from(sysroot.trim());
        rust_src(&sysroot)?;
        let objcopy = llvm()?.join("bin/llvm-objcopy");
        Ok(Self {
            sysroot,
            bpf_linker: bpf_linker()?,
            objcopy,
        })
    }
}

/// The source of core: rustup's component, or Debian's package of the same version.
fn rust_src(sysroot: &Path) -> Result<()> {
    let place = sysroot.join("lib/rustlib/src/rust");
    if place.join("library/core/Cargo.toml").is_file() {
        return Ok(());
    }
    say("installing rust-src (rustup component add rust-src)");
    let rustup =
        output(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", RUSTC]));
    if place.join("library/core/Cargo.toml").is_file() {
        return Ok(());
    }
    if let Err(reason) = rustup {
        say(&format!("rustup cannot: {reason:#}"));
    }
    let unpacked = rust_src_package()?;
    if place.is_symlink() {
        fs::remove_file(&place)?;
    }
    fs::create_dir_all(sysroot.join("lib/rustlib/src"))?;
    symlink(&unpacked, &place).with_context(|| format!("cannot link {}", place.display()))
}

/// Debian's rust-src package in the cache, downloaded if it is not there.
fn rust_src_package() -> Result<PathBuf> {
    let dir = paths::cache().join("rust-src");
    let source = dir.join(format!("usr/src/rustc-{RUSTC}"));
    if source.is_dir() {
        return Ok(source);
    }
    say("downloading Debian's rust-src package (45 MB)");
    let private = Private::derive(&["trixie-backports"])?;
    let packages = private.versions("rust-src")?;
    let version = packages
        .into_iter()
        .find(|version| version.starts_with(RUSTC))
        .with_context(|| format!("no rust-src {RUSTC} in Debian's trixie-backports"))?;
    private.unpack(&[format!("rust-src={version}")], &dir)?;
    Ok(source)
}

/// LLVM's prefix, with llvm-objcopy and the libraries bpf-linker is built on.
fn llvm() -> Result<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{LLVM}"));
    if !prefix.join("bin/llvm-objcopy").is_file() {
        apt::install(&[&format!("llvm-{LLVM}")])?;
    }
    Ok(prefix)
}

/// bpf-linker from PATH or the cache, else built into the cache.
fn bpf_linker() -> Result<PathBuf> {
    let built = paths::cache().join("bpf-linker/bin/bpf-linker");
    let found = which::which("bpf-linker")
        .ok()
        .into_iter()
        .chain([built.clone()]);
    for candidate in found {
        if output(Command::new(&candidate).arg("--version"))
            .is_ok_and(|version| version.trim().ends_with(BPF_LINKER))
        {
            return Ok(candidate);
        }
    }
    apt::install(&[
        &format!("llvm-{LLVM}-dev"),
        &format!("libpolly-{LLVM}-dev"),
        "zlib1g-dev",
        "libzstd-dev",
    ])?;
    say("building bpf-linker (about a minute)");
    run(Command::new("cargo")
        .args([
            "install",
            "--quiet",
            "--locked",
            "bpf-linker",
            "--version",
            BPF_LINKER,
        ])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{LLVM}"))
        .arg("--root")
        .arg(paths::cache().join("bpf-linker"))
        .env("RUSTUP_TOOLCHAIN", RUSTC)
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}")))?;
    if !built.is_file() {
        bail!("cargo install left no {}", built.display());
    }
    Ok(built)
}

/// The version that a rustc reports, such as `1.95.0`.
fn rustc_version() -> Result<String> {
    let text = output(
        Command::new("rustc")
            .arg("--version")
            .env("RUSTUP_TOOLCHAIN", RUSTC),
    )?;
    Ok(text.split(' ').nth(1).unwrap_or_default().to_owned())
}
