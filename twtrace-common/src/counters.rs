//! Exact totals, kept in the kernel per CPU and per network namespace.

use crate::{REASONS, assert_layout};

/// One namespace's totals on one CPU; user space adds the CPUs up.
///
/// Entry 0 of the table belongs to no namespace in particular: it takes what finds no entry of
/// its own when there are more namespaces than entries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Inode number of the namespace, 0 while the entry is free (and in entry 0).
    pub netns: u32,
    pub reserved: u32,
    /// Mini-sockets created in substate FIN_WAIT2.
    pub born_fin_wait_2: u64,
    /// Mini-sockets created in substate TIME_WAIT.
    pub born_time_wait: u64,
    /// Births that found no room in the state maps: their ends have no lifetime.
    pub map_full: u64,
    /// FIN_WAIT2 to TIME_WAIT.
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
    /// Births and ends in this namespace left out by the filters; they are in no other field.
    pub filtered: u64,
    /// A return probe that never came (kprobe mode): an event of this CPU is missing.
    pub missed: u64,
}

impl Counters {
    pub const ZERO: Self = Self {
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
        filtered: 0,
        missed: 0,
    };
}

assert_layout!(Counters, size 8 + 9 * 8 + REASONS * 8 + 2 * 8, align 8);
