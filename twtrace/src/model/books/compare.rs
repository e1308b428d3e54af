//! Our counts beside the kernel's own counters, namespace by namespace.

use std::collections::{BTreeMap, BTreeSet};

use twtrace_common::Reason;
use twtrace_common::counters::Counters;
use twtrace_common::refusal::{Class, Skipped};

use super::Opening;
use crate::event::{KernelCounters, Meta, Snapshot, TwCountedAt};

/// Our counts beside the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Of the namespaces in which anything moved, or in which something does not agree.
    pub rows: Vec<Row>,
    /// Namespaces compared, also the quiet ones.
    pub namespaces: usize,
    /// Namespaces that could not be compared.
    pub unread: usize,
    /// Namespaces were identified by their cookies. With inode numbers alone, a difference may be
    /// one between two namespaces.
    pub certain: bool,
}

/// One counter of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Inode number of the namespace.
    pub netns: u32,
    /// The kernel's counter.
    pub counter: Counter,
    /// How far the kernel's counter moved, or why that is not known.
    pub kernel: Result<u64, Unread>,
    /// How far it should have moved by our count.
    pub expected: u64,
    /// `None` if the kernel's value is not known, or if the difference proves nothing.
    pub agree: Option<bool>,
    /// Why a difference proves nothing.
    pub doubt: Option<Doubt>,
}

/// Why the kernel may have counted more than we could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The difference may be among our counts that belong to no namespace in particular.
    Unassigned,
    /// The namespace was not found at the start, and may have been there: what the kernel counted
    /// before is then in its counters.
    NotFoundAtStart,
    /// `tcp_check_req` counts a RST that PAWS refuses, but calls nothing that we hook.
    RstInSynRecv,
}

/// Why a counter could not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It was there at the start and is not at the end.
    NamespaceGone,
    /// Another namespace has its inode number now, or had it before.
    NamespaceReplaced,
    /// It was there at the start, but its counters could not be read then.
    NotReadAtStart,
    /// This kernel has no such counter.
    NoSuchCounter,
}

/// The kernel's counters of what we count too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// TW and TWKilled together: the second takes those whose timer is short.
    TimeWait,
    /// TWRecycled: ends by a reuse of the port.
    Recycled,
    /// TCPTimeWaitOverflow.
    Overflow,
    /// PAWSTimewait.
    PawsTimeWait,
    /// PAWSEstab.
    PawsEstab,
    /// PAWSOldAck.
    PawsOldAck,
    /// TCPACKSkipped…
    #[doc(hidden)]
    Skipped(Skipped),
}

impl Unread {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NamespaceGone => "namespace gone",
            Self::NamespaceReplaced => "namespace replaced",
            Self::NotReadAtStart => "not read at the start",
            Self::NoSuchCounter => "this kernel has no such counter",
        }
    }
}

impl Doubt {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unassigned => "some of our counts belong to no namespace in particular",
            Self::NotFoundAtStart => "the namespace may be older than the trace",
            Self::RstInSynRecv => "RSTs refused in SYN_RECV count too, and pass no hook",
        }
    }
}

impl Counter {
    /// Of births and ends; always compared.
    #[doc(hidden)]
    pub const LIVES: [Self; 3] = [Self::TimeWait, Self::Recycled, Self::Overflow];
    /// Of refusals; compared if those were traced, PAWSOldAck if those without an answer were.
    const REFUSALS: [Self; 7] = [
        Self::PawsTimeWait,
        Self::PawsEstab,
        Self::PawsOldAck,
        Self::Skipped(Skipped::TimeWait),
        Self::Skipped(Skipped::FinWait2),
        Self::Skipped(Skipped::SynRecv),
        Self::Skipped(Skipped::Paws),
    ];

    /// As in `/proc/net/netstat`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeWait => "TW+TWKilled",
            Self::Recycled => "TWRecycled",
            Self::Overflow => "TCPTimeWaitOverflow",
            Self::PawsTimeWait => PAWS_TIME_WAIT,
            Self::PawsEstab => "PAWSEstab",
            Self::PawsOldAck => "PAWSOldAck",
            Self::Skipped(skipped) => skipped.name(),
        }
    }

    pub(super) fn read(self, kernel: &KernelCounters) -> Option<u64> {
        let value = |name: &str| kernel.tcp_ext.get(name).copied();
        match self {
            Self::TimeWait => Some(value("TW")? + value("TWKilled")?),
            other => value(other.name()),
        }
    }
}

const PAWS_TIME_WAIT: &str = "PAWSTimewait";

/// What differs between kernels in what they count when.
#[derive(Clone, Copy)]
struct Habits {
    tw_counted_at: TwCountedAt,
    /// Refusals by PAWS in TIME_WAIT have a counter of their own (6.16), else they are in
    /// PAWSEstab.
    paws_time_wait: bool,
}

