//! Snapshots as they are on disk: histograms without their empty buckets.

use serde::{Deserialize, Serialize};
use twtrace_common::REASONS;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS};

use crate::event::bounded::list;
use crate::event::{KernelCounters, Snapshot};

/// Buckets of all histograms together.
const ALL_BUCKETS: usize = REASONS * CLOCKS * BUCKETS;

/// Namespaces that are told apart: there is not room for more in a block.
const MOST_NAMESPACES: usize = 8_192;

#[derive(Serialize, Deserialize)]
pub(super) struct OnDisk {
    at_ns: u64,
    #[serde(deserialize_with = "list::<_, _, MOST_NAMESPACES>")]
    counters: Vec<Counters>,
    /// Index and count of each bucket that is not empty.
    #[serde(deserialize_with = "list::<_, _, ALL_BUCKETS>")]
    histograms: Vec<(usize, u64)>,
    missed: Option<u64>,
    #[serde(deserialize_with = "list::<_, _, MOST_NAMESPACES>")]
    kernel: Vec<KernelCounters>,
    slack: u64,
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
            counters: counters.clone(),
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
            counters: self.counters,
            histograms,
            missed: self.missed,
            kernel: self.kernel,
            slack: self.slack,
        })
    }
}
