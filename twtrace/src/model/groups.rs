//! Who makes them: mini-sockets by owner, peer or port, in bounded memory.
//!
//! Up to a maximum, each group is counted by itself. When another comes, the smallest give way: their
//! counts are added to the others. So all rows together are always what was seen, but a group that
//! was once small may have had more than its row says.

mod times;

use std::cmp::Reverse;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use twtrace_common::REASONS;

use super::Report;
use super::lifecycle::Life;
use super::stats::Percentiles;
use crate::event::{Birth, Flow, Meta};
use times::Times;

/// Groups that are told apart. Each has two histograms of at most 11 KiB, if it has
/// more than a few lifetimes.
pub const MOST: usize = 1_024;
/// The fraction of them that gives way at once (one in this many): finding many of the smallest
/// takes as long as finding one.
const GIVES_WAY: usize = 4;

/// What mini-sockets are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Remote address.
    Peer,
    /// Address and port of the end with the lower port: the other port is nearly always ephemeral.
    Service,
    /// Local port.
    Lport,
    /// Owner of the full socket.
    Uid,
    /// cgroup of the full socket.
    Cgroup,
    /// Network namespace.
    Netns,
}

/// One group. Addresses are not told apart by namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Peer(IpAddr),
    Service(IpAddr, u16),
    Lport(u16),
    Uid(u32),
    Cgroup(u64),
    Netns(u32),
    /// By owner: older than the trace, and a mini-socket has no owner.
    Before,
    /// The full socket was not seen, or the kernel does not tell.
    Unknown,
}

/// What was counted of a group.
#[derive(Clone, Debug, Default)]
struct Group {
    /// All that is counted below.
    records: u64,
    ended: [u64; REASONS],
    births: u64,
    /// Births and those that were there before, less ends.
    alive: i64,
    overflows: u64,
    refusals: u64,
    port_failures: u64,
    time_wait: Times,
    fin_wait_2: Times,
    /// CLOCK_MONOTONIC ns.
    last_ns: u64,
}

/// Counts by group.
#[derive(Debug)]
pub struct Groups {
    by: By,
    births: bool,
    refusals: bool,
    ports: bool,
    most: usize,
    known: IndexMap<Key, Group, RandomState>,
    /// Where the last event was counted: the next is often of the same group.
    latest: usize,
    others: Group,
    /// How often a group gave way.
    gave_way: u64,
}

/// The groups of some time, those with the most mini-sockets first, then what is no group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub by: By,
    /// CLOCK_MONOTONIC ns.
    pub from_ns: u64,
    pub to_ns: u64,
    pub rows: Vec<Row>,
}

/// Whose figures a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Group(Key),
    /// Groups that are not shown, or not told apart any more.
    Others {
        /// How many; a group that returned counts again.
        groups: u64,
    },
    /// Ends that the kernel side counted, but without a record.
    NotGrouped,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub whose: Whose,
    pub ends: u64,
    /// Of all ends, in thousandths; `None` if there are none.
    pub share: Option<u64>,
    /// Ends by reason; `None` if they are not known.
    pub ended: Option<[u64; REASONS]>,
    /// `None` if births were not reported.
    pub births: Option<u64>,
    /// Of all births of groups, in thousandths; `None` if there are none.
    pub births_share: Option<u64>,
    /// Mini-sockets alive at the end of this time; `None` if that is not known.
    pub alive: Option<u64>,
    pub overflows: u64,
    /// `None` if refusals were not traced.
    pub refusals: Option<u64>,
    /// Calls that got no port; `None` if they were not traced.
    pub port_failures: Option<u64>,
    /// Lifetimes, as far as their begin is known; `None` if there are none.
    pub time_wait: Option<Percentiles>,
    pub fin_wait_2: Option<Percentiles>,
    /// The last event, CLOCK_MONOTONIC ns.
    pub last_ns: Option<u64>,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Peer,
        Self::Service,
        Self::Lport,
        Self::Uid,
        Self::Cgroup,
        Self::Netns,
    ];

    /// The name on the command line and in all output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Service => "service",
            Self::Lport => "lport",
            Self::Uid => "uid",
            Self::Cgroup => "cgroup",
            Self::Netns => "netns",
        }
    }

    /// The group of a connection.
    #[must_use]
    pub fn key(self, flow: &Flow) -> Key {
        match self {
            Self::Peer if flow.raddr.is_unspecified() => Key::Unknown,
            Self::Peer => Key::Peer(flow.raddr),
            Self::Service => service(flow),
            Self::Lport if flow.lport == 0 => Key::Unknown,
            Self::Lport => Key::Lport(flow.lport),
            Self::Uid => flow.uid.map_or(Key::Unknown, Key::Uid),
            Self::Cgroup => flow.cgroup.map_or(Key::Unknown, Key::Cgroup),
            Self::Netns => Key::Netns(flow.netns),
        }
    }

    /// The group of a connection that is older than the trace.
    fn key_before(self, flow: &Flow) -> Key {
        match self {
            Self::Uid | Self::Cgroup => Key::Before,
            _ => self.key(flow),
        }
    }
}