impl Habits {
    /// What the kernel must have counted according to our counts.
    fn expected(self, counter: Counter, ours: &Counters) -> u64 {
        let ended = |reason: Reason| ours.ended[reason as usize];
        let refused = |class: Class| ours.refused[class as usize];
        match counter {
            Counter::TimeWait => match self.tw_counted_at {
                TwCountedAt::Birth => ours.born_fin_wait_2 + ours.born_time_wait,
                TwCountedAt::Expiry => ended(Reason::Expired) + ended(Reason::FinWait2Timeout),
            },
            Counter::Recycled => ended(Reason::ConnectReused) + ended(Reason::BoundReused),
            Counter::Overflow => ours.overflowed,
            Counter::PawsTimeWait if self.paws_time_wait => refused(Class::TimeWaitPaws),
            Counter::PawsTimeWait => 0,
            Counter::PawsEstab => {
                let elsewhere = refused(Class::SynRecvPaws) + refused(Class::EstablishedPaws);
                if self.paws_time_wait {
                    elsewhere
                } else {
                    elsewhere + refused(Class::TimeWaitPaws)
                }
            }
            Counter::PawsOldAck => refused(Class::EstablishedOldAck),
            Counter::Skipped(skipped) => ours.skipped[skipped as usize],
        }
    }
}

impl Comparison {
    pub(super) fn new(meta: &Meta, first: &Opening, last: &Snapshot) -> Self {
        let sides = Sides::new(meta, first, last);
        let mut comparison = Self {
            rows: Vec::new(),
            namespaces: 0,
            unread: 0,
            certain: matches!(sides.keys, Keys::Cookie),
        };
        for key in sides.namespaces() {
            let lives = Counter::LIVES.map(|counter| sides.row(key, counter));
            if lives.iter().all(|row| row.kernel.is_err()) {
                comparison.unread += 1;
            } else {
                comparison.namespaces += 1;
            }
            if lives.iter().any(Row::matters) {
                comparison.rows.extend(lives);
            }
            if meta.refusals {
                let refusals = Counter::REFUSALS
                    .into_iter()
                    .filter(|&counter| meta.drops || counter != Counter::PawsOldAck)
                    .map(|counter| sides.row(key, counter));
                comparison.rows.extend(refusals.filter(Row::matters));
            }
        }
        comparison
    }

    /// The counters compared: those of lives, and of refusals those that moved anywhere.
    pub fn counters(&self) -> impl Iterator<Item = Counter> + '_ {
        let moved = |counter: &Counter| self.rows.iter().any(|row| row.counter == *counter);
        let refusals = Counter::REFUSALS.into_iter().filter(moved);
        Counter::LIVES.into_iter().chain(refusals)
    }

    pub(super) fn agrees(&self) -> Option<bool> {
        if self.rows.iter().any(|row| row.agree == Some(false)) {
            Some(false)
        } else {
            (self.namespaces > 0).then_some(true)
        }
    }
}

impl Row {
    /// Something moved, or does not agree.
    fn matters(&self) -> bool {
        let moved = self.expected > 0 || self.kernel.is_ok_and(|moved| moved > 0);
        moved || self.agree == Some(false)
    }
}

/// How namespaces are identified. Inode numbers recur, cookies do not; but kernels before 5.14 do not
/// give cookies, and older recordings have none.
#[derive(Clone, Copy)]
enum Keys {
    Cookie,
    Inode,
}

impl Keys {
    fn new(first: &Opening, last: &Snapshot) -> Self {
        let mut kernel = first.kernel.iter().chain(&last.kernel).peekable();
        if kernel.peek().is_some() && kernel.all(|one| one.cookie.is_some()) {
            Self::Cookie
        } else {
            Self::Inode
        }
    }

    fn ours(self, counters: &[Counters]) -> BTreeMap<u64, &Counters> {
        let key = |one: &Counters| match self {
            Self::Cookie => one.id,
            Self::Inode => one.netns.into(),
        };
        counters.iter().map(|one| (key(one), one)).collect()
    }

    fn kernel(self, kernel: &[KernelCounters]) -> BTreeMap<u64, &KernelCounters> {
        let key = |one: &KernelCounters| match self {
            Self::Cookie => one.cookie.unwrap_or_default(),
            Self::Inode => one.netns.into(),
        };
        kernel.iter().map(|one| (key(one), one)).collect()
    }

    /// Keys under which several namespaces were seen.
    fn shared(self, counters: &[Counters]) -> BTreeSet<u64> {
        if let Self::Cookie = self {
            return BTreeSet::new();
        }
        let mut once = BTreeSet::new();
        let inodes = counters.iter().map(|one| u64::from(one.netns));
        inodes.filter(|&inode| !once.insert(inode)).collect()
    }
}

