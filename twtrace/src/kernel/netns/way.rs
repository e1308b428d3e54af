//! Ways to one namespace.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Netns;
use crate::error::{Error, Result};

/// How many are kept of each kind: the first is enough unless it leads elsewhere by then.
const MOST: usize = 3;

/// Paths that led to one namespace when they were found. They keep neither it nor a descriptor.
#[derive(Debug)]
pub struct Ways {
    inode: u32,
    /// Bind mounts. They are tried first, as a mount does not move to another namespace.
    mounts: Vec<PathBuf>,
    /// `/proc/PID` of processes in it.
    processes: Vec<PathBuf>,
    /// `/proc/PID/task/TID` of other threads. They are tried last: where one thread is elsewhere
    /// than its process, it may soon be elsewhere again.
    threads: Vec<PathBuf>,
}

impl Ways {
    pub(super) fn new(inode: u32) -> Self {
        Self {
            inode,
            mounts: Vec::new(),
            processes: Vec::new(),
            threads: Vec::new(),
        }
    }

    pub(super) fn add_mount(&mut self, path: PathBuf) {
        add(&mut self.mounts, path);
    }

    pub(super) fn add_process(&mut self, path: PathBuf) {
        add(&mut self.processes, path);
    }

    pub(super) fn add_thread(&mut self, path: PathBuf) {
        add(&mut self.threads, path);
    }

    fn tasks(&self) -> impl Iterator<Item = &PathBuf> {
        self.processes.iter().chain(&self.threads)
    }

    /// Opens the namespace by the first way that leads there.
    pub fn open(&self) -> Result<Netns> {
        let mut result = Err(Error::new(format!(
            "nothing leads to network namespace {}",
            self.inode
        )));
        let tasks = self.tasks().map(|task| task.join("ns/net"));
        for path in self.mounts.iter().cloned().chain(tasks) {
            result = self.through(&path);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn through(&self, path: &Path) -> Result<Netns> {
        let netns = Netns::at(path)?;
        if netns.inode == self.inode {
            return Ok(netns);
        }
        Err(Error::new(format!(
            "{} leads to network namespace {} now, not to {}",
            path.display(),
            netns.inode,
            self.inode
        )))
    }

    /// Reads a file of `/proc/net` as that namespace shows it, e.g. `netstat`, without entering it.
    ///
    /// Only tasks lead there. A file of /proc/PID/net belongs to the namespace in which the task
    /// was when it was opened: so the task's namespace is checked before and after.
    pub fn read_proc_net(&self, name: &str) -> Result<String> {
        let mut result = Err(Error::new(format!(
            "no task is in network namespace {}",
            self.inode
        )));
        for task in self.tasks() {
            result = self.read_through(task, name);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn read_through(&self, task: &Path, name: &str) -> Result<String> {
        let cannot = |why: &dyn std::fmt::Display| {
            let path = task.join("net").join(name);
            Error::new(format!("cannot read {}: {why}", path.display()))
        };
        // Exactly this task, even if another gets its number meanwhile.
        let task = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(task)
            .map_err(|error| cannot(&error))?;
        let task = PathBuf::from(format!("/proc/self/fd/{}", task.as_raw_fd()));
        let is_there = || namespace_of(&task) == Some(self.inode);
        let before = is_there();
        let file = File::open(task.join("net").join(name));
        if !(before && is_there()) {
            return Err(cannot(&format!("the task left namespace {}", self.inode)));
        }
        let mut text = String::new();
        file.and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|error| cannot(&error))?;
        Ok(text)
    }
}

/// The namespace in which a task is; `None` if it ended, or may not be looked at.
pub(super) fn namespace_of(task: &Path) -> Option<u32> {
    let found = fs::metadata(task.join("ns/net")).ok()?;
    u32::try_from(found.ino()).ok()
}

fn add(ways: &mut Vec<PathBuf>, path: PathBuf) {
    if ways.len() < MOST {
        ways.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_leads_elsewhere_is_not_taken() {
        let own = Netns::current().unwrap().inode;
        let mut wrong = Ways::new(own - 1);
        wrong.add_process("/proc/self".into());
        wrong.add_mount("/proc/self/ns/net".into());
        let error = wrong.open().unwrap_err();
        assert!(error.message().contains("leads to network namespace"));
        let error = wrong.read_proc_net("netstat").unwrap_err();
        assert!(error.message().contains("the task left"), "{error}");
    }

    #[test]
    fn another_way_is_tried() {
        let own = Netns::current().unwrap().inode;
        let mut ways = Ways::new(own);
        ways.add_mount("/proc/self/ns/mnt".into());
        ways.add_process("/proc/nobody".into());
        ways.add_thread("/proc/thread-self".into());
        assert_eq!(ways.open().unwrap().inode, own);
        assert!(ways.read_proc_net("netstat").is_ok());
    }
}
