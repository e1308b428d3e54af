//! One build of the eBPF crate into a folder, and what must hold of the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::toolchain::{self, Toolchain};
use super::wrapper;
use crate::paths;
use crate::run::run;

const TARGET: &str = "bpfel-unknown-none";

/// Flags for rustc that do not depend on the machine.
pub(super) const FLAGS: &[&str] = &[
    "-Ctarget-cpu=v3",
    // BTF is made from the debug information.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
];

/// Builds the object and returns its bytes, stripped of debug sections but not of BTF.
pub(super) fn object(
    toolchain: &Toolchain,
    target_dir: &Path,
    features: &[&str],
) -> Result<Vec<u8>> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(paths::root().join("twtrace-ebpf"))
        .args(["build", "--quiet", "--release", "--locked"])
        .args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        .arg(target_dir)
        .args(features.iter().flat_map(|feature| ["--features", feature]))
        .env("RUSTUP_TOOLCHAIN", toolchain::RUSTC)
        // -Zbuild-std on the pinned stable compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain)?.join("\x1f"))
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(wrapper::MARK, "1")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    run(&mut cargo)?;

    let built = target_dir.join(TARGET).join("release/twtrace-ebpf");
    let stripped = target_dir.join("twtrace.bpf.o");
    run(Command::new(&toolchain.objcopy)
        .arg("--strip-debug")
        .args([&built, &stripped]))?;
    let bytes =
        fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    inspect(&bytes)?;
    Ok(bytes)
}

/// All flags; paths are remapped because they live in BTF strings as well as in DWARF.
fn flags(toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
    flags.push(format!("-Clinker={}", toolchain.bpf_linker.display()));
    let mut remap = |from: PathBuf, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(paths::root().to_owned(), "/twtrace");
    let registry = cargo_home()?.join("registry/src");
    if let Ok(entries) = fs::read_dir(&registry) {
        for entry in entries {
            remap(entry?.path(), "/crates");
        }
    }
    // rust-src may be a link: rustc is given either path.
    let library = toolchain.sysroot.join("lib/rustlib/src/rust");
    remap(library.canonicalize()?, "/rust");
    remap(library, "/rust");
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::home_dir().context("no home directory: set CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

/// A panic cannot be loaded, BTF must be there, and no path of this machine may be left.
fn inspect(bytes: &[u8]) -> Result<()> {
    let file = object::File::parse(bytes).context("the linker made no ELF object")?;
    for symbol in file.symbols() {
        let name = symbol.name().unwrap_or_default();
        ensure!(
            !name.contains("panicking"),
            "the object can panic (symbol {name}): no kernel loads it; look for indexing, expect() or arithmetic that may overflow"
        );
    }
    for name in [".BTF", ".BTF.ext"] {
        let section = file.section_by_name(name);
        ensure!(
            section.is_some_and(|section| section.size() > 0),
            "the object has no {name}"
        );
    }
    let home = cargo_home()?.display().to_string();
    for path in [paths::root().display().to_string(), home] {
        ensure!(
            !bytes
                .windows(path.len())
                .any(|window| window == path.as_bytes()),
            "the object names a path of this machine: {path}"
        );
    }
    Ok(())
}
