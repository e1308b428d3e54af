//! All namespaces that can be found.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::inode_of;
use super::way::{Ways, namespace_of};

/// Where `ip netns` keeps its bind mounts when they are not in our own mount table.
const NAMED: &str = "/run/netns";

/// Ways to each namespace, by its inode number.
type All = BTreeMap<u32, Ways>;

/// All namespaces that some task is in or that are mounted somewhere, by inode number.
///
/// Not found: those that only an open file or socket keeps alive.
#[must_use]
pub fn find_all() -> BTreeMap<u32, Ways> {
    let mut found = All::new();
    add_tasks(&mut found);
    add_mounts(&mut found);
    found
}

fn add_tasks(found: &mut All) {
    for process in numbered_entries(Path::new("/proc")) {
        let tasks = process.join("task");
        let leader = namespace_of(&process);
        if let Some(inode) = leader {
            ways(found, inode).add_process(process);
        }
        // The link count is 2 plus the number of threads; most processes have one.
        if !fs::metadata(&tasks).is_ok_and(|tasks| tasks.nlink() > 3) {
            continue;
        }
        for thread in numbered_entries(&tasks) {
            let inode = namespace_of(&thread);
            if let Some(inode) = inode.filter(|_| inode != leader) {
                ways(found, inode).add_thread(thread);
            }
        }
    }
}

fn ways(found: &mut All, inode: u32) -> &mut Ways {
    found.entry(inode).or_insert_with(|| Ways::new(inode))
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

fn add_mounts(found: &mut All) {
    // A mount point may be any bytes, not only text.
    let mounted = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mounted = String::from_utf8_lossy(&mounted);
    let mut mounts: Vec<_> = mounted.lines().filter_map(mounted_namespace).collect();
    let named = fs::read_dir(NAMED).into_iter().flatten().flatten();
    mounts.extend(named.map(|entry| entry.path()));
    mounts.sort_unstable();
    mounts.dedup();
    for path in mounts {
        if let Ok(inode) = inode_of(&path) {
            ways(found, inode).add_mount(path);
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

#[cfg(test)]
mod tests {
    use super::*;

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
