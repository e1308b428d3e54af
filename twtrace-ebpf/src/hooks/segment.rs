//! A segment for a mini-socket: `tcp_timewait_state_process(tw, skb, th, …)`, entry and return.
//!
//! At entry the mini-socket is as the previous segment left it; at return the verdict is known,
//! but the mini-socket may be gone (a RST kills it inside), so after a RST it is only an address.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::{
    record::FLAG_IN_TIME_WAIT,
    settings::FEATURE_REARMS,
    slot::{TCP_TW_ACK, TCP_TW_RST, TCP_TW_SYN},
};

use super::{FIN_WAIT2, TIME_WAIT, find_or_adopt, hash, now, pair, substate};
use crate::{
    emit,
    read::{Access, Direct, Probed},
    settings::{enabled, offset},
    state,
    tally::{self, bump},
};

/// Byte 13 of the TCP header.
const FLAGS: usize = 13;
const FIN: u8 = 1;
const RST: u8 = 4;

#[fentry]
fn segment_enter(ctx: FEntryContext) -> i32 {
    enter::<Direct>(ctx.arg(0), ctx.arg(2))
}

// The return value stands behind the arguments, whose number differs between kernels; user space
// chooses by the names and number of the function's BTF parameters.

#[fexit]
fn segment_exit_3(ctx: FExitContext) -> i32 {
    exit::<Direct>(ctx.arg(0), ctx.arg(2), ctx.arg::<u64>(3) as u32)
}

#[fexit]
fn segment_exit_4(ctx: FExitContext) -> i32 {
    exit::<Direct>(ctx.arg(0), ctx.arg(2), ctx.arg::<u64>(4) as u32)
}

#[fexit]
fn segment_exit_5(ctx: FExitContext) -> i32 {
    exit::<Direct>(ctx.arg(0), ctx.arg(2), ctx.arg::<u64>(5) as u32)
}

#[kprobe]
fn segment_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(tw), Some(th)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(2)) {
        pair::keep(pair::SEGMENT, [tw, th, 0]);
        enter::<Probed>(tw, th);
    }
    0
}

#[kretprobe]
fn segment_kretprobe(ctx: RetProbeContext) -> u32 {
    if let Some([tw, th, _]) = pair::take(pair::SEGMENT) {
        exit::<Probed>(tw, th, ctx.ret::<u64>() as u32);
    }
    0
}

#[inline(always)]
fn enter<A: Access>(tw: u64, th: u64) -> i32 {
    let flags: u8 = A::get(th, FLAGS);
    let substate = substate::<A>(tw);
    if flags & RST != 0 {
        if let Some(slot) = find_or_adopt(tw, hash::<A>(tw), substate) {
            slot.marks.rst = 1;
        }
    } else if substate == FIN_WAIT2 {
        // So that a promotion is told from a re-arm even if the birth was not seen.
        if flags & FIN != 0 {
            find_or_adopt(tw, hash::<A>(tw), substate);
        }
    } else if enabled(FEATURE_REARMS)
        && let Some(slot) = find_or_adopt(tw, hash::<A>(tw), substate)
    {
        slot.expires = A::get(tw, offset!(tw_timer_expires));
    }
    0
}

#[inline(always)]
fn exit<A: Access>(tw: u64, th: u64, verdict: u32) -> i32 {
    let flags: u8 = A::get(th, FLAGS);
    // The hash survives in freed memory until the slab is recycled; a wrong one finds nothing.
    let hash = hash::<A>(tw);
    if flags & RST != 0 {
        if let Some((slot, _)) = state::find(hash, tw) {
            slot.marks.rst = 0;
        }
        return 0;
    }
    if verdict == u32::from(TCP_TW_SYN) || verdict == u32::from(TCP_TW_RST) {
        if let Some(slot) = find_or_adopt(tw, hash, substate::<A>(tw)) {
            slot.marks.verdict = verdict as u8;
        }
        return 0;
    }
    if substate::<A>(tw) == TIME_WAIT {
        stays::<A>(tw, hash, verdict);
    }
    0
}

/// A segment left the mini-socket in TIME_WAIT: promoted by it, re-armed or neither.
#[inline(always)]
fn stays<A: Access>(tw: u64, hash: u32, verdict: u32) {
    let Some((slot, _)) = state::find(hash, tw) else {
        return;
    };
    // A SYN accepted earlier found no listener, or this segment could not be here.
    slot.marks.verdict = 0;
    if slot.flags & u32::from(FLAG_IN_TIME_WAIT) == 0 {
        if verdict == u32::from(TCP_TW_ACK) {
            slot.flags |= u32::from(FLAG_IN_TIME_WAIT);
            slot.time_wait_ns = now();
            tally::count(emit::netns::<A>(tw), |counters| {
                bump(&mut counters.promoted)
            });
        }
    } else if enabled(FEATURE_REARMS)
        && A::get::<u32>(tw, offset!(tw_timer_expires)) != slot.expires
    {
        slot.rearms += 1;
        tally::count(emit::netns::<A>(tw), |counters| bump(&mut counters.rearmed));
    }
}
