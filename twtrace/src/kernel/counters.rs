//! The kernel's own TCP counters, per network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::error::{Error, Result};
use crate::event::KernelCounters;
use crate::kernel::netns::{self, Abroad, Netns, Visitor, Ways};
use crate::text::Text;

/// The TcpExt counters about TIME_WAIT and refusals; older kernels lack some.
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

/// How often a way to an existing namespace is searched for: tasks may move all the time.
const SEARCHES: usize = 4;

/// The namespaces of the system and ways to each.
///
/// Keeps no namespace alive, see [`netns`].
#[derive(Debug)]
pub struct Namespaces {
    /// Only this one, by inode number.
    filter: Option<u32>,
    /// How many there were at the last look, those that the filter leaves out included.
    all: u32,
    ways: BTreeMap<u32, Ways>,
}

impl Namespaces {
    /// Finds all namespaces, or only the one with this inode number.
    pub fn find(filter: Option<u32>) -> Result<Self> {
        let mut found = Self::none(filter);
        found.refresh();
        match filter {
            Some(inode) if found.ways.is_empty() => Err(no_such_namespace(inode)),
            _ => Ok(found),
        }
    }

    /// None yet, to be looked for later.
    #[must_use]
    pub fn none(filter: Option<u32>) -> Self {
        Self {
            filter,
            all: 0,
            ways: BTreeMap::new(),
        }
    }

    /// Looks for all of them again.
    pub fn refresh(&mut self) {
        let mut all = netns::find_all();
        self.all = all.len() as u32;
        all.retain(|inode, _| self.filter.is_none_or(|wanted| wanted == *inode));
        self.ways = all;
    }

    /// Reads the counters of each namespace that is still there.
    pub fn read(&mut self) -> Vec<KernelCounters> {
        let mut read = Reading(Vec::with_capacity(self.ways.len()));
        // Without a thread nothing is read.
        let _ = netns::abroad(|abroad| self.visit_each(abroad, &mut read));
        read.0
    }

    /// How many there are, whatever the filter.
    #[must_use]
    pub fn count_all(&self) -> u32 {
        self.all
    }

    /// How many mini-sockets there are in all of them, as far as that can be read.
    pub fn mini_sockets(&mut self) -> u32 {
        let mut counting = Counting(0);
        let _ = netns::abroad(|abroad| self.visit_each(abroad, &mut counting));
        counting.0
    }

    /// Takes a visitor to each namespace.
    ///
    /// One to which no way leads any more is searched for again; what is not found then is gone.
    pub fn visit_each(&mut self, abroad: &Abroad, visitor: &mut impl Visitor) {
        let mut left: BTreeSet<u32> = self.ways.keys().copied().collect();
        for _ in 0..SEARCHES {
            self.visit_some(&mut left, abroad, visitor);
            if left.is_empty() {
                return;
            }
            self.refresh();
        }
        for (&inode, ways) in self.ways.iter().filter(|(inode, _)| left.contains(inode)) {
            visitor.tell(inode, ways, None);
        }
    }

    /// Visits those that are left; afterwards, existing ones that were not reached are left.
    fn visit_some(&self, left: &mut BTreeSet<u32>, abroad: &Abroad, visitor: &mut impl Visitor) {
        left.retain(|&inode| {
            let Some(ways) = self.ways.get(&inode) else {
                return false;
            };
            let Ok(netns) = ways.open() else {
                return true;
            };
            let found = abroad.visit(netns, || visitor.look(inode)).ok();
            visitor.tell(inode, ways, found);
            false
        });
    }
}

/// Counts mini-sockets on its way.
struct Counting(u32);

impl Visitor for Counting {
    type Found = Option<u32>;

    fn look(&mut self, _netns: u32) -> Option<u32> {
        mini_sockets(&fs::read_to_string("/proc/thread-self/net/sockstat").ok()?)
    }

    fn tell(&mut self, _netns: u32, ways: &Ways, found: Option<Option<u32>>) {
        let elsewhere = || mini_sockets(&ways.read_proc_net("sockstat").ok()?);
        self.0 += found.unwrap_or_else(elsewhere).unwrap_or(0);
    }
}

/// Reads counters on its way.
struct Reading(Vec<KernelCounters>);

impl Visitor for Reading {
    type Found = Seen;

    fn look(&mut self, _netns: u32) -> Seen {
        look_here()
    }

    fn tell(&mut self, netns: u32, ways: &Ways, found: Option<Seen>) {
        // Without permission to enter, the tasks of a namespace can still be looked at.
        let seen = found.unwrap_or_else(|| Seen {
            cookie: None,
            netstat: ways.read_proc_net("netstat"),
        });
        self.0.extend(parse(netns, seen));
    }
}

/// What can be seen of a namespace.
struct Seen {
    cookie: Option<u64>,
    netstat: Result<String>,
}

/// Looks around in the calling thread's namespace.
fn look_here() -> Seen {
    const PATH: &str = "/proc/thread-self/net/netstat";
    let read = fs::read_to_string(PATH);
    Seen {
        cookie: netns::cookie(),
        netstat: read.map_err(|error| Error::new(format!("cannot read {PATH}: {error}"))),
    }
}

/// The counters of all namespaces, or of the one with this inode number.
pub fn read_all(filter: Option<u32>) -> Result<Vec<KernelCounters>> {
    Ok(Namespaces::find(filter)?.read())
}

/// The counters of the calling thread's namespace.
pub fn read_current() -> Result<KernelCounters> {
    parse(Netns::current()?.inode, look_here())
}

fn no_such_namespace(inode: u32) -> Error {
    Error::new(format!("no network namespace has inode number {inode}"))
        .hint("lsns -t net lists those that have processes")
}

/// `/proc/net/netstat` is pairs of lines: `TcpExt: name name …`, `TcpExt: value value …`.
fn parse(netns: u32, seen: Seen) -> Result<KernelCounters> {
    let tcp_ext = tcp_ext(&seen.netstat?)
        .ok_or_else(|| Error::new("cannot read /proc/net/netstat: it has no TcpExt lines"))?;
    Ok(KernelCounters {
        netns,
        cookie: seen.cookie,
        tcp_ext,
    })
}

/// `TCP: inuse 3 orphan 0 tw 19 …`, where `tw` has those in FIN_WAIT2, too
/// (`sockstat_seq_show`).
fn mini_sockets(sockstat: &str) -> Option<u32> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split(' ').skip_while(|&word| word != "tw");
    words.nth(1)?.parse().ok()
}

/// The `TcpExt` counters in [`NAMES`]; `None` if there are none at all.
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
        let parse = |text: &str| {
            let seen = Seen {
                cookie: Some(3),
                netstat: Ok(text.to_owned()),
            };
            super::parse(7, seen)
        };
        let expected = [("TW".into(), 19), ("TWRecycled".into(), 3)];
        assert_eq!(
            parse(text).unwrap(),
            KernelCounters {
                netns: 7,
                cookie: Some(3),
                tcp_ext: expected.into()
            }
        );
        assert!(parse("IpExt: A\nIpExt: 1\n").is_err());
        assert!(parse("TcpExt: TW\n").is_err());
    }

    #[test]
    fn mini_sockets_are_read_from_sockstat() {
        let text = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 19 alloc 5 mem 1\nUDP: inuse 2\n";
        assert_eq!(mini_sockets(text), Some(19));
        assert_eq!(mini_sockets("TCP: inuse 3 orphan 0\n"), None);
        assert_eq!(mini_sockets(""), None);
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
