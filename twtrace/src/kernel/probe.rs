//! Asks the running kernel what `doctor` wants to know. Loads programs only to see whether it may,
//! and attaches none.

mod again;
mod holders;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::btf::{Btf, GivenBtf, VMLINUX};
use super::counters::{NAMES, section};
use super::netns::{self, Abroad, Netns, Ways};
use super::plan::{self, Trials};
use super::sock_diag::{Kind, Shown, SockDiag, Substate};
use super::survey::{self, Pair, Use};
use super::threads::beside;
use super::{offsets, preemption, privileges, syscall, sysctl};
use crate::error::{Error, Result};
use crate::event::facts::{
    Answer, Destination, Destinations, Facts, FullFinWait2, Namespace, Point, Sysctl, Tracing,
    Unread,
};
use crate::text::Text;

/// How long it may look into other namespaces: whoever runs `doctor` is in a hurry.
const PATIENCE: Duration = Duration::from_millis(600);
/// Destinations of a namespace that are kept.
const TOP: usize = 5;

/// TcpExt counters that are often mistaken for effects of TIME_WAIT.
const MISTAKEN: [&str; 5] = [
    "TCPSynRetrans",
    "ListenDrops",
    "ListenOverflows",
    "TCPReqQFullDrop",
    "TCPAbortOnData",
];
/// Tcp counters to compare them with.
const TCP: [&str; 2] = ["ActiveOpens", "PassiveOpens"];

/// Reads everything that this process may read.
pub(crate) fn look(btf: Option<&GivenBtf>) -> Result<Facts> {
    let started = Instant::now();
    let path = btf.map_or(Path::new(VMLINUX), |given| given);
    let own = Netns::current()?.inode;
    let (tracing, namespaces) = beside(
        "types",
        || tracing(path),
        || -> Result<_> { Ok((namespace(own)?, others(own)?)) },
    )?;
    let (own, (others, unread)) = namespaces?;
    let (mut namespaces, held): (Vec<_>, Vec<_>) = std::iter::once(own).chain(others).unzip();
    holders::find(&mut namespaces, &held);
    again::look(&mut namespaces, started);
    Ok(Facts {
        kernel: syscall::kernel_release().into(),
        uptime_s: uptime_s(),
        tracing,
        recycle_files: sysctl::set_at_boot_by(Path::new("/"), Sysctl::TcpTwRecycle),
        namespaces,
        unread,
    })
}

fn tracing(path: &Path) -> Tracing {
    let load = syscall::may_load_kprobes();
    let mut tracing = Tracing {
        btf: Answer::Yes,
        allowed: refused_by(&load, None),
        privileges: privileges::look(),
        points: Vec::new(),
        features: Vec::new(),
        ts_offset: None,
        tw_counted_at: None,
    };
    let btf = match Btf::read(path, &plan::wanted()) {
        Ok(btf) => btf,
        Err(error) if path.exists() => {
            tracing.btf = Answer::Unknown(error.message().into());
            return tracing;
        }
        Err(error) => {
            tracing.btf = Answer::No(error.message().into());
            return tracing;
        }
    };
    if let Err(error) = offsets::resolve(&btf) {
        tracing.btf = Answer::No(error.message().into());
    }
    let symbols = std::cell::OnceCell::new();
    let trials = Trials {
        fentry: &syscall::may_load_fentry,
        load,
        kprobe: &|function| may_probe(symbols.get_or_init(symbols_of_interest), function),
        compare_exchange: syscall::has_compare_exchange(),
        missed_counts: syscall::has_missed_counts(),
        preempts: preemption::of_bottom_halves(),
    };
    tracing.points = plan::points(&btf, &trials);
    tracing.allowed = refused_by(&trials.load, unknown(&tracing.points));
    tracing.features = plan::features(&btf, &trials);
    tracing.ts_offset = offsets::ts_offset(&btf);
    tracing.tw_counted_at = Some(offsets::tw_counted_at(&btf));
    tracing
}

/// The first point whose answer is unknown, and why.
fn unknown(points: &[Point]) -> Option<(&Point, &str)> {
    points.iter().find_map(|point| match &point.answer {
        Answer::Unknown(why) => Some((point, why.as_str())),
        _ => None,
    })
}

