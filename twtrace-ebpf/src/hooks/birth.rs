//! Birth: `inet_twsk_hashdance(tw, sk, …)`, from 6.12 on `inet_twsk_hashdance_schedule`, called by
//! `tcp_time_wait` alone (up to 6.11 with bottom halves disabled). The full socket is still whole
//! there, the mini-socket complete, and nobody else can find it yet.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use twtrace_common::{
    record::{self, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, KIND_BIRTH},
    settings::{FEATURE_AGAIN, FEATURE_BIRTHS, FEATURE_RECORDS},
};

use super::{FIN_WAIT2, owner, substate};
use crate::{
    clock::now,
    emit, filter, netns,
    read::{Access, Direct, Probed},
    settings::{enabled, offset},
    state::{self, Birth},
    tally::{self, bump},
};

#[fentry]
fn birth_slots(ctx: FEntryContext) -> i32 {
    born::<Direct, true, false>(ctx.arg(0), ctx.arg(1));
    0
}

/// Attached after `birth_slots`, on the same function, where that is entered with bottom halves
/// enabled: if a softirq interrupts one of the two there and makes a mini-socket of its own, the
/// kernel skips that program for it, but not the other.
#[fentry]
fn birth_again(ctx: FEntryContext) -> i32 {
    let (tw, sk): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    if (filter::active() && !filter::passes_flow::<Direct>(sk))
        || state::holds(Direct::get(sk, offset!(skc_hash)), tw)
    {
        return 0;
    }
    born_unseen(tw, sk);
    0
}

#[fentry]
fn birth_spill(ctx: FEntryContext) -> i32 {
    born::<Direct, false, false>(ctx.arg(0), ctx.arg(1));
    0
}

#[kprobe]
fn birth_kprobe_slots(ctx: ProbeContext) -> u32 {
    if let (Some(tw), Some(sk)) = (ctx.arg(0), ctx.arg(1)) {
        born::<Probed, true, false>(tw, sk);
    }
    0
}

#[kprobe]
fn birth_kprobe_spill(ctx: ProbeContext) -> u32 {
    if let (Some(tw), Some(sk)) = (ctx.arg(0), ctx.arg(1)) {
        born::<Probed, false, false>(tw, sk);
    }
    0
}

/// A birth that is not in SLOTS: its owner was filtered out, or SLOTS had no room, or it was
/// skipped.
#[inline(always)]
fn born_unseen(tw: u64, sk: u64) {
    let passes = !filter::by_owner() || owner::passes_filters::<Direct>(sk);
    if passes && state::spilled(Direct::get(sk, offset!(skc_hash)), tw).is_none() {
        born::<Direct, true, true>(tw, sk);
    }
}

#[inline(always)]
fn born<A: Access, const SLOTS: bool, const AGAIN: bool>(tw: u64, sk: u64) {
    // DCCP's mini-sockets come this way too, on kernels that have DCCP.
    if !owner::is_tcp::<A>(sk) || state::closed() {
        return;
    }
    if !AGAIN && filter::active() && !owner::passes::<A>(sk) {
        tally::count_unassigned(|counters| bump(&mut counters.filtered));
        return;
    }
    let netns = netns::of_sock::<A>(sk);
    let fin_wait_2 = substate::<A>(tw) == FIN_WAIT2;
    let born_ns = now();
    let (uid, cgroup) = owner::of::<A>(sk);
    let birth = Birth {
        key: tw,
        born_ns,
        now_ns: born_ns,
        hash: A::get(sk, offset!(skc_hash)),
        time_wait_ns: if fin_wait_2 { 0 } else { born_ns },
        cgroup,
        uid,
        flags: owner::flag()
            | if fin_wait_2 {
                FLAG_BORN_FIN_WAIT_2
            } else {
                FLAG_IN_TIME_WAIT
            },
    };
    let mut stale = 0;
    let kept = (SLOTS && state::claim(&birth, &mut stale)) || state::spill(&birth);
    if !kept && !AGAIN && A::TYPED && enabled(FEATURE_AGAIN) {
        // `birth_again` cannot tell this from a birth that was skipped, so that one counts both.
        return;
    }
    tally::count(netns, |counters| {
        if fin_wait_2 {
            bump(&mut counters.born_fin_wait_2);
        } else {
            bump(&mut counters.born_time_wait);
        }
        if !kept {
            bump(&mut counters.map_full);
        } else if AGAIN {
            bump(&mut counters.birth_caught);
        }
        if enabled(FEATURE_BIRTHS)
            && enabled(FEATURE_RECORDS)
            && !report::<A>(sk, netns.inum, &birth)
        {
            bump(&mut counters.birth_ring_full);
        }
        if SLOTS && stale != 0 {
            bump(&mut counters.slot_stale);
        }
    });
}

/// Reports a birth. False if the ring is full.
#[inline(always)]
fn report<A: Access>(sk: u64, netns: u32, birth: &Birth) -> bool {
    let Some(mut entry) = emit::reserve::<record::Birth>() else {
        return false;
    };
    // SAFETY: integers only, and every field is written.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    emit::flow::<A>(&mut record.flow, sk, netns);
    record.flow.kind = KIND_BIRTH;
    record.flow.reason = 0;
    record.flow.flags = birth.flags;
    record.flow.uid = birth.uid;
    record.flow.cgroup = birth.cgroup;
    record.at_ns = birth.born_ns;
    emit::submit(entry);
    true
}
