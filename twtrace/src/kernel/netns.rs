//! Network namespaces: find them, enter them, tell them apart.
//!
//! Nothing here is held open for longer than one read: an open namespace file keeps its namespace
//! alive, and a tracer that does so would prevent the very ends it wants to see. What is kept is
//! [`Ways`] to a namespace, which are paths. A path may lead elsewhere by the time it is used: tasks
//! move on, their numbers and the names of mounts are given to others. So what was opened is
//! compared with what was meant, and there is no other way to open one.

mod abroad;
mod find;
mod way;

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

pub use self::abroad::{Abroad, Visitor, abroad};
pub use self::find::find_all;
pub use self::way::Ways;
use super::syscall;
use super::threads::beside;
use crate::error::{Error, Result};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

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
        Self::at(Path::new(OWN))
    }

    /// Whatever namespace the path leads to now.
    fn at(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = open_namespace(path)?;
            let inode = inode(&file)?;
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

/// The inode number of the network namespace behind a path such as `/proc/PID/ns/net` or a bind
/// mount of one. Anything else is not opened: a FIFO would block.
pub fn inode_of(path: &Path) -> io::Result<u32> {
    inode(&open_namespace(path)?)
}

/// The cookie of the calling thread's namespace, which no other gets until the next boot, as they
/// get inode numbers; `None` where the kernel does not tell (before 5.14).
#[must_use]
pub fn cookie() -> Option<u64> {
    let socket = UnixDatagram::unbound().ok()?;
    syscall::netns_cookie(socket.as_fd()).ok()
}

/// Looks before it opens.
fn open_namespace(path: &Path) -> io::Result<File> {
    let no_namespace = || io::Error::other("it is not a network namespace");
    let place = File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    if fstatfs(&place)?.filesystem_type() != NSFS_MAGIC {
        return Err(no_namespace());
    }
    let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    match syscall::namespace_type(file.as_fd())? {
        libc::CLONE_NEWNET => Ok(file),
        _ => Err(no_namespace()),
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

/// Namespace inode numbers are 32 bits wide in the kernel (`ns_common.inum`).
fn inode(file: &File) -> io::Result<u32> {
    u32::try_from(file.metadata()?.ino()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn our_own_namespace_is_among_all() {
        let own = Netns::current().unwrap().inode;
        let all = find_all();
        assert_eq!(all[&own].open().unwrap().inode, own);
        let netstat = all[&own].read_proc_net("netstat").unwrap();
        assert!(netstat.starts_with("TcpExt:"));
    }

    #[test]
    fn what_is_no_network_namespace_is_not_taken_for_one() {
        let directory = std::env::temp_dir().join(format!("twtrace-netns-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("file");
        fs::write(&file, "").unwrap();
        let fifo = directory.join("fifo");
        // Opened like a file, it would wait for somebody to write.
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let of_mounts = Path::new("/proc/self/ns/mnt").to_owned();
        let nothing = directory.join("nothing");
        for (path, why) in [
            (&file, "not a network namespace"),
            (&fifo, "not a network namespace"),
            (&of_mounts, "not a network namespace"),
            (&nothing, "No such file"),
        ] {
            let error = inode_of(path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        fs::remove_dir_all(&directory).unwrap();
        let own = Netns::current().unwrap().inode;
        assert_eq!(inode_of(Path::new("/proc/self/ns/net")).unwrap(), own);
    }

    #[test]
    fn the_cookie_stays_the_same() {
        assert_eq!(cookie(), cookie());
    }
}
