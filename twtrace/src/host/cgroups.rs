//! Paths of cgroups by id.
//!
//! The id that a socket's cgroup has in the kernel (`kn->id`) is the inode number of a directory
//! of cgroup2, and opens it as a file handle. Where that is refused, the directories are walked.

use std::collections::HashMap;
use std::ffi::c_int;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::owner::Owner;
use crate::text::Text;

/// Most directories that a walk looks at, and half of the cgroups that are remembered.
const MOST: usize = 16_384;
/// Bytes of the names of half of them.
const MOST_BYTES: usize = 4 << 20;
/// How often at most the directories are walked again for an unknown id.
const REFRESH: Duration = Duration::from_secs(5);
/// The type of a kernfs file handle (include/linux/exportfs.h), since 5.5.
const FILEID_KERNFS: c_int = 0xfe;

/// A cgroup and what its path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Below the mount of cgroup2; `/` is the root.
    pub path: Text,
    pub owner: Owner,
    /// [`Owner::short`] and [`Owner::long`], made once: they are shown for every event.
    pub short: Option<Text>,
    pub long: Option<Text>,
}

/// Looks up cgroups and remembers them, also those that are gone since.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// Where cgroup2 is mounted; `None` if nothing is looked up here.
    mount: Option<PathBuf>,
    /// `None` is one that is gone.
    known: Recent<Option<Cgroup>>,
    /// Cgroups can be opened by id, as far as is known.
    handles: bool,
    walked: Option<Instant>,
}

impl Cgroup {
    /// Reads what a path tells.
    #[must_use]
    pub fn new(path: Text) -> Self {
        let owner = Owner::of_path(&path);
        Self {
            short: owner.short(),
            long: owner.long(),
            owner,
            path,
        }
    }

    /// Size of its texts in bytes.
    fn bytes(&self) -> usize {
        let Self {
            path,
            owner:
                Owner {
                    unit,
                    container,
                    pod,
                },
            short,
            long,
        } = self;
        let each = [unit, container, pod, short, long].into_iter().flatten();
        path.len() + each.map(|text| text.len()).sum::<usize>()
    }
}

impl Cgroups {
    /// Looks nothing up.
    pub(super) fn none() -> Self {
        Self {
            mount: None,
            known: Recent::new(MOST, MOST_BYTES),
            handles: true,
            walked: None,
        }
    }

    /// Those of this host. All that are there when the first is asked for are remembered: a
    /// mini-socket may well outlive the cgroup that made it.
    pub(super) fn of_this_host() -> Self {
        Self {
            mount: mount(),
            ..Self::none()
        }
    }

    pub(super) fn insert(&mut self, id: u64, path: Text) {
        self.know(id, Some(path));
    }

    fn know(&mut self, id: u64, path: Option<Text>) {
        let cgroup = path.map(Cgroup::new);
        let bytes = cgroup.as_ref().map_or(0, Cgroup::bytes);
        self.known.insert(id, cgroup, bytes);
    }

    /// `None` if it was gone before anybody asked, or is of cgroup v1.
    pub(super) fn get(&mut self, id: u64) -> Option<&Cgroup> {
        if !self.known.has(id) {
            self.look_up(id);
        }
        self.known.get(id)?.as_ref()
    }

    fn look_up(&mut self, id: u64) {
        let Some(mount) = self.mount.clone() else {
            return;
        };
        if self.walked.is_none() {
            self.walk(&mount);
        }
        if self.handles && !self.known.has(id) {
            match by_handle(&mount, id) {
                Ok(found) => self.know(id, found),
                Err(_) => self.handles = false,
            }
        }
        let refresh = self.walked.is_none_or(|at| at.elapsed() >= REFRESH);
        if !self.handles && !self.known.has(id) && refresh {
            self.walk(&mount);
        }
    }

    fn walk(&mut self, mount: &Path) {
        for (id, path) in walk(mount, MOST) {
            self.insert(id, path);
        }
        self.walked = Some(Instant::now());
    }
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside v1.
#[must_use]
pub(crate) fn mount() -> Option<PathBuf> {
    find_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The mount that shows most: of the root of the hierarchy if there is one.
fn find_mount(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.split(' ').next() == Some("cgroup2")).then(|| (root != "/", PathBuf::from(point)))
    });
    let best = mounts.min_by_key(|&(partial, _)| partial);
    best.map(|(_, point)| point)
}

/// Opens a cgroup by its id. `Ok(None)` if there is none below the mount, an error if this is not
/// possible here.
fn by_handle(mount: &Path, id: u64) -> io::Result<Option<Text>> {
    /// `struct file_handle` of fcntl.h, with the bytes that kernfs wants.
    #[repr(C)]
    struct Handle {
        handle_bytes: u32,
        handle_type: c_int,
        id: [u8; 8],
    }
    let handle = Handle {
        handle_bytes: size_of::<u64>() as u32,
        handle_type: FILEID_KERNFS,
        id: id.to_ne_bytes(),
    };
    let root = File::open(mount)?;
    // SAFETY: the kernel reads a file_handle with as many bytes as it says, and writes nothing.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            &raw const handle,
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    if opened < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ESTALE) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the descriptor is new and nobody else's; the kernel's are ints.
    let opened = unsafe { OwnedFd::from_raw_fd(opened as c_int) };
    let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    Ok(path.strip_prefix(mount).ok().map(below_root))
}

/// `/a/b` of `a/b`.
fn below_root(path: &Path) -> Text {
    Text::of_bytes(&[b"/", path.as_os_str().as_bytes()].concat())
}

