//! Filling records and handing them to the ring.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ringbuf_query,
    maps::ring_buf::RingBufEntry,
};
use twtrace_common::{
    record::{AF_INET6, FLAG_OWNER, Flow, KIND_REFUSAL, Refusal},
    settings::{FEATURE_RECORDS, REFUSAL_WINDOW_NS},
    slot::{Slot, TTL_SHIFT},
};

use crate::{
    maps::{BUDGET, RING},
    read::Access,
    settings::{enabled, offset, setting},
    tally::{self, bump, bump_if},
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

/// Bytes in the ring that are not yet consumed.
#[inline(always)]
fn waiting() -> u64 {
    // SAFETY: RING is a ring buffer; flag 0 asks for this.
    unsafe { bpf_ringbuf_query((&raw const RING).cast_mut().cast(), 0) }
}

/// What a refusal rests on; fields as in [`Refusal`].
pub struct Evidence {
    pub at_ns: u64,
    pub time_wait_ns: u64,
    pub cgroup: u64,
    pub uid: u32,
    pub tsval: u32,
    pub ts_recent: u32,
    pub ts_recent_age_s: u32,
    pub seq: u32,
    pub rcv_nxt: u32,
    pub refused: u32,
    pub window: u16,
    pub stage: u8,
    pub rule: u8,
    pub reply: u8,
    pub tcp_flags: u8,
    pub ttl: u8,
    pub owner_ttl: u8,
    /// `FLAG_` bits.
    pub flags: u8,
}

impl Evidence {
    pub const NONE: Self = Self {
        at_ns: 0,
        time_wait_ns: 0,
        cgroup: 0,
        uid: 0,
        tsval: 0,
        ts_recent: 0,
        ts_recent_age_s: 0,
        seq: 0,
        rcv_nxt: 0,
        refused: 0,
        window: 0,
        stage: 0,
        rule: 0,
        reply: 0,
        tcp_flags: 0,
        ttl: 0,
        owner_ttl: 0,
        flags: 0,
    };

    /// Adds what is known of the mini-socket that refused.
    #[inline(always)]
    pub fn of_slot(&mut self, slot: &Slot) {
        self.time_wait_ns = slot.time_wait_ns;
        self.cgroup = slot.cgroup;
        self.uid = slot.uid;
        self.refused = slot.refused;
        self.owner_ttl = (slot.flags >> TTL_SHIFT) as u8;
        self.flags |= slot.flags as u8 & FLAG_OWNER;
    }
}

/// What is counted of a refusal.
pub struct Counted {
    /// Index into `Counters::refused`.
    pub class: u32,
    /// Index into `Counters::skipped`, if the answer was suppressed.
    pub skipped: Option<u32>,
    /// A mini-socket refused a SYN.
    pub opens: bool,
    pub differs: bool,
}

#[inline(always)]
pub fn count_refusal(netns: u32, counted: &Counted) {
    tally::count(netns, |counters| {
        tally::bump_at(&mut counters.refused, counted.class);
        if let Some(skipped) = counted.skipped {
            tally::bump_at(&mut counters.skipped, skipped);
        }
        bump_if(&mut counters.refused_syns, u64::from(counted.opens));
        bump_if(&mut counters.verdict_differs, u64::from(counted.differs));
    });
}

#[inline(always)]
pub fn count_skipped(netns: u32, skipped: u32) {
    tally::count(netns, |counters| {
        tally::bump_at(&mut counters.skipped, skipped)
    });
}

/// Reports a refusal, unless there were too many lately or the ring is needed for ends.
#[inline(always)]
pub fn refusal<A: Access>(common: u64, netns: u32, evidence: &Evidence) {
    if !enabled(FEATURE_RECORDS) {
        return;
    }
    if !within_budget(evidence.at_ns) {
        tally::count(netns, |counters| bump(&mut counters.refusal_limited));
        return;
    }
    let entry = if waiting() < u64::from(setting!(refusal_bytes)) {
        reserve::<Refusal>()
    } else {
        None
    };
    let Some(mut entry) = entry else {
        tally::count(netns, |counters| bump(&mut counters.refusal_ring_full));
        return;
    };
    // SAFETY: integers only, and every field is written.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    flow::<A>(&mut record.flow, common, netns);
    record.flow.kind = KIND_REFUSAL;
    record.flow.reason = evidence.stage;
    record.flow.flags = evidence.flags;
    record.flow.uid = evidence.uid;
    record.flow.cgroup = evidence.cgroup;
    record.at_ns = evidence.at_ns;
    record.time_wait_ns = evidence.time_wait_ns;
    record.tsval = evidence.tsval;
    record.ts_recent = evidence.ts_recent;
    record.ts_recent_age_s = evidence.ts_recent_age_s;
    record.seq = evidence.seq;
    record.rcv_nxt = evidence.rcv_nxt;
    record.refused = evidence.refused;
    record.window = evidence.window;
    record.rule = evidence.rule;
    record.reply = evidence.reply;
    record.tcp_flags = evidence.tcp_flags;
    record.ttl = evidence.ttl;
    record.owner_ttl = evidence.owner_ttl;
    record.reserved = 0;
    submit(entry);
}

/// Whether this CPU may report one more in this window.
#[inline(always)]
fn within_budget(now: u64) -> bool {
    let Some(budget) = BUDGET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a map value of this CPU.
    let [begun, used] = unsafe { &mut *budget };
    if now.wrapping_sub(*begun) > REFUSAL_WINDOW_NS {
        *begun = now;
        *used = 0;
    }
    *used += 1;
    *used <= u64::from(setting!(refusal_budget))
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