/// Whether this process may load programs, in general and for a point.
fn refused_by(load: &Answer, point: Option<(&Point, &str)>) -> Answer {
    match (load, point) {
        (Answer::Unknown(why), _) => Answer::Unknown(format!("{why}; {}", privileges::advice()).into()),
        (Answer::Yes, Some((point, why))) => Answer::Unknown(format!(
            "{} on {}: {why}; {}. A program for kprobes was not refused, so --attach kprobe may work",
            point.way.as_deref().unwrap_or("a program"),
            point.function,
            privileges::advice()
        ).into()),
        (other, _) => other.clone(),
    }
}

/// Whether a kprobe may be set on a function, as far as that is known without setting one.
fn may_probe(symbols: &Option<String>, function: &str) -> Answer {
    if !Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        return Answer::No("this kernel has no kprobes".into());
    }
    match symbols {
        None => Answer::Unknown("/proc/kallsyms cannot be read".into()),
        Some(symbols) if symbols.lines().any(|symbol| symbol == function) => Answer::Yes,
        Some(_) => Answer::No(format!("{function} is not among the kernel's symbols").into()),
    }
}

/// The names of the kernel's functions, a line each. Read only if fentry is refused: it is slow.
fn symbols_of_interest() -> Option<String> {
    let text = fs::read_to_string("/proc/kallsyms").ok()?;
    let names = text.lines().filter_map(|line| line.split(' ').nth(2));
    Some(names.collect::<Vec<_>>().join("\n"))
}

/// A namespace, and the inode numbers of its sockets in FIN_WAIT2 that a process holds.
type Looked = (Namespace, Vec<u32>);

/// Looks into the other namespaces while there is time.
fn others(own: u32) -> Result<(Vec<Looked>, Unread)> {
    let mut ways = netns::find_all();
    ways.remove(&own);
    if !privileges::may_enter_namespaces() {
        let unread = Unread {
            count: ways.len() as u64,
            why: Some("entering them needs CAP_SYS_ADMIN (root)".into()),
            more: true,
        };
        return Ok((Vec::new(), unread));
    }
    netns::abroad(|abroad| visit(abroad, &ways))
}

fn visit(abroad: &Abroad, all: &BTreeMap<u32, Ways>) -> (Vec<Looked>, Unread) {
    let started = Instant::now();
    let mut read = Vec::new();
    let mut failed = Vec::new();
    for (&inode, ways) in all {
        let outcome = if started.elapsed() < PATIENCE {
            let visit = |netns| abroad.visit(netns, || namespace(inode));
            ways.open().and_then(visit).flatten()
        } else {
            Err(Error::new("there are too many to check in a moment"))
        };
        match outcome {
            Ok(namespace) => read.push(namespace),
            Err(why) => failed.push((inode, why)),
        }
    }
    (read, unread(failed))
}

/// What could not be looked into and has not gone away meanwhile.
fn unread(mut failed: Vec<(u32, Error)>) -> Unread {
    if !failed.is_empty() {
        let there = netns::find_all();
        failed.retain(|(inode, _)| there.contains_key(inode));
    }
    Unread {
        count: failed.len() as u64,
        why: failed.last().map(|(_, why)| why.message().into()),
        ..Unread::default()
    }
}

/// Reads the calling thread's namespace.
fn namespace(netns: u32) -> Result<Looked> {
    let text = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        fs::read_to_string(&path)
            .map_err(|error| Error::new(format!("cannot read {path}: {error}")))
    };
    let read_at_ns = syscall::monotonic_ns();
    let mut counters = tcp_ext(&text("netstat")?);
    add(&mut counters, &text("snmp")?, "Tcp: ", &TCP);
    let mut found = Namespace {
        netns,
        sysctls: sysctl::read(),
        counters,
        read_at_ns,
        later: None,
        population: text("sockstat").ok().as_deref().and_then(population),
        fin_wait_2: None,
        destinations: Destinations::default(),
    };
    let range = found.ports(Sysctl::IpLocalPortRange).first().copied();
    let (destinations, held) = match sockets(range) {
        Ok((destinations, full)) => {
            found.fin_wait_2 = Some(full.counts);
            (destinations, full.inodes)
        }
        Err(error) => {
            let unknown = Some(error.message().into());
            let none = Destinations::default();
            (Destinations { unknown, ..none }, Vec::new())
        }
    };
    found.destinations = destinations;
    Ok((found, held))
}

