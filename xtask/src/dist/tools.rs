//! mandoc and the shells: those of this machine, else unpacked from Debian's packages without
//! installing them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::Private;
use crate::paths;
use crate::run::say;

/// A program and the packages that it comes with.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) packages: &'static [&'static str],
}

/// Where it is.
pub(super) struct Found {
    pub(super) program: PathBuf,
    /// The tree of its packages, if they were unpacked.
    pub(super) tree: Option<PathBuf>,
}

impl Tool {
    /// It, or why this machine cannot have it, said at length here.
    pub(super) fn get(&self) -> Result<Found, String> {
        self.find().map_err(|why| {
            say(&format!("there is no {}: {why:#}", self.name));
            format!("{} cannot be had here", self.name)
        })
    }

    fn find(&self) -> Result<Found> {
        if let Ok(program) = which::which(self.name) {
            return Ok(Found {
                program,
                tree: None,
            });
        }
        let tree = paths::cache().join("tools").join(self.name);
        if let Some(found) = self.in_tree(&tree) {
            return Ok(found);
        }
        let apt = Private::of_this_release()?;
        say(&format!("downloading {}", self.packages.join(", ")));
        let packages: Vec<_> = self.packages.iter().map(|&name| name.to_owned()).collect();
        apt.unpack(&packages, &tree)?;
        self.in_tree(&tree)
            .with_context(|| format!("there is no {} in its package", self.name))
    }

    fn in_tree(&self, tree: &Path) -> Option<Found> {
        let places = ["usr/bin", "bin"].map(|folder| tree.join(folder).join(self.name));
        Some(Found {
            program: places.into_iter().find(|program| program.is_file())?,
            tree: Some(tree.to_owned()),
        })
    }
}

impl Found {
    /// It, with its libraries and an environment that is the same everywhere.
    pub(super) fn command(&self) -> Command {
        // A shell that waits for somebody to type would wait for ever.
        let mut command = Command::new("timeout");
        command
            .arg("60")
            .arg(&self.program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "dumb");
        if let Some(libraries) = self.libraries() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// The folder of an unpacked tree that holds shared libraries.
    pub(super) fn libraries(&self) -> Option<PathBuf> {
        let lib = self.tree.as_ref()?.join("usr/lib");
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        Some(lib.join(triplet)).filter(|folder| folder.is_dir())
    }
}
