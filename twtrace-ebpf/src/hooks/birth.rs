//! Birth and overflow: the return of `inet_twsk_alloc(sk, dr, state)`, called by `tcp_time_wait`
//! alone. The one place that knows the full socket, the mini-socket and that there is none.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::{
    record::{FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_OWNER, Flow, KIND_OVERFLOW, Overflow},
    settings::{FEATURE_OWNERS, FEATURE_RECORDS, FILTER_CGROUP, FILTER_UID},
};

use super::{FIN_WAIT2, now, pair};
use crate::{
    emit, filter,
    read::{Access, Direct, Probed},
    settings::{enabled, offset, setting},
    state::{self, Birth},
    tally,
};

const IPPROTO_TCP: u16 = 6;

#[fexit]
fn birth_slots(ctx: FExitContext) -> i32 {
    born::<Direct, true>(ctx.arg(0), ctx.arg::<u64>(2) as u8, ctx.arg(3))
}

#[fexit]
fn birth_spill(ctx: FExitContext) -> i32 {
    born::<Direct, false>(ctx.arg(0), ctx.arg::<u64>(2) as u8, ctx.arg(3))
}

#[kprobe]
fn birth_enter(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(state)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(2)) {
        pair::keep(pair::ALLOC, [sk, state, 0]);
    }
    0
}

#[kretprobe]
fn birth_return_slots(ctx: RetProbeContext) -> u32 {
    if let Some([sk, state, _]) = pair::take(pair::ALLOC) {
        born::<Probed, true>(sk, state as u8, ctx.ret());
    }
    0
}

#[kretprobe]
fn birth_return_spill(ctx: RetProbeContext) -> u32 {
    if let Some([sk, state, _]) = pair::take(pair::ALLOC) {
        born::<Probed, false>(sk, state as u8, ctx.ret());
    }
    0
}

#[inline(always)]
fn born<A: Access, const SLOTS: bool>(sk: u64, substate: u8, tw: u64) -> i32 {
    // DCCP's mini-sockets come this way too, on kernels that have DCCP.
    if A::get::<u16>(sk, offset!(sk_protocol)) != IPPROTO_TCP {
        return 0;
    }
    let netns = emit::netns::<A>(sk);
    let (uid, cgroup) = owner::<A>(sk);
    if filter::active() && !passes::<A>(sk, netns, uid, cgroup) {
        tally::count(netns, |counters| counters.filtered += 1);
        return 0;
    }
    if tw == 0 {
        overflow::<A>(sk, netns, uid, cgroup);
        return 0;
    }
    let fin_wait_2 = substate == FIN_WAIT2;
    let born_ns = now();
    let birth = Birth {
        key: tw,
        born_ns,
        time_wait_ns: if fin_wait_2 { 0 } else { born_ns },
        cgroup,
        uid,
        flags: owner_flag()
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
            counters.born_fin_wait_2 += 1;
        } else {
            counters.born_time_wait += 1;
        }
        if !kept {
            counters.map_full += 1;
        }
    });
    0
}

#[inline(always)]
fn overflow<A: Access>(sk: u64, netns: u32, uid: u32, cgroup: u64) {
    let mut fits = true;
    if enabled(FEATURE_RECORDS) {
        match emit::reserve::<Overflow>() {
            Some(mut entry) => {
                // SAFETY: integers only, and every field is written.
                let record = unsafe { &mut *entry.as_mut_ptr() };
                emit::flow::<A>(&mut record.flow, sk, netns);
                record.flow.kind = KIND_OVERFLOW;
                record.flow.reason = 0;
                record.flow.flags = owner_flag();
                record.flow.uid = uid;
                record.flow.cgroup = cgroup;
                record.at_ns = now();
                emit::submit(entry);
            }
            None => fits = false,
        }
    }
    tally::count(netns, |counters| {
        counters.overflowed += 1;
        if !fits {
            counters.overflow_ring_full += 1;
        }
    });
}

#[inline(always)]
fn owners_wanted() -> bool {
    enabled(FEATURE_OWNERS) || setting!(filter.flags) & (FILTER_UID | FILTER_CGROUP) != 0
}

#[inline(always)]
fn owner_flag() -> u8 {
    if owners_wanted() { FLAG_OWNER } else { 0 }
}

/// uid and cgroup id of a full socket. A mini-socket has neither, and `current` is whoever the
/// softirq interrupted.
#[inline(always)]
fn owner<A: Access>(sk: u64) -> (u32, u64) {
    if !owners_wanted() {
        return (0, 0);
    }
    (A::get(sk, offset!(sk_uid)), cgroup::<A>(sk))
}

#[inline(always)]
fn cgroup<A: Access>(sk: u64) -> u64 {
    if offset!(sk_cgroup) != 0 {
        let cgroup: u64 = A::get(sk, offset!(sk_cgroup));
        return A::get(A::get::<u64>(cgroup, offset!(cgroup_kn)), offset!(kn_id));
    }
    if offset!(sk_cgroup_packed) != 0 {
        // 5.10: bit 0 set means that the word holds cgroup v1 data; bit 1 is a flag too.
        let packed: u64 = Probed::get(sk, offset!(sk_cgroup_packed));
        if packed & 1 == 0 {
            let kn = Probed::get::<u64>(packed & !3, offset!(cgroup_kn));
            return Probed::get(kn, offset!(kn_id));
        }
    }
    0
}

#[inline(always)]
fn passes<A: Access>(sk: u64, netns: u32, uid: u32, cgroup: u64) -> bool {
    let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
    // SAFETY: the filters read only what is written here.
    let flow = unsafe { flow.assume_init_mut() };
    emit::flow::<A>(flow, sk, netns);
    flow.uid = uid;
    flow.cgroup = cgroup;
    filter::passes(flow, true)
}
