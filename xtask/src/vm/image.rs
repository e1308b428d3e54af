//! The initramfs: init, twtrace, the modules, the command and any other files.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cpio::newc;

use super::modules;
use super::package::Kernel;
use crate::paths;
use crate::run::run;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// Programs for the VM, linked statically.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Where the first of them is.
    path: PathBuf,
    twtrace: Vec<u8>,
    init: Vec<u8>,
}

/// How the programs are built: a profile of Cargo.toml.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Where time or memory is measured.
    Measured,
    Quick,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Measured => "vm",
            Self::Quick => "vm-quick",
        }
    }
}

impl Programs {
    /// Builds them with a target folder of their own, so that other builds are not undone.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        let target_dir = paths::root().join("target/vm");
        let built = target_dir.join(TARGET).join(profile.name());
        run(Command::new("cargo")
            .current_dir(paths::root())
            .args(["build", "--quiet", "--profile", profile.name()])
            .args(["--target", TARGET])
            .args(["--package", "twtrace", "--package", "twtrace-vm"])
            .arg("--target-dir")
            .arg(&target_dir)
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
        let read = |name: &str| {
            let path = built.join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self {
            twtrace: read("twtrace")?,
            init: read("twtrace-vm")?,
            path: built.join("twtrace"),
        })
    }

    /// `twtrace` itself.
    pub(crate) fn twtrace(&self) -> &Path {
        &self.path
    }
}

/// A file for the image, and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) from: PathBuf,
    pub(crate) to: String,
}

/// Writes the initramfs for a kernel and a command; not compressed, as unpacking costs more under
/// emulation than loading.
pub(super) fn write(
    to: &Path,
    kernel: &Kernel,
    programs: &Programs,
    command: &[String],
    extra: &[Extra],
) -> Result<()> {
    let mut image = Image {
        out: std::io::BufWriter::new(fs::File::create(to)?),
        inode: 1,
        folders: BTreeSet::new(),
    };
    image.file("init", PROGRAM, &programs.init)?;
    image.file("bin/twtrace-vm", PROGRAM, &programs.init)?;
    image.file("bin/twtrace", PROGRAM, &programs.twtrace)?;
    let mut order = String::new();
    if let Some(dir) = &kernel.modules {
        for module in modules::wanted(dir)? {
            let path = format!("modules/{}.ko", module.name);
            image.file(&path, FILE, &module.bytes)?;
            order += &format!("/{path}\n");
        }
    }
    image.file("etc/twtrace-vm/modules", FILE, order.as_bytes())?;
    let words: String = command.iter().map(|word| format!("{word}\0")).collect();
    image.file("etc/twtrace-vm/command", FILE, words.as_bytes())?;
    for file in extra {
        let bytes =
            fs::read(&file.from).with_context(|| format!("cannot read {}", file.from.display()))?;
        image.file(file.to.trim_start_matches('/'), PROGRAM, &bytes)?;
    }
    newc::trailer(image.out)?.flush()?;
    Ok(())
}

struct Image<W: Write> {
    out: W,
    inode: u32,
    /// Those that are there already.
    folders: BTreeSet<PathBuf>,
}

impl<W: Write> Image<W> {
    /// A file, and the folders it is in.
    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let above: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for folder in above.into_iter().rev() {
            let name = folder.display().to_string();
            if !name.is_empty() && self.folders.insert(folder.to_owned()) {
                self.entry(&name, DIRECTORY, &[])?;
            }
        }
        self.entry(path, mode, bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.inode += 1;
        let length = u32::try_from(bytes.len()).context("a file of 4 GiB does not fit cpio")?;
        let mut writer = newc::Builder::new(path)
            .ino(self.inode)
            .nlink(1)
            .mode(mode)
            .write(&mut self.out, length);
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(())
    }
}
