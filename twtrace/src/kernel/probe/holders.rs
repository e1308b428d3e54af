//! Which processes hold sockets in FIN_WAIT2. Their descriptors are looked through, as far as this
//! process may and while there is time.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::event::facts::{Holder, Namespace};
use crate::text::Text;

/// Sockets of a namespace that are looked for.
pub(super) const MOST: usize = 16_384;
/// Processes of a namespace that are told.
const TOLD: usize = 3;
/// A host may have a million descriptors.
const PATIENCE: Duration = Duration::from_millis(400);

/// Finds the holders of those sockets, by inode number; both lists are in the same order.
pub(super) fn find(namespaces: &mut [Namespace], held: &[Vec<u32>]) {
    let mut search = Search::new(held);
    search.all();
    for (namespace, holders) in namespaces.iter_mut().zip(search.holders) {
        if let Some(full) = &mut namespace.fin_wait_2 {
            full.named = holders.values().sum();
            full.holders = told(&holders);
        }
    }
}

struct Search {
    /// Index of the namespace, by inode number.
    wanted: HashMap<u32, usize>,
    /// Sockets by pid, for each namespace.
    holders: Vec<BTreeMap<u32, u64>>,
    started: Instant,
}

impl Search {
    fn new(held: &[Vec<u32>]) -> Self {
        let each = held.iter().enumerate();
        Self {
            wanted: each
                .flat_map(|(index, inodes)| inodes.iter().map(move |&inode| (inode, index)))
                .collect(),
            holders: vec![BTreeMap::new(); held.len()],
            started: Instant::now(),
        }
    }

    fn is_over(&self) -> bool {
        self.wanted.is_empty() || self.started.elapsed() >= PATIENCE
    }

    fn all(&mut self) {
        if self.is_over() {
            return;
        }
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids {
            if self.is_over() {
                return;
            }
            self.one(pid);
        }
    }

    /// A socket that several processes share is the first one's.
    fn one(&mut self, pid: u32) {
        // Those of others may not be looked at.
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        for file in files.into_iter().flatten().flatten() {
            let inode = fs::read_link(file.path()).ok().and_then(|to| socket(&to));
            if let Some(index) = inode.and_then(|inode| self.wanted.remove(&inode)) {
                *self.holders[index].entry(pid).or_default() += 1;
            }
            if self.is_over() {
                return;
            }
        }
    }
}

/// `socket:[18011]`.
fn socket(link: &Path) -> Option<u32> {
    let link = link.to_str()?.strip_prefix("socket:[")?;
    link.strip_suffix(']')?.parse().ok()
}

fn told(holders: &BTreeMap<u32, u64>) -> Vec<Holder> {
    let mut most: Vec<_> = holders.iter().collect();
    most.sort_by_key(|&(&pid, &sockets)| (std::cmp::Reverse(sockets), pid));
    most.truncate(TOLD);
    let holder = |(&pid, &sockets)| Holder {
        pid,
        command: command(pid),
        sockets,
    };
    most.into_iter().map(holder).collect()
}

fn command(pid: u32) -> Text {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    Text::of_bytes(name.trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::super::namespace;
    use super::*;

    #[test]
    fn who_shuts_down_and_does_not_close_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pairs: Vec<_> = (0..3)
            .map(|_| {
                let client = TcpStream::connect(address).unwrap();
                let server = listener.accept().unwrap().0;
                client.shutdown(Shutdown::Write).unwrap();
                (client, server)
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let (found, held) = namespace(7).unwrap();
            let mut namespaces = [found];
            find(&mut namespaces, &[held]);
            let [found] = &namespaces;
            let full = found.fin_wait_2.as_ref().unwrap();
            let own = std::process::id();
            let ours = full.holders.iter().find(|one| one.pid == own);
            // Other tests of this process may hold some, too.
            if ours.is_some_and(|one| one.sockets >= 3 && !one.command.is_empty()) {
                assert!(full.held >= full.named && full.named >= 3, "{full:?}");
                break;
            }
            assert!(Instant::now() < deadline, "{full:?}");
            std::thread::yield_now();
        }
        drop(pairs);
    }

    #[test]
    fn only_a_socket_is_one() {
        assert_eq!(socket(Path::new("socket:[18011]")), Some(18_011));
        assert_eq!(socket(Path::new("pipe:[18011]")), None);
        assert_eq!(socket(Path::new("/tmp/socket:[1]")), None);
    }
}
