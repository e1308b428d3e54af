//! `cargo xtask ebpf`: the eBPF object, the same bytes on every machine.

mod build;
mod inputs;
mod toolchain;
pub(crate) mod wrapper;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::paths;
use crate::run::say;
use toolchain::Toolchain;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rebuild elsewhere and compare with the committed object. Where the toolchain cannot be
    /// had, compare the hash of the inputs only, and say so.
    #[arg(long)]
    check: bool,
    /// Build the object that logs, for development: used by `cargo build --features log`.
    #[arg(long, conflicts_with = "check")]
    log: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        say(&check()?);
        return Ok(());
    }
    if args.log {
        return build_logging();
    }
    build()
}

fn build_logging() -> Result<()> {
    let target = paths::root().join("target");
    let object = build::object(&Toolchain::get()?, &target.join("ebpf-log"), &["log"])?;
    let path = target.join("twtrace-log.bpf.o");
    fs::write(&path, object)?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

/// What is committed under twtrace/bpf/.
struct Committed {
    object: PathBuf,
    object_hash: PathBuf,
    inputs_hash: PathBuf,
}

impl Committed {
    fn new() -> Self {
        let dir = paths::root().join("twtrace/bpf");
        Self {
            object: dir.join("twtrace.bpf.o"),
            object_hash: dir.join("twtrace.bpf.o.sha256"),
            inputs_hash: dir.join("inputs.sha256"),
        }
    }
}

fn build() -> Result<()> {
    let toolchain = Toolchain::get()?;
    let object = build::object(&toolchain, &paths::root().join("target/ebpf"), &[])?;
    let committed = Committed::new();
    fs::create_dir_all(paths::root().join("twtrace/bpf"))?;
    fs::write(&committed.object, &object)?;
    fs::write(&committed.object_hash, hex(&object) + "\n")?;
    fs::write(&committed.inputs_hash, inputs::hash()? + "\n")?;
    say(&format!("{} bytes, sha256 {}", object.len(), hex(&object)));
    Ok(())
}

/// Rebuilds the object elsewhere and compares; says what it found.
pub(crate) fn check() -> Result<String> {
    let committed = Committed::new();
    let object = fs::read(&committed.object)
        .with_context(|| format!("no {}: run `cargo xtask ebpf`", committed.object.display()))?;
    ensure!(
        hex(&object) == read_hash(&committed.object_hash)?,
        "{} is not what {} says",
        committed.object.display(),
        committed.object_hash.display()
    );
    ensure!(
        inputs::hash()? == read_hash(&committed.inputs_hash)?,
        "the sources changed since the object was built: run `cargo xtask ebpf` and commit twtrace/bpf"
    );
    match Toolchain::get() {
        Ok(toolchain) => compare(&toolchain, &object),
        Err(reason) => Ok(format!(
            "not rebuilt, the eBPF toolchain cannot be had ({reason:#}); by the hash of its inputs the object belongs to these sources"
        )),
    }
}

fn compare(toolchain: &Toolchain, committed: &[u8]) -> Result<String> {
    let elsewhere = tempfile::Builder::new().prefix("twtrace-ebpf-").tempdir()?;
    let rebuilt = build::object(toolchain, elsewhere.path(), &[])?;
    if rebuilt != committed {
        bail!(
            "the rebuilt object (sha256 {}) differs from the committed one (sha256 {})",
            hex(&rebuilt),
            hex(committed)
        );
    }
    Ok(format!("rebuilt: identical, sha256 {}", hex(committed)))
}

fn read_hash(path: &PathBuf) -> Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
