//! Exact totals: counters by namespace, and lifetime histograms.
//!
//! Each namespace has an entry of OWNERS, and as many copies of its counters in COUNTERS as there
//! are stripes. A CPU keeps to one stripe, so that few share a cache line; all counting is atomic,
//! so that nothing depends on how many do.

use core::{
    arch::asm,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_get_smp_processor_id};
use twtrace_common::{
    counters::{Counters, OWNERS_TOGETHER, Owner},
    histogram::{BUCKETS, CLOCKS, Clock, TOTAL_BUCKETS, bucket},
};

use crate::{
    maps::{CLAIMS, COUNTERS, HISTOGRAMS, OWNERS},
    netns::Netns,
    read::{forget, opaque},
    settings::setting,
};

/// 2^64 divided by the golden ratio: multiplied by it, numbers close together are far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The entry for what belongs to no namespace in particular.
const UNASSIGNED: u32 = 0;

/// Counts for a namespace, by [`bump`].
#[inline(always)]
pub fn count(netns: Netns, update: impl FnOnce(&mut Counters)) {
    count_in(entry(netns).unwrap_or(UNASSIGNED), update);
}

/// Counts what no namespace is known of.
#[inline(always)]
pub fn count_unassigned(update: impl FnOnce(&mut Counters)) {
    count_in(UNASSIGNED, update);
}

#[inline(always)]
fn count_in(entry: u32, update: impl FnOnce(&mut Counters)) {
    let stripes_mask = setting!(stripes_mask);
    let stripe = if stripes_mask == 0 {
        0
    } else {
        // SAFETY: takes no arguments.
        unsafe { bpf_get_smp_processor_id() & stripes_mask }
    };
    let index = entry * (stripes_mask + 1) + stripe;
    if let Some(counters) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a map value, which the verifier has proved non-null. `update` adds atomically.
        update(unsafe { &mut *counters });
    }
}

/// The entry of a namespace; `None` if there is no room for it.
#[inline(always)]
fn entry(netns: Netns) -> Option<u32> {
    // Ids grow one by one on each CPU, from multiples of 4,096 on.
    let start = (netns.id.wrapping_mul(GOLDEN) >> 40) as u32;
    let together = start & setting!(owners_mask);
    let owners = OWNERS.get_ptr_mut(together)?.cast::<Owner>();
    // SAFETY: a map value of so many.
    let id = |nth: u32| unsafe { read_volatile(&raw const (*owners.add(nth as usize)).id) };
    let mut nth = 0;
    // In this order: another CPU may take a free one for this very namespace between the two reads,
    // and to go past it would be to take a second.
    while id(nth) != 0 && id(nth) != netns.id {
        nth = opaque(u64::from(nth) + 1) as u32;
        if nth == OWNERS_TOGETHER as u32 {
            return None;
        }
    }
    const { assert!(OWNERS_TOGETHER == 8) };
    // The verifier would walk what follows once for each.
    let nth = three_bits(forget(nth as u8 + 1).wrapping_sub(1)) as u32;
    let at = together * OWNERS_TOGETHER as u32 + nth + 1;
    if id(nth) == netns.id {
        return Some(at);
    }
    // SAFETY: as above.
    claim(at, unsafe { owners.add(nth as usize) }, netns)
}

/// The compiler would drop a mask that it knows to change nothing; the verifier needs it.
#[inline(always)]
fn three_bits(mut value: u64) -> u64 {
    // SAFETY: arithmetic on one register.
    unsafe { asm!("{0} &= 7", inout(reg) value) };
    value
}

/// Takes a free entry; `None` if another namespace did meanwhile.
///
/// The hash map decides who was first, on kernels that cannot compare and exchange, too. All who
/// come for the same namespace then write the same.
#[inline(always)]
fn claim(at: u32, owner: *mut Owner, netns: Netns) -> Option<u32> {
    let _ = CLAIMS.insert(at, netns.id, u64::from(BPF_NOEXIST));
    // SAFETY: map values. The number is there before anybody finds the entry by its id.
    unsafe {
        if read_volatile(CLAIMS.get_ptr(at)?) != netns.id {
            return None;
        }
        write_volatile(&raw mut (*owner).netns, netns.inum);
        write_volatile(&raw mut (*owner).id, netns.id);
    }
    Some(at)
}

/// Adds one lifetime to a histogram. The histograms are shared by all CPUs: one per CPU would take
/// half a megabyte of kernel memory each.
#[inline(always)]
pub fn record(reason: u8, clock: Clock, ns: u64) {
    let Some(histograms) = HISTOGRAMS.get_ptr_mut(0) else {
        return;
    };
    let index =
        (u64::from(reason) * CLOCKS as u64 + clock as u64) * BUCKETS as u64 + bucket(ns) as u64;
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
    // One register for the check and the use, as the verifier wants it.
    let index = opaque(index.into()) as usize;
    if index < N {
        // SAFETY: the index was just checked.
        bump(unsafe { &mut *table.as_mut_ptr().add(index) });
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
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) value);
    }
}
