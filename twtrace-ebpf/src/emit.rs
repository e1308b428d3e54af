//! Filling records and handing them to the ring.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ringbuf_query,
    maps::ring_buf::RingBufEntry,
};
use twtrace_common::record::{AF_INET6, Flow};

use crate::{
    maps::RING,
    read::Access,
    settings::{offset, setting},
};

/// Largest record with its ring header: how far one submission moves the fill level.
const STEP: u64 = 96;

/// Reserves a record; `None` if the ring is full. The caller writes every field and submits.
#[inline(always)]
pub fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    RING.reserve::<T>(0)
}

/// Hands a record over.
#[inline(always)]
pub fn submit<T: 'static>(entry: RingBufEntry<T>) {
    entry.submit(wakeup());
}

/// Wakes the consumer once when the fill level crosses the threshold; below it, the consumer's
/// own clock is soon enough, and a wake-up costs more than the event.
#[inline(always)]
fn wakeup() -> u64 {
    // SAFETY: RING is a ring buffer; flag 0 asks for the bytes not yet consumed.
    let waiting = unsafe { bpf_ringbuf_query((&raw const RING).cast_mut().cast(), 0) };
    if waiting.wrapping_sub(u64::from(setting!(wake_bytes))) < STEP {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// Writes the connection of a `sock_common` (full socket or mini-socket). Kind, reason, flags and
/// owner are the caller's.
#[inline(always)]
pub fn flow<A: Access>(flow: &mut Flow, common: u64, netns: u32) {
    let family = A::get::<u16>(common, offset!(skc_family)) as u8;
    flow.family = family;
    flow.lport = A::get::<u16>(common, offset!(skc_num));
    flow.rport = u16::from_be(A::get::<u16>(common, offset!(skc_dport)));
    flow.netns = netns;
    if family == AF_INET6 {
        address(
            &mut flow.laddr,
            A::get(common, offset!(skc_v6_rcv_saddr)),
            A::get(common, offset!(skc_v6_rcv_saddr) + 8),
        );
        address(
            &mut flow.raddr,
            A::get(common, offset!(skc_v6_daddr)),
            A::get(common, offset!(skc_v6_daddr) + 8),
        );
    } else {
        address(
            &mut flow.laddr,
            u64::from(A::get::<u32>(common, offset!(skc_rcv_saddr))),
            0,
        );
        address(
            &mut flow.raddr,
            u64::from(A::get::<u32>(common, offset!(skc_daddr))),
            0,
        );
    }
}

#[inline(always)]
fn address(to: &mut [u8; 16], first: u64, second: u64) {
    let words = to.as_mut_ptr().cast::<u64>();
    // SAFETY: 16 bytes; `Flow` is 8-byte aligned and its addresses are at multiples of 8.
    unsafe {
        words.write(first);
        words.add(1).write(second);
    }
}

/// Inode number of the namespace of a `sock_common`.
#[inline(always)]
pub fn netns<A: Access>(common: u64) -> u32 {
    A::get(A::get::<u64>(common, offset!(skc_net)), offset!(net_inum))
}
