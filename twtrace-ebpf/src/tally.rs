//! Exact totals: per-CPU counters by namespace, and lifetime histograms.

use twtrace_common::{
    counters::Counters,
    histogram::{BUCKETS, CLOCKS, Clock, TOTAL_BUCKETS, bucket},
};

use crate::{
    maps::{COUNTERS, HISTOGRAMS},
    read::opaque,
    settings::setting,
};

/// How many entries are tried for a namespace before entry 0 takes its counts.
const PROBES: u32 = 4;

/// Counts in the entry of a namespace on this CPU, by [`bump`].
#[inline(always)]
pub fn count(netns: u32, update: impl FnOnce(&mut Counters)) {
    if let Some(entry) = entry(netns) {
        // SAFETY: a map value of this CPU, proved non-null by the verifier.
        update(unsafe { &mut *entry });
    }
}

#[inline(always)]
fn entry(netns: u32) -> Option<*mut Counters> {
    let mask = setting!(counters_mask);
    let mut probe = 0;
    while probe < PROBES {
        let entry = COUNTERS.get_ptr_mut((netns.wrapping_add(probe) & mask) + 1)?;
        // SAFETY: as in `count`.
        let owner = unsafe { &raw mut (*entry).netns };
        // SAFETY: as in `count`.
        unsafe {
            if *owner == netns {
                return Some(entry);
            }
            if *owner == 0 {
                *owner = netns;
                return Some(entry);
            }
        }
        probe = opaque(u64::from(probe) + 1) as u32;
    }
    COUNTERS.get_ptr_mut(0)
}

/// Adds one lifetime to a histogram if `known` is 1, not if it is 0. The histograms are shared by all CPUs: one per CPU would
/// take half a megabyte of kernel memory each.
#[inline(always)]
pub fn record(reason: u8, clock: Clock, ns: u64, known: u64) {
    let Some(histograms) = HISTOGRAMS.get_ptr_mut(0) else {
        return;
    };
    let index =
        (u64::from(reason) * CLOCKS as u64 + clock as u64) * BUCKETS as u64 + bucket(ns) as u64;
    // Unknown: an index that is out of range.
    let index = index | known.wrapping_sub(1);
    if index < TOTAL_BUCKETS as u64 {
        // SAFETY: a map value, and the index was just checked against its length.
        unsafe { add(histograms.cast::<u64>().add(index as usize), 1) };
    }
}

/// Counts one. Atomic, because a softirq on this CPU may count in between.
#[inline(always)]
pub fn bump(counter: &mut u64) {
    // SAFETY: a valid counter.
    unsafe { add(counter, 1) };
}

/// Counts one at an index of a table.
#[inline(always)]
pub fn bump_at<const N: usize>(table: &mut [u64; N], index: u8) {
    if (index as usize) < N {
        // SAFETY: the index was just checked.
        bump(unsafe { &mut *table.as_mut_ptr().add(index as usize) });
    }
}

/// Counts one if `yes` is 1, not if it is 0.
#[inline(always)]
pub fn bump_if(counter: &mut u64, yes: u64) {
    // SAFETY: a valid counter.
    unsafe { add(counter, yes) };
}

/// `lock add`: the target has no atomic operations of its own in Rust.
#[inline(always)]
unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: the caller hands over a valid counter.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) value);
    }
}
