//! The kernel's own TCP counters, per network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::error::{Error, Result};
use crate::event::KernelCounters;
use crate::kernel::netns::{self, Netns, Way};
use crate::text::Text;

/// The TcpExt counters that tell of TIME_WAIT and of refusals; older kernels lack some.
pub(super) const NAMES: [&str; 15] = [
    "TW",
    "TWRecycled",
    "TWKilled",
    "PAWSActive",
    "PAWSEstab",
    "PAWSOldAck",
    "PAWSPassive",
    "PAWSTimewait",
    "TCPACKSkippedFinWait2",
    "TCPACKSkippedPAWS",
    "TCPACKSkippedSynRecv",
    "TCPACKSkippedTimeWait",
    "TCPSYNChallenge",
    "TCPTimeWaitOverflow",
    "TSEcrRejected",
];

/// The namespaces of the system and a way to the counters of each.
///
/// Keeps no namespace alive, see [`netns`].
#[derive(Debug)]
pub struct Namespaces {
    /// Only this one, by inode number.
    filter: Option<u32>,
    /// How many there were at the last look, those that the filter leaves out included.
    all: u32,
    ways: BTreeMap<u32, Way>,
}

impl Namespaces {
    /// Finds all namespaces, or only the one with this inode number.
    pub fn find(filter: Option<u32>) -> Result<Self> {
        let mut found = Self {
            filter,
            all: 0,
            ways: BTreeMap::new(),
        };
        found.refresh();
        match filter {
            Some(inode) if found.ways.is_empty() => Err(no_such_namespace(inode)),
            _ => Ok(found),
        }
    }

    /// Looks for new namespaces, and for another way to those that lost theirs.
    pub fn refresh(&mut self) {
        self.ways.retain(|inode, way| way.inode() == Some(*inode));
        let all = netns::find_all();
        self.all = all.len() as u32;
        for (inode, way) in all {
            if self.filter.is_none_or(|wanted| wanted == inode) {
                self.ways.entry(inode).or_insert(way);
            }
        }
    }

    /// Reads the counters of each namespace that is still there.
    ///
    /// One whose last known task left is searched for again; what is not found then is gone.
    pub fn read(&mut self) -> Vec<KernelCounters> {
        let (mut read, lost) = self.read_known();
        if !lost.is_empty() {
            self.refresh();
            read.extend(
                self.read_known()
                    .0
                    .into_iter()
                    .filter(|one| lost.contains(&one.netns)),
            );
        }
        read
    }

    /// How many there are, whatever the filter.
    #[must_use]
    pub fn count_all(&self) -> u32 {
        self.all
    }

    /// The namespaces known, by inode number.
    pub fn inodes(&self) -> impl Iterator<Item = u32> + '_ {
        self.ways.keys().copied()
    }

    /// Each namespace by its inode number, opened if it is still there.
    pub fn each(&self) -> impl Iterator<Item = (u32, Result<Netns>)> + '_ {
        self.ways.iter().map(|(inode, way)| (*inode, way.open()))
    }

    /// Opens each namespace that is still there.
    pub fn open(&self) -> impl Iterator<Item = Netns> + '_ {
        self.ways.values().filter_map(|way| way.open().ok())
    }

    fn read_known(&self) -> (Vec<KernelCounters>, BTreeSet<u32>) {
        let mut read = Vec::with_capacity(self.ways.len());
        let mut lost = BTreeSet::new();
        for (inode, way) in &self.ways {
            // A task can move on between the look and the read: looked at again afterwards.
            let counters = way
                .read_proc_net("netstat")
                .and_then(|text| parse(*inode, &text));
            match counters {
                Ok(counters) if way.inode() == Some(*inode) => read.push(counters),
                _ => drop(lost.insert(*inode)),
            }
        }
        (read, lost)
    }
}

/// The counters of all namespaces, or of the one with this inode number.
pub fn read_all(filter: Option<u32>) -> Result<Vec<KernelCounters>> {
    Ok(Namespaces::find(filter)?.read())
}

/// The counters of the calling thread's namespace.
pub fn read_current() -> Result<KernelCounters> {
    const PATH: &str = "/proc/thread-self/net/netstat";
    let text = fs::read_to_string(PATH)
        .map_err(|error| Error::new(format!("cannot read {PATH}: {error}")))?;
    parse(Netns::current()?.inode, &text)
}

fn no_such_namespace(inode: u32) -> Error {
    Error::new(format!("no network namespace has inode number {inode}"))
        .hint("lsns -t net lists those that have processes")
}

/// `/proc/net/netstat` is pairs of lines: `TcpExt: name name …`, `TcpExt: value value …`.
fn parse(netns: u32, text: &str) -> Result<KernelCounters> {
    let tcp_ext = tcp_ext(text)
        .ok_or_else(|| Error::new("cannot read /proc/net/netstat: it has no TcpExt lines"))?;
    Ok(KernelCounters { netns, tcp_ext })
}

/// Ours of the `TcpExt` counters; `None` if there are none at all.
pub(super) fn tcp_ext(text: &str) -> Option<BTreeMap<Text, u64>> {
    Some(
        section(text, "TcpExt: ")?
            .filter(|(name, _)| NAMES.contains(name))
            .map(|(name, value)| (name.into(), value))
            .collect(),
    )
}

/// Names and values of one pair of lines, negative values left out; `None` if it is not there.
pub(super) fn section<'a>(
    text: &'a str,
    start: &str,
) -> Option<impl Iterator<Item = (&'a str, u64)> + use<'a>> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(start));
    let (names, values) = (lines.next()?, lines.next()?);
    let both = names.split(' ').zip(values.split(' '));
    Some(both.filter_map(|(name, value)| Some((name, value.parse().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counters_of_time_wait_are_kept() {
        let text =
            "TcpExt: SyncookiesSent TW TWRecycled NewName\nTcpExt: 5 19 3 7\nIpExt: A\nIpExt: 1\n";
        let counters = parse(7, text).unwrap();
        let expected = [("TW".into(), 19), ("TWRecycled".into(), 3)];
        assert_eq!(
            counters,
            KernelCounters {
                netns: 7,
                tcp_ext: expected.into()
            }
        );
        assert!(parse(7, "IpExt: A\nIpExt: 1\n").is_err());
        assert!(parse(7, "TcpExt: TW\n").is_err());
    }

    #[test]
    fn our_own_namespace_has_counters() {
        let own = read_current().unwrap();
        assert!(own.tcp_ext.contains_key("TWRecycled"));
        let found = read_all(Some(own.netns)).unwrap();
        assert_eq!(
            found.iter().map(|one| one.netns).collect::<Vec<_>>(),
            [own.netns]
        );
        assert!(read_all(Some(1)).is_err());
    }
}
