//! Birth: `inet_twsk_hashdance(tw, sk, …)`, from 6.12 on `inet_twsk_hashdance_schedule`, called by
//! `tcp_time_wait` alone, with bottom halves disabled. The full socket is still whole there, the
//! mini-socket complete, and nobody else can find it yet.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use twtrace_common::record::{FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT};

use super::{FIN_WAIT2, now, owner, substate};
use crate::{
    emit, filter,
    read::{Access, Direct, Probed},
    settings::offset,
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
    });
}