/// The ids of all cgroups and their paths, up to so many, those near the root first.
fn walk(mount: &Path, most: usize) -> Vec<(u64, Text)> {
    let mut found = Vec::new();
    let mut level = vec![mount.to_owned()];
    while !level.is_empty() && found.len() < most {
        let mut below = Vec::new();
        for directory in level {
            // One that went away meanwhile is skipped.
            let Ok(metadata) = fs::metadata(&directory) else {
                continue;
            };
            let path = directory.strip_prefix(mount).ok().map(below_root);
            found.extend(path.map(|path| (metadata.ino(), path)));
            below.extend(directories(&directory));
        }
        level = below;
    }
    found.truncate(most);
    found
}

fn directories(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Remembers what was asked for last. When `young` is full it becomes `old`, and what was old and
/// not asked for since is forgotten.
#[derive(Debug)]
struct Recent<V> {
    most: usize,
    most_bytes: usize,
    young: HashMap<u64, Weighed<V>>,
    old: HashMap<u64, Weighed<V>>,
    /// Of what is young.
    bytes: usize,
}

#[derive(Debug)]
struct Weighed<V> {
    value: V,
    bytes: usize,
}

impl<V> Recent<V> {
    fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most,
            most_bytes,
            young: HashMap::new(),
            old: HashMap::new(),
            bytes: 0,
        }
    }

    fn has(&self, key: u64) -> bool {
        self.young.contains_key(&key) || self.old.contains_key(&key)
    }

    fn get(&mut self, key: u64) -> Option<&V> {
        if !self.young.contains_key(&key)
            && let Some(Weighed { value, bytes }) = self.old.remove(&key)
        {
            self.insert(key, value, bytes);
        }
        self.young.get(&key).map(|known| &known.value)
    }

    /// `bytes`: what the value takes beside itself.
    fn insert(&mut self, key: u64, value: V, bytes: usize) {
        let full = self.young.len() >= self.most || self.bytes + bytes > self.most_bytes;
        if full && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        if let Some(before) = self.young.insert(key, Weighed { value, bytes }) {
            self.bytes -= before.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_mount_is_found_beside_v1_and_below_a_container() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let unified = Path::new("/sys/fs/cgroup/unified");
        assert_eq!(find_mount(hybrid).as_deref(), Some(unified));
        let bound = "50 23 0:26 /docker/1 /mnt rw shared:4 - cgroup2 cgroup rw\n\
                     51 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup rw\n";
        let whole = Path::new("/sys/fs/cgroup");
        assert_eq!(find_mount(bound).as_deref(), Some(whole));
        let only = bound.lines().next().unwrap();
        assert_eq!(find_mount(only).as_deref(), Some(Path::new("/mnt")));
        assert_eq!(
            find_mount("32 31 0:29 / /x rw - cgroup cgroup rw\nnonsense\n"),
            None
        );
    }

    #[test]
    fn a_walk_finds_directories_by_inode_number() {
        let root = std::env::temp_dir().join(format!("twtrace-cgroups-{}", std::process::id()));
        let inner = root.join("system.slice/nginx.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.join("cgroup.procs"), "").unwrap();
        let ino = fs::metadata(&inner).unwrap().ino();
        let (all, some) = (walk(&root, 100), walk(&root, 2));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].1, "/");
        assert!(all.contains(&(ino, "/system.slice/nginx.service".into())));
        assert_eq!(some, all[..2], "those near the root first");
    }

    #[test]
    fn a_cgroup_of_any_name_is_shown_and_not_obeyed() {
        let root =
            std::env::temp_dir().join(format!("twtrace-evil-cgroups-{}", std::process::id()));
        let raw = OsStr::from_bytes(b"a\x1b[2J\xff.service");
        for directory in [Path::new(raw), Path::new(r"b\x1b[1m\x0a.service")] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let found = walk(&root, 10);
        fs::remove_dir_all(&root).unwrap();
        let mut shown: Vec<_> = found
            .into_iter()
            .skip(1)
            .map(|(_, path)| Cgroup::new(path))
            .map(|cgroup| (cgroup.path.to_string(), cgroup.long.unwrap().to_string()))
            .collect();
        shown.sort_unstable();
        let [a, b] = [r"a\x1b[2J\xff", r"b\x1b[1m\x0a"];
        let expected = [a, b].map(|name| (format!("/{name}.service"), name.to_owned()));
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_a_host_only_what_was_told_is_known() {
        let mut cgroups = Cgroups::none();
        cgroups.insert(7, "/docker".into());
        assert_eq!(cgroups.get(7).unwrap().path, "/docker");
        assert_eq!(cgroups.get(8), None);
        assert_eq!(cgroups.get(8), None, "also when asked again");
    }

    #[test]
    fn what_was_not_asked_for_is_forgotten_first() {
        let mut recent = Recent::new(10, 1_000);
        for key in 0..1_000 {
            recent.insert(key, key, 1);
            assert_eq!(recent.get(0), Some(&0), "after {key}");
            assert_eq!(recent.get(key), Some(&key));
        }
        assert!(recent.young.len() + recent.old.len() <= 20);
        assert_eq!(recent.get(500), None);
    }

    #[test]
    fn long_paths_are_forgotten_sooner() {
        let mut cgroups = Cgroups::none();
        let path = |id: u64| format!("/{}.service/{id}", "x".repeat(900));
        for id in 0..MOST as u64 {
            cgroups.insert(id, path(id).into());
            assert!(cgroups.known.bytes <= MOST_BYTES);
        }
        assert!(cgroups.known.young.len() < MOST / 4);
        let last = MOST as u64 - 1;
        assert_eq!(cgroups.get(last).unwrap().path, path(last).as_str());
        assert_eq!(cgroups.get(0), None);
        // The same once more takes no more room.
        let bytes = cgroups.known.bytes;
        cgroups.insert(last, path(last).into());
        assert_eq!(cgroups.known.bytes, bytes);
    }
}
