//! Exact totals, kept in the kernel per network namespace, in one copy per stripe of CPUs.

use crate::{
    REASONS, assert_layout,
    ports::CALLS,
    refusal::{CLASSES, SKIPS},
};

/// One namespace's totals in one stripe; user space adds the stripes up.
///
/// Fields with a serde default did not exist in ABI 1.
///
/// The first entry of the table belongs to no namespace: it takes the counts of namespaces without an
/// entry of their own, and losses whose namespace is unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counters {
    /// Identifies this namespace among all others since boot, see [`Owner::id`]; 0 in the first
    /// entry. The kernel side leaves it 0: user space fills it in from the entry's [`Owner`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub id: u64,
    /// Inode number of the namespace, 0 in the first entry; filled in as `id` is.
    pub netns: u32,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub reserved: u32,
    /// Mini-sockets created in substate FIN_WAIT2.
    pub born_fin_wait_2: u64,
    /// Mini-sockets created in substate TIME_WAIT.
    pub born_time_wait: u64,
    /// Births that found no room in the state maps: their ends have no lifetime.
    pub map_full: u64,
    /// FIN_WAIT2 to TIME_WAIT: counted as it happens if births are reported, else at the end.
    pub promoted: u64,
    /// Timer restarts in TIME_WAIT (0 where re-arms are not traced).
    pub rearmed: u64,
    /// `inet_twsk_alloc` returned NULL.
    pub overflowed: u64,
    /// Overflows that did not fit the ring.
    pub overflow_ring_full: u64,
    /// Ends that did not fit the ring.
    pub end_ring_full: u64,
    /// Ends whose birth was not seen.
    pub end_untracked: u64,
    /// Ends by [`crate::Reason`].
    pub ended: [u64; REASONS],
    /// Ends whose record was not asked for (`conflicts`); they are in `ended` too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub end_quiet: u64,
    /// Segments refused, by [`crate::refusal::Class`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused: [u64; CLASSES],
    /// SYNs among them that a mini-socket refused.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused_syns: u64,
    /// Answers that the kernel suppressed, by [`crate::refusal::Skipped`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub skipped: [u64; SKIPS],
    /// Refusals that did not fit their share of the ring.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refusal_ring_full: u64,
    /// Refusals beyond the rate at which they are reported.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refusal_limited: u64,
    /// Refusals for which the kernel's drop reason and our repetition of its test differ.
    #[cfg_attr(feature = "serde", serde(default))]
    pub verdict_differs: u64,
    /// Births that did not fit the ring (0 where they are not reported).
    #[cfg_attr(feature = "serde", serde(default))]
    pub birth_ring_full: u64,
    /// Calls that got no port, by [`crate::ports::Call`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub port_failures: [u64; CALLS],
    /// Those among them that did not fit their share of the ring.
    #[cfg_attr(feature = "serde", serde(default))]
    pub port_failure_ring_full: u64,
    /// Those beyond the rate at which they are reported.
    #[cfg_attr(feature = "serde", serde(default))]
    pub port_failure_limited: u64,
    /// Marks that found no room in the state maps: the reason of an end may be missing.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mark_lost: u64,
    /// Slots taken from mini-sockets whose end must have been missed, because they are too old.
    #[cfg_attr(feature = "serde", serde(default))]
    pub slot_stale: u64,
    /// Births for which the kernel skipped the first program, and which the second one saw.
    #[cfg_attr(feature = "serde", serde(default))]
    pub birth_caught: u64,
    /// Runs of the program for overflows that the kernel skipped, of which few would have seen one.
    /// Only in the first entry.
    #[cfg_attr(feature = "serde", serde(default))]
    pub overflow_missed: u64,
    /// Calls for a port that the kernel skipped. Only in the first entry.
    #[cfg_attr(feature = "serde", serde(default))]
    pub port_missed: u64,
    /// Births and ends in this namespace left out by the filters; they are in no other field.
    /// Refusals left out are not counted at all.
    pub filtered: u64,
    /// Return probes that never came (kprobes): an event on this CPU is missing.
    pub missed: u64,
}

