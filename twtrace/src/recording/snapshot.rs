//! Snapshots as they are on disk: histograms without their empty buckets.

use serde::{Deserialize, Serialize};
use twtrace_common::REASONS;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS};

use crate::event::{KernelCounters, Snapshot};

/// Buckets of all histograms together.
const ALL_BUCKETS: usize = REASONS * CLOCKS * BUCKETS;

#[derive(Serialize, Deserialize)]
pub(super) struct OnDisk {
    at_ns: u64,
    counters: Vec<CountersOnDisk>,
    /// Index and count of each bucket that is not empty.
    histograms: Vec<(usize, u64)>,
    missed: Option<u64>,
    kernel: Vec<KernelCounters>,
    slack: u64,
}

#[derive(Serialize, Deserialize)]
struct CountersOnDisk {
    netns: u32,
    born_fin_wait_2: u64,
    born_time_wait: u64,
    map_full: u64,
    promoted: u64,
    rearmed: u64,
    overflowed: u64,
    overflow_ring_full: u64,
    end_ring_full: u64,
    end_untracked: u64,
    ended: [u64; REASONS],
    filtered: u64,
    missed: u64,
}

impl From<&Snapshot> for OnDisk {
    fn from(snapshot: &Snapshot) -> Self {
        let Snapshot {
            at_ns,
            counters,
            histograms,
            missed,
            kernel,
            slack,
        } = snapshot;
        let buckets = histograms.iter().copied().enumerate();
        Self {
            at_ns: *at_ns,
            counters: counters.iter().map(CountersOnDisk::from).collect(),
            histograms: buckets.filter(|&(_, count)| count > 0).collect(),
            missed: *missed,
            kernel: kernel.clone(),
            slack: *slack,
        }
    }
}

impl OnDisk {
    /// `None` if a bucket does not exist.
    pub(super) fn snapshot(self) -> Option<Snapshot> {
        let mut histograms = vec![0; ALL_BUCKETS];
        for (index, count) in self.histograms {
            *histograms.get_mut(index)? = count;
        }
        Some(Snapshot {
            at_ns: self.at_ns,
            counters: self.counters.into_iter().map(Counters::from).collect(),
            histograms,
            missed: self.missed,
            kernel: self.kernel,
            slack: self.slack,
        })
    }
}

impl From<&Counters> for CountersOnDisk {
    fn from(counters: &Counters) -> Self {
        let Counters {
            netns,
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
            filtered,
            missed,
        } = *counters;
        Self {
            netns,
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
            filtered,
            missed,
        }
    }
}

impl From<CountersOnDisk> for Counters {
    fn from(counters: CountersOnDisk) -> Self {
        let CountersOnDisk {
            netns,
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
            filtered,
            missed,
        } = counters;
        Self {
            netns,
            reserved: 0,
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
            filtered,
            missed,
        }
    }
}
