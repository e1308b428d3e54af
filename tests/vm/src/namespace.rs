//! Named network namespaces, as `ip netns add` makes them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::loopback;

const FOLDER: &str = "/run/netns";
const CURRENT: &str = "/proc/thread-self/ns/net";

/// A namespace, kept alive by a bind mount at its name.
#[derive(Debug)]
pub(crate) struct Namespace {
    path: PathBuf,
}

impl Namespace {
    /// Makes a namespace with `lo` up.
    pub(crate) fn make(name: &str) -> Result<Self> {
        let path = PathBuf::from(FOLDER).join(name);
        fs::create_dir_all(FOLDER)?;
        File::create(&path)?;
        let before = File::open(CURRENT)?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        loopback::up()?;
        let bind = MsFlags::MS_BIND;
        mount(Some(CURRENT), &path, None::<&str>, bind, None::<&str>)
            .with_context(|| format!("cannot mount {}", path.display()))?;
        setns(before, CloneFlags::CLONE_NEWNET)?;
        Ok(Self { path })
    }

    /// A namespace that was made before.
    pub(crate) fn of_name(name: &str) -> Self {
        Self {
            path: PathBuf::from(FOLDER).join(name),
        }
    }

    pub(crate) fn inode(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }

    /// Runs `work` inside the namespace.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = File::open(CURRENT)?;
        let inside = File::open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))?;
        setns(inside, CloneFlags::CLONE_NEWNET)?;
        let done = work();
        setns(before, CloneFlags::CLONE_NEWNET)?;
        done
    }

    /// Unmounts and removes the name, which is all that kept the namespace alive.
    pub(crate) fn end(self) -> Result<()> {
        umount2(&self.path, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", self.path.display()))?;
        Ok(fs::remove_file(self.path)?)
    }
}

/// Mini-sockets alive in the current namespace, in either substate.
pub(crate) fn mini_sockets() -> Result<u64> {
    mini_sockets_of("thread-self")
}

/// The same in the namespace of a process.
pub(crate) fn mini_sockets_of(process: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/net/sockstat"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: "));
    let mut words = line.unwrap_or_default().split(' ');
    let number = words.find(|word| *word == "tw").and_then(|_| words.next());
    number
        .context("sockstat has no number of mini-sockets")?
        .parse()
        .context("sockstat's number of mini-sockets is not a number")
}

/// Sets a sysctl of the current namespace.
pub(crate) fn sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
        .with_context(|| format!("cannot set {name} to {value}"))
}