/// Both readings of both sides, by [`Keys`].
pub(super) struct Sides<'a> {
    keys: Keys,
    habits: Habits,
    slack: u64,
    shared: BTreeSet<u64>,
    ours: (BTreeMap<u64, &'a Counters>, BTreeMap<u64, &'a Counters>),
    kernel: (
        BTreeMap<u64, &'a KernelCounters>,
        BTreeMap<u64, &'a KernelCounters>,
    ),
}

/// Our entry for what belongs to no namespace in particular.
const UNASSIGNED: u64 = 0;

impl<'a> Sides<'a> {
    pub(super) fn new(meta: &Meta, first: &'a Opening, last: &'a Snapshot) -> Self {
        let knows = |one: &KernelCounters| one.tcp_ext.contains_key(PAWS_TIME_WAIT);
        let keys = Keys::new(first, last);
        Self {
            keys,
            habits: Habits {
                tw_counted_at: meta.tw_counted_at,
                paws_time_wait: last.kernel.iter().any(knows),
            },
            slack: first.slack + last.slack,
            shared: keys.shared(&last.counters),
            ours: (keys.ours(&first.counters), keys.ours(&last.counters)),
            kernel: (keys.kernel(&first.kernel), keys.kernel(&last.kernel)),
        }
    }

    pub(super) fn namespaces(&self) -> BTreeSet<u64> {
        let kernel = self.kernel.0.keys().chain(self.kernel.1.keys());
        let all = kernel.chain(self.ours.1.keys());
        all.copied().filter(|&one| one != UNASSIGNED).collect()
    }

    fn row(&self, key: u64, counter: Counter) -> Row {
        let expected = self.expected(key, counter);
        let kernel = self.moved(key, counter);
        let verdict = kernel.map(|moved| self.verdict(key, counter, moved, expected));
        let (agree, doubt) = match verdict {
            Ok(Ok(agree)) => (Some(agree), None),
            Ok(Err(doubt)) => (None, Some(doubt)),
            Err(_) => (None, None),
        };
        Row {
            netns: self.inode(key),
            counter,
            kernel,
            expected,
            agree,
            doubt,
        }
    }

    pub(super) fn inode(&self, key: u64) -> u32 {
        let by_kernel = [&self.kernel.1, &self.kernel.0]
            .into_iter()
            .find_map(|kernel| kernel.get(&key));
        let by_us = || self.ours.1.get(&key).map_or(0, |ours| ours.netns);
        by_kernel.map_or_else(by_us, |kernel| kernel.netns)
    }

    fn expected(&self, key: u64, counter: Counter) -> u64 {
        let at = |counters: &BTreeMap<u64, &Counters>| {
            let ours = counters.get(&key);
            ours.map_or(0, |ours| self.habits.expected(counter, ours))
        };
        at(&self.ours.1).saturating_sub(at(&self.ours.0))
    }

    fn moved(&self, key: u64, counter: Counter) -> Result<u64, Unread> {
        self.moved_by(key, |kernel| counter.read(kernel))
    }

    /// How far what is read of the kernel's counters moved.
    pub(super) fn moved_by(
        &self,
        key: u64,
        read: impl Fn(&KernelCounters) -> Option<u64>,
    ) -> Result<u64, Unread> {
        if self.shared.contains(&key) {
            return Err(Unread::NamespaceReplaced);
        }
        let last = self.kernel.1.get(&key).ok_or(Unread::NamespaceGone)?;
        let last = read(last).ok_or(Unread::NoSuchCounter)?;
        let first = match self.kernel.0.get(&key) {
            Some(first) => read(first).ok_or(Unread::NoSuchCounter)?,
            // We had counted nothing there either: it is new, and counters start at 0.
            None if !self.ours.0.contains_key(&key) => 0,
            None => return Err(Unread::NotReadAtStart),
        };
        last.checked_sub(first).ok_or(Unread::NamespaceReplaced)
    }

    /// Whether they agree, or why that is unknown.
    fn verdict(
        &self,
        key: u64,
        counter: Counter,
        moved: u64,
        expected: u64,
    ) -> Result<bool, Doubt> {
        let unassigned = self.expected(UNASSIGNED, counter);
        if moved.abs_diff(expected) <= self.slack {
            Ok(true)
        } else if moved < expected {
            Ok(false)
        } else if moved - expected <= unassigned + self.slack {
            Err(Doubt::Unassigned)
        } else if counter == Counter::PawsEstab {
            Err(Doubt::RstInSynRecv)
        } else if !self.kernel.0.contains_key(&key) {
            Err(Doubt::NotFoundAtStart)
        } else {
            Ok(false)
        }
    }
}
