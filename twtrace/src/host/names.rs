//! Names of users, network namespaces and cgroups.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroups::{Cgroup, Cgroups};
use crate::event::Named;
use crate::text::Text;

/// How often at most the directory of namespaces is read again for an unknown number.
const REFRESH: Duration = Duration::from_secs(1);

/// Names of one kind that are remembered, and their bytes.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 4 << 20;

/// Names for numbers, as far as this host has them.
#[derive(Debug)]
pub struct Names {
    users: Called,
    netns: Called,
    cgroups: Cgroups,
    source: Option<Source>,
}

/// Names by number, as many as fit; later ones stay numbers.
#[derive(Debug, Default)]
struct Called {
    names: HashMap<u32, Text>,
    bytes: usize,
}

#[derive(Debug)]
struct Source {
    directory: PathBuf,
    read: Instant,
}

impl Names {
    /// No names at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            users: Called::default(),
            netns: Called::default(),
            cgroups: Cgroups::none(),
            source: None,
        }
    }

    /// Those that a recording holds, and no others: it may come from another host.
    #[must_use]
    pub fn of_recording(named: Named) -> Self {
        let mut names = Self::none();
        names.add(named);
        names
    }

    /// Adds names.
    pub fn add(&mut self, named: Named) {
        self.users.extend(named.users);
        self.netns.extend(named.netns);
        for (id, path) in named.cgroups {
            self.cgroups.insert(id, path);
        }
    }

    /// The names of this host: `/etc/passwd`, `/run/netns`, "host" for pid 1's namespace, and the
    /// directories of cgroup2.
    #[must_use]
    pub fn of_this_host() -> Self {
        let mut names = Self::none();
        if let Ok(passwd) = fs::read_to_string("/etc/passwd") {
            names.users.extend(users(&passwd));
        }
        let directory = PathBuf::from("/run/netns");
        names.netns.extend(namespaces(&directory));
        if let Some(host) = inode(Path::new("/proc/1/ns/net")) {
            names.netns.extend([(host, "host".into())]);
        }
        names.cgroups = Cgroups::of_this_host();
        names.source = Some(Source {
            directory,
            read: Instant::now(),
        });
        names
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self, uid: u32) -> Option<&Text> {
        self.users.names.get(&uid)
    }

    /// The namespace's name. One that was made meanwhile is looked up again now and then.
    pub fn netns(&mut self, inode: u32) -> Option<&Text> {
        if !self.netns.names.contains_key(&inode) {
            self.refresh();
        }
        self.netns.names.get(&inode)
    }

    /// The cgroup with this id. One that is gone is remembered if it was asked for before.
    pub fn cgroup(&mut self, id: u64) -> Option<&Cgroup> {
        self.cgroups.get(id)
    }

    fn refresh(&mut self) {
        if let Some(source) = &mut self.source
            && source.read.elapsed() >= REFRESH
        {
            source.read = Instant::now();
            for (inode, name) in namespaces(&source.directory) {
                if !self.netns.names.contains_key(&inode) {
                    self.netns.extend([(inode, name)]);
                }
            }
        }
    }
}

impl Extend<(u32, Text)> for Called {
    fn extend<I: IntoIterator<Item = (u32, Text)>>(&mut self, names: I) {
        for (number, name) in names {
            let before = self.names.get(&number).map(|name| name.len());
            let bytes = self.bytes + name.len() - before.unwrap_or(0);
            if bytes <= MOST_BYTES && (before.is_some() || self.names.len() < MOST) {
                self.names.insert(number, name);
                self.bytes = bytes;
            }
        }
    }
}

fn users(passwd: &str) -> HashMap<u32, Text> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, Text::new(name)))
    };
    // The first entry of a uid counts, as for getpwuid.
    let mut users = HashMap::new();
    for (uid, name) in passwd.lines().filter_map(user) {
        users.entry(uid).or_insert(name);
    }
    users
}

fn namespaces(directory: &Path) -> HashMap<u32, Text> {
    let Ok(entries) = fs::read_dir(directory) else {
        return HashMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = Text::of_bytes(entry.file_name().as_bytes());
            Some((inode(&entry.path())?, name))
        })
        .collect()
}

/// The inode number of a namespace; `None` of what is no namespace, such as a file that was
/// forgotten in /run/netns.
fn inode(path: &Path) -> Option<u32> {
    let nsfs = fs::metadata("/proc/self/ns/net").ok()?.dev();
    let found = fs::metadata(path)
        .ok()
        .filter(|found| found.dev() == nsfs)?;
    u32::try_from(found.ino()).ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn users_are_read_from_passwd() {
        let users = users("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbroken\nweb:x:33:33\n");
        assert_eq!(users[&0], "root");
        assert_eq!(users[&33], "web");
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn namespaces_are_found_by_inode_number_and_other_files_are_not() {
        let own = Path::new("/proc/self/ns/net");
        let directory = std::env::temp_dir().join(format!("twtrace-names-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        symlink(own, directory.join("web-7")).unwrap();
        fs::write(directory.join("forgotten"), "").unwrap();
        let names = namespaces(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(names, [(inode(own).unwrap(), "web-7".into())].into());
    }

    #[test]
    fn whatever_a_name_holds_it_is_shown_and_not_obeyed() {
        let users = users("\x1b[2Jroot:x:0:0\nw\u{202e}eb:x:33:33\n");
        assert_eq!(users[&0], r"\x1b[2Jroot");
        assert_eq!(users[&33], r"w\u{202e}eb");
        let directory = std::env::temp_dir().join(format!("twtrace-evil-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let own = Path::new("/proc/self/ns/net");
        symlink(
            own,
            directory.join(OsStr::from_bytes(b"a\x1b]0;\x07\xff\n")),
        )
        .unwrap();
        let inode = inode(own).unwrap();
        let names = namespaces(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(names[&inode], r"a\x1b]0;\x07\xff\x0a");
    }

    #[test]
    fn no_more_names_are_remembered_than_there_is_room_for() {
        let mut called = Called::default();
        called.extend((0..70_000).map(|number| (number, "name".into())));
        assert_eq!(called.names.len(), MOST);
        called.extend([(0, "later".into()), (69_999, "too late".into())]);
        assert_eq!(called.names[&0], "later");
        assert_eq!(called.names.get(&69_999), None);
        let mut called = Called::default();
        called.extend((0..70_000).map(|number| (number, "x".repeat(1_000).into())));
        assert!(called.bytes <= MOST_BYTES && called.names.len() > 4_000);
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_names() {
        assert!(namespaces(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn without_names_every_number_stays_a_number() {
        let mut names = Names::none();
        assert_eq!(names.user(0), None);
        assert_eq!(names.netns(1), None);
    }
}
