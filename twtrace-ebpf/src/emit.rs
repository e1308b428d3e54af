//! Filling records and handing them to the ring.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ringbuf_query,
    maps::ring_buf::RingBufEntry,
};
use twtrace_common::{
    counters::Counters,
    record::{AF_INET6, Flow, KIND_REFUSAL, Refusal},
    settings::{FEATURE_RECORDS, REFUSAL_WINDOW_NS},
};

use crate::{
    clock::NS_PER_S,
    evidence::{NOT_REFUSED, fresh, keep},
    layout::Sample,
    maps::{BUDGET, RING},
    netns,
    read::Access,
    settings::{enabled, offset, setting},
    state,
    tally::{self, bump_if},
};

/// Largest record with its ring header: how far one submission moves the fill level.
const STEP: u64 = 120;

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
    if waiting().wrapping_sub(u64::from(setting!(wake_bytes))) < STEP {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// Whether refusals and port failures have used up their share of the ring.
#[inline(always)]
pub fn share_is_full() -> bool {
    waiting() >= u64::from(setting!(refusal_bytes))
}

/// Bytes in the ring that are not yet consumed.
#[inline(always)]
fn waiting() -> u64 {
    // SAFETY: RING is a ring buffer; flag 0 asks for this.
    unsafe { bpf_ringbuf_query((&raw const RING).cast_mut().cast(), 0) }
}

/// Reports a refusal, unless there were too many lately or the ring is needed for ends. It is counted
/// by [`count_refusal`] or [`tell`].
#[inline(always)]
pub fn refusal<A: Access>(common: u64, sample: &mut Sample) {
    if state::closed() {
        return;
    }
    keep!(sample.judged = 1);
    keep!(sample.fits = FITS);
    if enabled(FEATURE_RECORDS) && fresh!(sample.class) != NOT_REFUSED {
        keep!(sample.fits = refusal_record::<A>(common, netns::inum_of_sock::<A>(common), sample));
    }
}

/// Counts what was [`refusal`].
#[inline(always)]
pub fn count_refusal<A: Access>(common: u64, sample: &Sample) {
    tally::count(netns::of_sock::<A>(common), |counters| {
        tell(counters, sample)
    });
}

/// Counts a refusal, or an answer that was suppressed.
#[inline(always)]
pub fn tell(counters: &mut Counters, sample: &Sample) {
    let fits = u64::from(fresh!(sample.fits));
    bump_if(&mut counters.refusal_limited, fits & u64::from(LIMITED));
    bump_if(&mut counters.refusal_ring_full, fits >> 1);
    tally::bump_at(&mut counters.refused, fresh!(sample.class));
    tally::bump_at(&mut counters.skipped, fresh!(sample.skipped));
    bump_if(&mut counters.refused_syns, fresh!(sample.opens).into());
}

// Whether a record found room.
pub const FITS: u8 = 0;
/// It was not tried.
pub const LIMITED: u8 = 1;
pub const RING_FULL: u8 = 2;

// Entries of BUDGET.
const REFUSALS: u32 = 0;
pub const PORT_FAILURES: u32 = 1;

#[inline(always)]
fn refusal_record<A: Access>(common: u64, netns: u32, sample: &Sample) -> u8 {
    let at_ns = fresh!(sample.at_ns);
    if !within_budget(REFUSALS, setting!(refusal_budget), at_ns) {
        return LIMITED;
    }
    if share_is_full() {
        return RING_FULL;
    }
    let Some(mut entry) = reserve::<Refusal>() else {
        return RING_FULL;
    };
    // SAFETY: integers only, and every field is written.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    flow::<A>(&mut record.flow, common, netns);
    record.flow.kind = KIND_REFUSAL;
    record.flow.reason = fresh!(sample.stage);
    record.flow.flags = fresh!(sample.flags);
    record.flow.uid = fresh!(sample.uid);
    record.flow.cgroup = fresh!(sample.cgroup);
    record.at_ns = at_ns;
    record.time_wait_ns = fresh!(sample.time_wait_ns);
    record.tsval = fresh!(sample.tsval);
    record.ts_recent = fresh!(sample.ts_recent);
    record.ts_recent_age_s = ((at_ns / NS_PER_S) as u32).wrapping_sub(fresh!(sample.stamp_s));
    record.seq = fresh!(sample.seq);
    record.rcv_nxt = fresh!(sample.rcv_nxt);
    record.refused = fresh!(sample.refused);
    record.window = fresh!(sample.window);
    record.rule = fresh!(sample.rule);
    record.reply = fresh!(sample.reply);
    record.tcp_flags = fresh!(sample.tcp_flags);
    record.ttl = fresh!(sample.ttl);
    record.owner_ttl = fresh!(sample.owner_ttl);
    record.reserved = 0;
    submit(entry);
    FITS
}

/// Whether this CPU may report one more of a class in this window.
#[inline(always)]
pub fn within_budget(class: u32, budget: u32, now: u64) -> bool {
    let Some(spent) = BUDGET.get_ptr_mut(class) else {
        return false;
    };
    // SAFETY: a map value of this CPU.
    let [begun, used] = unsafe { &mut *spent };
    if now.wrapping_sub(*begun) > REFUSAL_WINDOW_NS {
        *begun = now;
        *used = 0;
    }
    *used += 1;
    *used <= u64::from(budget)
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
