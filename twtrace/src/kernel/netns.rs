//! Network namespaces: find them, enter them.
//!
//! Nothing here is held open for longer than one read: an open namespace file keeps its namespace
//! alive, and a tracer that does so would prevent the very ends it wants to see. What is kept is a
//! *way* to a namespace: a pinned `/proc/PID[/task/TID]` directory or the path of a bind mount.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};

use super::threads::beside;
use crate::error::{Error, Result};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Where `ip netns` keeps its bind mounts when they are not in our own mount table.
const NAMED: &str = "/run/netns";

/// An open network namespace. While it lives, the namespace cannot go away.
#[derive(Debug)]
pub struct Netns {
    /// Inode number, as in `net:[4026531833]`.
    pub inode: u32,
    file: File,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// The namespace behind a `/proc/PID/ns/net` or a bind mount of one.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let inode = inode(&file.metadata()?);
            Ok(Self { inode, file })
        };
        open().map_err(|error| {
            Error::new(format!(
                "cannot open network namespace {}: {error}",
                path.display()
            ))
        })
    }

    /// Moves the calling thread there.
    pub fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|error| {
            Error::new(format!(
                "cannot enter network namespace {}: {error}",
                self.inode
            ))
            .hint("setns needs CAP_SYS_ADMIN")
        })
    }

    /// Runs `work` in a thread of its own inside this namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || {
            self.enter()?;
            Ok(work())
        };
        beside("netns", inside, || ())?.0
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling thread into a new, empty network namespace.
pub fn enter_new() -> Result<u32> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| {
        Error::new(format!("cannot make a network namespace: {error}"))
            .hint("unshare needs CAP_SYS_ADMIN")
    })?;
    Ok(Netns::current()?.inode)
}

/// Sets the loopback interface of the calling thread's namespace up; a new one has it down.
pub fn bring_up_loopback() -> Result<()> {
    set_loopback_up()
        .map_err(|error| Error::new(format!("cannot set the loopback interface up: {error}")))
}

fn set_loopback_up() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: all zeroes is a valid ifreq: integers, addresses and null pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes_with_nul()) {
        *to = from.cast_signed();
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(up).map_err(io::Error::other)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is, and writes nothing.
    let done = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A way to a namespace that does not keep it alive.
#[derive(Debug)]
pub enum Way {
    /// An open `/proc/PID` or `/proc/PID/task/TID`: reads through it fail once the task is gone,
    /// even if the number is given to another.
    Task(File),
    /// A bind mount.
    Mount(PathBuf),
}

impl Way {
    /// The inode number of the namespace it leads to now; `None` if it leads nowhere any more.
    #[must_use]
    pub fn inode(&self) -> Option<u32> {
        fs::metadata(self.namespace())
            .ok()
            .map(|found| inode(&found))
    }

    /// Reads a file of `/proc/net` as that namespace shows it, e.g. `netstat`.
    pub fn read_proc_net(&self, name: &str) -> Result<String> {
        match self {
            Self::Task(_) => read(&self.base().join("net").join(name)),
            Self::Mount(path) => {
                Netns::open(path)?.run(|| read(&Path::new("/proc/thread-self/net").join(name)))?
            }
        }
    }

    /// Opens the namespace.
    pub fn open(&self) -> Result<Netns> {
        Netns::open(&self.namespace())
    }

    fn base(&self) -> PathBuf {
        match self {
            Self::Task(task) => PathBuf::from(format!("/proc/self/fd/{}", task.as_raw_fd())),
            Self::Mount(path) => path.clone(),
        }
    }

    fn namespace(&self) -> PathBuf {
        match self {
            Self::Task(_) => self.base().join("ns/net"),
            Self::Mount(_) => self.base(),
        }
    }
}

/// All namespaces that some task is in or that are mounted somewhere, by inode number.
///
/// Not found: those that only an open file or socket keeps alive.
#[must_use]
pub fn find_all() -> BTreeMap<u32, Way> {
    let mut found = BTreeMap::new();
    add_tasks(&mut found);
    add_mounts(&mut found);
    found
}

fn add_tasks(found: &mut BTreeMap<u32, Way>) {
    for process in numbered_entries(Path::new("/proc")) {
        add_task(found, &process);
        let tasks = process.join("task");
        // The link count is 2 plus the number of threads; most processes have one.
        if fs::metadata(&tasks).is_ok_and(|tasks| tasks.nlink() > 3) {
            for thread in numbered_entries(&tasks) {
                add_task(found, &thread);
            }
        }
    }
}

fn add_task(found: &mut BTreeMap<u32, Way>, task: &Path) {
    // A task that ended meanwhile, or that we may not look at, leads to no namespace.
    let Ok(namespace) = fs::metadata(task.join("ns/net")) else {
        return;
    };
    if found.contains_key(&inode(&namespace)) {
        return;
    }
    let directory = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | nix::libc::O_DIRECTORY)
        .open(task);
    let Ok(directory) = directory else { return };
    let way = Way::Task(directory);
    if let Some(inode) = way.inode() {
        found.insert(inode, way);
    }
}

fn numbered_entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .map(|entry| entry.path())
}

fn add_mounts(found: &mut BTreeMap<u32, Way>) {
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounted.lines().filter_map(mounted_namespace);
    let named = fs::read_dir(NAMED)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for path in mounts.chain(named) {
        if let Ok(netns) = Netns::open(&path) {
            found.entry(netns.inode).or_insert(Way::Mount(path));
        }
    }
}

/// The mount point of a line of mountinfo if it is a bind-mounted network namespace:
/// `29 23 0:4 net:[4026532200] /run/netns/web rw shared:9 - nsfs nsfs rw`.
fn mounted_namespace(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    root.starts_with("net:[")
        .then(|| PathBuf::from(unescape(point)))
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))
}

/// Namespace inode numbers are 32 bits wide in the kernel (`ns_common.inum`).
fn inode(metadata: &Metadata) -> u32 {
    u32::try_from(metadata.ino()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_among_all() {
        let own = Netns::current().unwrap().inode;
        let all = find_all();
        assert_eq!(all[&own].inode(), Some(own));
        assert!(
            all[&own]
                .read_proc_net("netstat")
                .unwrap()
                .starts_with("TcpExt:")
        );
    }

    #[test]
    fn mountinfo_tells_namespaces_from_other_mounts() {
        let namespace = "29 23 0:4 net:[4026532200] /run/netns/a\\040b rw shared:9 - nsfs nsfs rw";
        assert_eq!(
            mounted_namespace(namespace),
            Some(PathBuf::from("/run/netns/a b"))
        );
        assert_eq!(
            mounted_namespace("29 23 0:4 / /proc rw - proc proc rw"),
            None
        );
        assert_eq!(mounted_namespace("29 23"), None);
    }
}