/// A call that got no port has none on this side, and a bind() none on the other.
fn service(flow: &Flow) -> Key {
    match (flow.lport, flow.rport) {
        (0, 0) => Key::Unknown,
        (1.., 0) => Key::Service(flow.laddr, flow.lport),
        (local, remote) if local > 0 && local <= remote => Key::Service(flow.laddr, local),
        (_, remote) => Key::Service(flow.raddr, remote),
    }
}

impl Groups {
    /// No groups yet.
    #[must_use]
    pub fn new(by: By, meta: &Meta) -> Self {
        Self::with_room(by, meta, MOST)
    }

    fn with_room(by: By, meta: &Meta, most: usize) -> Self {
        Self {
            by,
            births: meta.births,
            refusals: meta.refusals,
            ports: meta.ports,
            most,
            known: IndexMap::default(),
            latest: 0,
            others: Group::default(),
            gave_way: 0,
        }
    }

    /// Counts an event.
    pub fn report(&mut self, report: &Report) {
        match report {
            Report::End(life) if life.preexisting == Some(true) => {
                let key = self.by.key_before(&life.end.flow);
                self.counted(key, life.end.ended_ns).end(life);
            }
            Report::End(life) => self.of(&life.end.flow, life.end.ended_ns).end(life),
            Report::Overflow(one) => self.of(&one.flow, one.at_ns).overflows += 1,
            Report::Refusal(one) if self.refusals => {
                self.of(&one.refusal.flow, one.refusal.at_ns).refusals += 1;
            }
            Report::PortFailure(one) => self.of(&one.flow, one.at_ns).port_failures += 1,
            Report::Refusal(_) | Report::Reopen(_) | Report::Conflict(_) => {}
        }
    }

    /// Counts a birth.
    pub fn birth(&mut self, birth: &Birth) {
        let group = self.of(&birth.flow, birth.at_ns);
        group.births += 1;
        group.alive += 1;
    }

    /// Counts one that is older than the trace.
    pub fn older(&mut self, flow: &Flow, at_ns: u64) {
        let key = self.by.key_before(flow);
        self.counted(key, at_ns).alive += 1;
    }

    /// One that was counted as older has ended unseen.
    pub fn older_gone(&mut self, flow: &Flow, at_ns: u64) {
        let key = self.by.key_before(flow);
        self.counted(key, at_ns).alive -= 1;
    }

    /// Adds what came later, and leaves nothing there.
    pub fn absorb(&mut self, later: &mut Self) {
        let mut groups: Vec<_> = later.known.drain(..).collect();
        // In a fixed order, so that the same groups always give way.
        groups.sort_by_key(|&(key, ref group)| (Reverse(group.records), key));
        for (key, group) in groups {
            self.group(key).add(&group);
        }
        self.others.add(&std::mem::take(&mut later.others));
        self.gave_way += std::mem::take(&mut later.gave_way);
    }

    /// How many of a group are alive; `None` if that is not known.
    fn alive(&self, key: Key) -> Option<u64> {
        let group = self.known.get(&key)?;
        u64::try_from(group.alive).ok()
    }

    /// The `top` groups and the rest. `counted`: ends that the kernel side counted in this time.
    #[must_use]
    pub fn table(&self, top: usize, (from_ns, to_ns): (u64, u64), counted: Option<u64>) -> Table {
        let mut groups: Vec<_> = self.known.iter().collect();
        groups.sort_by_key(|&(key, group)| (Reverse(group.there()), Reverse(group.records), key));
        let (shown, rest) = groups.split_at(top.min(groups.len()));
        let mut others = self.others.clone();
        for (_, group) in rest {
            others.add(group);
        }
        let grouped = groups.iter().map(|(_, group)| group.ends()).sum::<u64>();
        let grouped = grouped + self.others.ends();
        let all = counted.map_or(grouped, |counted| counted.max(grouped));
        let born = groups.iter().map(|(_, group)| group.births).sum::<u64>();
        let all_of = All {
            ends: all,
            births: born + self.others.births,
        };
        let mut rows: Vec<_> = shown
            .iter()
            .map(|&(key, group)| self.row(Whose::Group(*key), group, all_of))
            .collect();
        let groups = rest.len() as u64 + self.gave_way;
        if groups > 0 {
            rows.push(self.row(Whose::Others { groups }, &others, all_of));
        }
        if all > grouped {
            rows.push(not_grouped(all - grouped, all));
        }
        Table {
            by: self.by,
            from_ns,
            to_ns,
            rows,
        }
    }

