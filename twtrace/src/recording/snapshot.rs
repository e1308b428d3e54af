//! Snapshots as they are on disk: histograms without their empty buckets.

use serde::{Deserialize, Serialize};
use twtrace_common::REASONS;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS};

use crate::event::bounded::list;
use crate::event::{KernelCounters, Snapshot};

/// Buckets of all histograms together.
const ALL_BUCKETS: usize = REASONS * CLOCKS * BUCKETS;

/// Namespaces that are told apart, so that a block has room for them.
const MOST_NAMESPACES: usize = 4_096;

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
            counters: told_apart(counters),
            histograms: buckets.filter(|&(_, count)| count > 0).collect(),
            missed: *missed,
            kernel: kernel.iter().take(MOST_NAMESPACES).cloned().collect(),
            slack: *slack,
        }
    }
}

/// Those beyond the limit are counted with what belongs to no namespace.
fn told_apart(counters: &[Counters]) -> Vec<Counters> {
    if counters.len() <= MOST_NAMESPACES {
        return counters.to_vec();
    }
    let (apart, beyond) = counters.split_at(MOST_NAMESPACES - 1);
    let mut all = apart.to_vec();
    if all.iter().all(|one| one.netns != 0) {
        all.push(Counters::ZERO);
    }
    for rest in all.iter_mut().filter(|one| one.netns == 0) {
        beyond.iter().for_each(|one| rest.add(one));
    }
    all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_beyond_the_most_are_counted_together() {
        let counters = |netns| Counters {
            netns,
            born_time_wait: 1,
            ..Counters::ZERO
        };
        let born = |all: &[Counters]| all.iter().map(|one| one.born_time_wait).sum::<u64>();
        for first in [0, 1] {
            let many: Vec<_> = (first..10_000).map(counters).collect();
            let told = told_apart(&many);
            assert!(told.len() <= MOST_NAMESPACES);
            assert_eq!(born(&told), born(&many));
            assert_eq!(told[1..100], many[1..100]);
            assert_eq!(told.iter().filter(|one| one.netns == 0).count(), 1);
        }
        let few: Vec<_> = (1..100).map(counters).collect();
        assert_eq!(told_apart(&few), few);
    }
}
