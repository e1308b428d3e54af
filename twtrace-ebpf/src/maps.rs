//! The maps. User space resizes them before loading; the sizes here are minimal.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use twtrace_common::{
    counters::{Counters, OWNERS_TOGETHER, Owner},
    histogram::Histograms,
    slot::Slot,
};

use crate::layout::{Arguments, Frames, Key, PortCall, Sample};

#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(1, 0);
#[map]
pub static SPILL: HashMap<u64, Slot> = HashMap::with_max_entries(1, 0);
/// User space reads and empties these two in place.
#[map]
pub static OWNERS: Array<[Owner; OWNERS_TOGETHER]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static COUNTERS: Array<Counters> = Array::with_max_entries(2, BPF_F_MMAPABLE);
/// See [`crate::tally`].
#[map]
pub static CLAIMS: HashMap<u32, u64> = HashMap::with_max_entries(1, 0);
#[map]
pub static HISTOGRAMS: Array<Histograms> = Array::with_max_entries(1, 0);
/// See [`crate::hooks::pair`].
#[map]
pub static ARGUMENTS: PerCpuArray<Arguments> = PerCpuArray::with_max_entries(2, 0);
#[map]
pub static FRAMES: LruHashMap<Key, Frames> = LruHashMap::with_max_entries(1, 0);
/// Where the end of a mini-socket that has no slot is put together.
#[map]
pub static SCRATCH: PerCpuArray<Slot> = PerCpuArray::with_max_entries(1, 0);
/// See [`crate::evidence`].
#[map]
pub static SAMPLE: PerCpuArray<Sample> = PerCpuArray::with_max_entries(3, 0);
/// The first of these by task, where the kernel preempts bottom halves.
#[map]
pub static SAMPLES: LruHashMap<u64, Sample> = LruHashMap::with_max_entries(1, 0);
/// See [`crate::hooks::ports`]. The tasks whose last call is oldest give way.
#[map]
pub static PORT_CALLS: LruHashMap<u64, PortCall> = LruHashMap::with_max_entries(1, 0);
/// How many calls are noted there because a mini-socket blocked a candidate.
#[map]
pub static BLOCKED_CALLS: Array<u64> = Array::with_max_entries(1, 0);
/// See [`crate::emit::within_budget`]: when the window began, and how many were reported in it.
#[map]
pub static BUDGET: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(2, 0);