    fn row(&self, whose: Whose, group: &Group, all: All) -> Row {
        let traced = |count| self.births.then_some(count);
        Row {
            whose,
            ends: group.ends(),
            share: share(group.ends(), all.ends),
            ended: Some(group.ended),
            births: traced(group.births),
            births_share: traced(group.births).and_then(|births| share(births, all.births)),
            alive: traced(u64::try_from(group.alive).unwrap_or(0)),
            overflows: group.overflows,
            refusals: self.refusals.then_some(group.refusals),
            port_failures: self.ports.then_some(group.port_failures),
            time_wait: group.time_wait.percentiles(),
            fin_wait_2: group.fin_wait_2.percentiles(),
            last_ns: Some(group.last_ns),
        }
    }

    fn of(&mut self, flow: &Flow, at_ns: u64) -> &mut Group {
        self.counted(self.by.key(flow), at_ns)
    }

    fn counted(&mut self, key: Key, at_ns: u64) -> &mut Group {
        let group = self.group(key);
        group.records += 1;
        group.last_ns = group.last_ns.max(at_ns);
        group
    }

    fn group(&mut self, key: Key) -> &mut Group {
        let latest = self.known.get_index(self.latest);
        if latest.is_none_or(|(latest, _)| *latest != key) {
            self.latest = self.place(key);
        }
        &mut self.known[self.latest]
    }

    /// Where the group is, made if it is new.
    fn place(&mut self, key: Key) -> usize {
        if self.known.len() >= self.most && !self.known.contains_key(&key) {
            self.make_room();
        }
        let entry = self.known.entry(key);
        let place = entry.index();
        entry.or_default();
        place
    }

    /// Of the smallest, those that were last seen longest ago.
    fn make_room(&mut self) {
        let order = |(key, group): (&Key, &Group)| (group.records, group.last_ns, *key);
        let mut all: Vec<_> = self.known.iter().map(order).collect();
        let number = (all.len() / GIVES_WAY).max(1);
        all.select_nth_unstable(number - 1);
        for (_, _, key) in &all[..number] {
            if let Some(group) = self.known.swap_remove(key) {
                self.others.add(&group);
                self.gave_way += 1;
            }
        }
    }
}

/// Sums over all groups.
#[derive(Clone, Copy)]
struct All {
    ends: u64,
    births: u64,
}

impl Table {
    /// Alive is what all of the trace left, not this time alone.
    #[must_use]
    pub fn alive_in(mut self, whole: &Groups) -> Self {
        for row in &mut self.rows {
            row.alive = match row.whose {
                Whose::Group(key) => row.alive.and_then(|_| whole.alive(key)),
                Whose::Others { .. } | Whose::NotGrouped => None,
            };
        }
        self
    }

    /// Births or ends were lost: nobody knows who is alive.
    #[must_use]
    pub fn alive_unknown(mut self) -> Self {
        for row in &mut self.rows {
            row.alive = None;
        }
        self
    }
}

impl Group {
    fn ends(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// Mini-sockets that were there at any time.
    fn there(&self) -> u64 {
        self.ends()
            .saturating_add_signed(self.alive)
            .max(self.ends())
    }

    fn end(&mut self, life: &Life) {
        self.ended[life.end.reason as usize] += 1;
        self.alive -= 1;
        if let Some(ns) = life.time_wait_ns {
            self.time_wait.record(ns);
        }
        if let Some(ns) = life.fin_wait_2_ns {
            self.fin_wait_2.record(ns);
        }
    }

    fn add(&mut self, other: &Self) {
        let Self {
            records,
            ended,
            births,
            alive,
            overflows,
            refusals,
            port_failures,
            time_wait,
            fin_wait_2,
            last_ns,
        } = other;
        for (sum, count) in self.ended.iter_mut().zip(ended) {
            *sum += count;
        }
        self.records += records;
        self.births += births;
        self.alive += alive;
        self.overflows += overflows;
        self.refusals += refusals;
        self.port_failures += port_failures;
        self.time_wait.add(time_wait);
        self.fin_wait_2.add(fin_wait_2);
        self.last_ns = self.last_ns.max(*last_ns);
    }
}

fn not_grouped(ends: u64, all: u64) -> Row {
    Row {
        whose: Whose::NotGrouped,
        ends,
        share: share(ends, all),
        ended: None,
        births: None,
        births_share: None,
        alive: None,
        overflows: 0,
        refusals: None,
        port_failures: None,
        time_wait: None,
        fin_wait_2: None,
        last_ns: None,
    }
}

/// Thousandths, rounded half up.
fn share(part: u64, all: u64) -> Option<u64> {
    let half = u128::from(all / 2);
    let thousandths = (u128::from(part) * 1_000 + half).checked_div(u128::from(all))?;
    Some(thousandths as u64)
}

#[cfg(test)]
mod tests;
