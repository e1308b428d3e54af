//! A cgroup made for one scenario, and a process in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::libc::SIGCHLD;
use nix::sched::{CloneFlags, clone};
use nix::sys::wait::waitpid;

use crate::check::lab::step::{Attempt, Step, Stop};
use crate::host::cgroup2_mount;

/// Enough for connecting and accepting.
const STACK: usize = 256 * 1024;

/// ID of this process's cgroup; `None` if there is no cgroup2 or the cgroup is not visible.
pub(in crate::check) fn own() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A cgroup outside the cgroup namespace is shown as ../.., which the mount does not have.
    if path.split('/').any(|name| name == "..") {
        return None;
    }
    let directory = cgroup2_mount()?.join(path);
    Some(fs::metadata(directory).ok()?.ino())
}

/// A cgroup directly below the root, removed on drop.
#[derive(Debug)]
pub(in crate::check) struct Cgroup {
    directory: PathBuf,
    /// Inode number of the directory.
    pub(in crate::check) id: u64,
}

impl Cgroup {
    /// Makes a cgroup; skips where there is no cgroup2, or where it may not be changed.
    pub(in crate::check) fn make(name: &str) -> Step<Self> {
        let mount = cgroup2_mount().ok_or_else(|| Stop::Skip("no cgroup2 is mounted".into()))?;
        let directory = mount.join(name);
        fs::create_dir(&directory).map_err(|error| match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Stop::Skip(
                format!("cannot make cgroup {}: {error}", directory.display()),
            ),
            _ => Stop::Fail(format!(
                "cannot make cgroup {}: {error}",
                directory.display()
            )),
        })?;
        let found = fs::metadata(&directory).attempt("look at a new cgroup")?;
        Ok(Self {
            directory,
            id: found.ino(),
        })
    }

    /// Runs `work` in a process in this cgroup with this file system uid. The process shares our
    /// memory and open files, so the sockets it makes are ours. It is in the namespaces of the
    /// calling thread, which waits for it.
    pub(in crate::check) fn inside<T>(&self, uid: u32, work: impl Fn() -> Step<T>) -> Step<T> {
        let mut result = None;
        let mut stack = vec![0; STACK];
        let procs = self.directory.join("cgroup.procs");
        let child = Box::new(|| {
            result = Some(enter(&procs, uid).and_then(|()| work()));
            0
        });
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_FILES | CloneFlags::CLONE_VFORK;
        // SAFETY: with CLONE_VFORK this thread is suspended until the child has ended. So the
        // child may use our memory, which it shares like a thread, our thread-local variables, and
        // a stack that lives in this frame.
        let child = unsafe { clone(child, &mut stack, flags, Some(SIGCHLD)) };
        let child = child.map_err(io::Error::from).attempt("make a process")?;
        waitpid(child, None)
            .map_err(io::Error::from)
            .attempt("wait for a process")?;
        result.unwrap_or_else(|| Err(Stop::Fail("the process in the cgroup died".into())))
    }
}

/// Moves the calling process to the cgroup, then changes its file system uid: with the other uid it
/// would not be allowed to move.
fn enter(procs: &PathBuf, uid: u32) -> Step<()> {
    let moved = File::options().write(true).open(procs);
    let moved = moved.and_then(|mut procs| procs.write_all(b"0"));
    moved.attempt("move a process to a cgroup")?;
    // SAFETY: setfsuid changes credentials of the calling task and nothing else.
    unsafe { libc::setfsuid(uid) };
    // setfsuid reports no error but returns the previous uid.
    // SAFETY: as above; -1 is no uid, so nothing changes.
    let now = unsafe { libc::setfsuid(u32::MAX) };
    if now.cast_unsigned() == uid {
        Ok(())
    } else {
        Err(Stop::Fail(format!("cannot become file system uid {uid}")))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // If it cannot be removed, an empty cgroup is left.
        let _ = fs::remove_dir(&self.directory);
    }
}
