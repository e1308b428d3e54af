//! Birth: `inet_twsk_hashdance(tw, sk, …)`, from 6.12 on `inet_twsk_hashdance_schedule`, called by
//! `tcp_time_wait` alone, with bottom halves disabled. The full socket is still whole there, the
//! mini-socket complete, and nobody else can find it yet.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use twtrace_common::{
    record::{self, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, KIND_BIRTH},
    settings::{FEATURE_BIRTHS, FEATURE_RECORDS},
};

use super::{FIN_WAIT2, now, owner, substate};
use crate::{
    emit, filter,
    read::{Access, Direct, Probed},
    settings::{enabled, offset},
    state::{self, Birth},
    tally::{self, bump},
};

#[fentry]
fn birth_slots(ctx: FEntryContext) -> i32 {
    born::<Direct, true>(ctx.arg(0), ctx.arg(1));
    0
}

#[fentry]
fn birth_spill(ctx: FEntryContext) -> i32 {
    born::<Direct, false>(ctx.arg(0), ctx.arg(1));
    0
}

#[kprobe]
fn birth_kprobe_slots(ctx: ProbeContext) -> u32 {
    if let (Some(tw), Some(sk)) = (ctx.arg(0), ctx.arg(1)) {
        born::<Probed, true>(tw, sk);
    }
    0
}

#[kprobe]
fn birth_kprobe_spill(ctx: ProbeContext) -> u32 {
    if let (Some(tw), Some(sk)) = (ctx.arg(0), ctx.arg(1)) {
        born::<Probed, false>(tw, sk);
    }
    0
}

#[inline(always)]
fn born<A: Access, const SLOTS: bool>(tw: u64, sk: u64) {
    // DCCP's mini-sockets come this way too, on kernels that have DCCP.
    if !owner::is_tcp::<A>(sk) {
        return;
    }
    let netns = emit::netns::<A>(sk);
    let (uid, cgroup) = owner::of::<A>(sk);
    if filter::active() && !owner::passes::<A>(sk, netns, uid, cgroup) {
        tally::count(netns, |counters| bump(&mut counters.filtered));
        return;
    }
    let fin_wait_2 = substate::<A>(tw) == FIN_WAIT2;
    let born_ns = now();
    let birth = Birth {
        key: tw,
        born_ns,
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
    let kept =
        (SLOTS && state::claim(A::get(sk, offset!(skc_hash)), &birth)) || state::spill(&birth);
    tally::count(netns, |counters| {
        if fin_wait_2 {
            bump(&mut counters.born_fin_wait_2);
        } else {
            bump(&mut counters.born_time_wait);
        }
        if !kept {
            bump(&mut counters.map_full);
        }
        if enabled(FEATURE_BIRTHS) && enabled(FEATURE_RECORDS) && !report::<A>(sk, netns, &birth) {
            bump(&mut counters.birth_ring_full);
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