impl Counters {
    pub const ZERO: Self = Self {
        id: 0,
        netns: 0,
        reserved: 0,
        born_fin_wait_2: 0,
        born_time_wait: 0,
        map_full: 0,
        promoted: 0,
        rearmed: 0,
        overflowed: 0,
        overflow_ring_full: 0,
        end_ring_full: 0,
        end_untracked: 0,
        ended: [0; REASONS],
        end_quiet: 0,
        refused: [0; CLASSES],
        refused_syns: 0,
        skipped: [0; SKIPS],
        refusal_ring_full: 0,
        refusal_limited: 0,
        verdict_differs: 0,
        birth_ring_full: 0,
        port_failures: [0; CALLS],
        port_failure_ring_full: 0,
        port_failure_limited: 0,
        mark_lost: 0,
        slot_stale: 0,
        birth_caught: 0,
        overflow_missed: 0,
        port_missed: 0,
        filtered: 0,
        missed: 0,
    };
}

impl Counters {
    /// Adds the counts of another stripe, or of another namespace; `id` and `netns` stay.
    ///
    /// Destructured, so that a new counter cannot be forgotten.
    pub fn add(&mut self, other: &Self) {
        let Self {
            id: _,
            netns: _,
            reserved: _,
            born_fin_wait_2,
            born_time_wait,
            map_full,
            promoted,
            rearmed,
            overflowed,
            overflow_ring_full,
            end_ring_full,
            end_untracked,
            ended,
            end_quiet,
            refused,
            refused_syns,
            skipped,
            refusal_ring_full,
            refusal_limited,
            verdict_differs,
            birth_ring_full,
            port_failures,
            port_failure_ring_full,
            port_failure_limited,
            mark_lost,
            slot_stale,
            birth_caught,
            overflow_missed,
            port_missed,
            filtered,
            missed,
        } = other;
        self.born_fin_wait_2 += born_fin_wait_2;
        self.born_time_wait += born_time_wait;
        self.map_full += map_full;
        self.promoted += promoted;
        self.rearmed += rearmed;
        self.overflowed += overflowed;
        self.overflow_ring_full += overflow_ring_full;
        self.end_ring_full += end_ring_full;
        self.end_untracked += end_untracked;
        add_each(&mut self.ended, ended);
        self.end_quiet += end_quiet;
        add_each(&mut self.refused, refused);
        self.refused_syns += refused_syns;
        add_each(&mut self.skipped, skipped);
        self.refusal_ring_full += refusal_ring_full;
        self.refusal_limited += refusal_limited;
        self.verdict_differs += verdict_differs;
        self.birth_ring_full += birth_ring_full;
        add_each(&mut self.port_failures, port_failures);
        self.port_failure_ring_full += port_failure_ring_full;
        self.port_failure_limited += port_failure_limited;
        self.mark_lost += mark_lost;
        self.slot_stale += slot_stale;
        self.birth_caught += birth_caught;
        self.overflow_missed += overflow_missed;
        self.port_missed += port_missed;
        self.filtered += filtered;
        self.missed += missed;
    }
}

fn add_each(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

assert_layout!(Counters, size 16 + (9 + REASONS + CLASSES + SKIPS + CALLS + 15) * 8, align 8);

/// The namespace that an entry of the table of counters belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `net_cookie`, which no other namespace has had since boot; where the kernel gives none, the
    /// namespace's random `hash_mix` above its inode number. 0 while the entry is free,
    /// [`LEAVING`] while user space empties it.
    pub id: u64,
    /// Inode number.
    pub netns: u32,
    pub reserved: u32,
}

/// In [`Owner::id`]: nobody finds the entry any more, and nobody may take it yet.
pub const LEAVING: u64 = u64::MAX;

/// Entries in a group. A namespace is looked for in one group; if others hold all of it, the very
/// first entry takes its counts.
pub const OWNERS_TOGETHER: usize = 8;

assert_layout!(Owner, size 16, align 8);