fn tcp_ext(netstat: &str) -> BTreeMap<Text, u64> {
    let mut counters = BTreeMap::new();
    let names = [&NAMES[..], &MISTAKEN].concat();
    add(&mut counters, netstat, "TcpExt: ", &names);
    counters
}

fn add(counters: &mut BTreeMap<Text, u64>, text: &str, start: &str, names: &[&str]) {
    let all = section(text, start).into_iter().flatten();
    let ours = all.filter(|(name, _)| names.contains(name));
    counters.extend(ours.map(|(name, value)| (name.into(), value)));
}

/// `TCP: inuse 5 orphan 0 tw 1204 alloc 7 mem 1`: `sockstat_seq_show` reads what
/// `inet_twsk_alloc` compares with the limit, so FIN_WAIT2 and IPv6 are in it.
fn population(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split(' ');
    words.find(|&word| word == "tw")?;
    words.next()?.parse().ok()
}

/// Full sockets in FIN_WAIT2.
#[derive(Default)]
struct Full {
    counts: FullFinWait2,
    /// Of those held, as many as are looked for.
    inodes: Vec<u32>,
}

impl Full {
    fn add(&mut self, orphan: bool, inode: u32) {
        if orphan {
            self.counts.orphans += 1;
            return;
        }
        self.counts.held += 1;
        if self.inodes.len() < holders::MOST {
            self.inodes.push(inode);
        }
    }
}

/// The sockets of the calling thread's namespace: where the ports of the range went, and who waits
/// in FIN_WAIT2. No port is in a range that is not known.
fn sockets(range: Option<(u16, u16)>) -> Result<(Destinations, Full)> {
    let (low, high) = range.unwrap_or((1, 0));
    let mut full = Full::default();
    let mut others = Use::new(low, high);
    let mut mini_sockets: HashMap<Pair, (u32, u32)> = HashMap::new();
    let mut count = |shown: Shown| match shown.kind {
        Kind::MiniSocket(substate) if (low..=high).contains(&shown.local.port()) => {
            let (ports, time_wait) = mini_sockets.entry(survey::pair(&shown)).or_default();
            *ports += 1;
            *time_wait += u32::from(substate == Substate::TimeWait);
        }
        Kind::MiniSocket(_) => {}
        Kind::FinWait2 { orphan, inode } => {
            full.add(orphan, inode);
            others.add(shown);
        }
        Kind::Connection | Kind::Unconnected { .. } => others.add(shown),
    };
    SockDiag::open()?.visit_all(true, &mut count)?;
    let (kept, users) = others.finish();
    for one in users {
        let pair = (one.laddr, one.raddr, one.rport);
        mini_sockets.entry(pair).or_default().0 += one.ports;
    }
    let mut top: Vec<_> = mini_sockets
        .into_iter()
        .map(|((laddr, raddr, rport), (ports, time_wait))| Destination {
            laddr,
            raddr,
            rport,
            ports,
            time_wait,
        })
        .collect();
    let count = top.len() as u64;
    top.sort_by_key(|one| {
        (
            std::cmp::Reverse(one.ports),
            one.laddr,
            one.raddr,
            one.rport,
        )
    });
    top.truncate(TOP);
    let destinations = Destinations {
        top,
        count,
        kept,
        unknown: None,
    };
    Ok((destinations, full))
}

fn uptime_s() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split('.').next().unwrap_or_default();
    seconds.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_population_is_read_from_sockstat() {
        let text = "sockets: used 16\nTCP: inuse 1 orphan 0 tw 4 alloc 1 mem 150\nUDP: inuse 0\n";
        assert_eq!(population(text), Some(4));
        assert_eq!(population("sockets: used 16\n"), None);
    }

    #[test]
    fn whoever_asks_learns_about_this_host() {
        let facts = look(None).unwrap();
        assert_eq!(facts.namespaces[0].netns, Netns::current().unwrap().inode);
        assert!(facts.namespaces[0].counters.contains_key("TW"));
        assert!(facts.namespaces[0].counters.contains_key("ActiveOpens"));
        assert!(!facts.tracing.points.is_empty());
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
    }

    #[test]
    fn a_symbol_is_a_whole_name() {
        let symbols = Some("inet_twsk_kill\ntcp_v4_rcv".to_owned());
        assert!(matches!(may_probe(&symbols, "twsk_kill"), Answer::No(_)));
        assert!(matches!(
            may_probe(&None, "tcp_abort"),
            Answer::Unknown(_) | Answer::No(_)
        ));
    }
}
