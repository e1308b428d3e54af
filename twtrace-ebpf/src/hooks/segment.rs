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
    settings::{FEATURE_REARMS, FEATURE_REFUSALS, FEATURE_REOPENS},
    slot::{Slot, TCP_TW_ACK, TCP_TW_RST, TCP_TW_SYN, TTL_SHIFT},
    tcp::{FIN, RST, SYN},
};

use super::{FIN_WAIT2, TIME_WAIT, adopt, find_or_adopt, hash, now, pair, substate, verdict};
use crate::{
    emit,
    evidence::{self, FLAGS, fresh, keep},
    read::{Access, Direct, Probed, argument},
    settings::{enabled, offset},
    state,
    tally::{self, bump_if},
};

#[fentry]
fn segment_enter(ctx: FEntryContext) -> i32 {
    enter::<Direct>(ctx.arg(0), ctx.arg(2));
    0
}

// The return value stands behind the arguments, whose number differs between kernels; user space
// chooses by the names and number of the function's BTF parameters.

#[fexit]
fn segment_exit_3(ctx: FExitContext) -> i32 {
    let segment = [ctx.arg(0), ctx.arg(1), ctx.arg(2)];
    exit::<Direct>(segment, ctx.arg::<u64>(3) as u32, || 0)
}

#[fexit]
fn segment_exit_4(ctx: FExitContext) -> i32 {
    let segment = [ctx.arg(0), ctx.arg(1), ctx.arg(2)];
    exit::<Direct>(segment, ctx.arg::<u64>(4) as u32, || 0)
}

#[fexit]
fn segment_exit_5(ctx: FExitContext) -> i32 {
    let segment = [ctx.arg(0), ctx.arg(1), ctx.arg(2)];
    exit::<Direct>(segment, ctx.arg::<u64>(5) as u32, || argument(&ctx, 4))
}

#[kprobe]
fn segment_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(tw), Some(skb), Some(th)) = (ctx.arg(0), ctx.arg(1), ctx.arg(2)) else {
        return 0;
    };
    // The fifth is what it says only where the kernel has drop reasons for mini-sockets, and
    // nobody looks at it elsewhere.
    pair::keep(pair::SEGMENT, [tw, skb, th, ctx.arg(4).unwrap_or_default()]);
    enter::<Probed>(tw, th);
    0
}

#[kretprobe]
fn segment_kretprobe(ctx: RetProbeContext) -> u32 {
    if let Some([tw, skb, th, drop_reason]) = pair::take(pair::SEGMENT) {
        exit::<Probed>([tw, skb, th], ctx.ret::<u64>() as u32, || drop_reason);
    }
    0
}

#[inline(always)]
fn enter<A: Access>(tw: u64, th: u64) {
    let flags: u8 = A::get(th, FLAGS);
    let substate = substate::<A>(tw);
    if enabled(FEATURE_REARMS | FEATURE_REFUSALS) {
        sample::<A>(tw, th, substate, flags);
    }
    // A RST needs its mark. A FIN in FIN_WAIT2 needs a slot, so that a promotion is told from a
    // re-arm even if the birth was not seen; so does what is to be counted.
    let rst = flags & RST != 0;
    let needed = rst || (substate == FIN_WAIT2 && flags & FIN != 0);
    if (needed || enabled(FEATURE_REARMS | FEATURE_REFUSALS))
        && let Some(slot) = find_or_adopt(tw, hash::<A>(tw), substate)
    {
        slot.marks.rst = u8::from(rst);
    }
}

/// Remembers what the segment may change, and what it says where that may be asked for when all
/// is over: see [`verdict::returned`].
#[inline(always)]
fn sample<A: Access>(tw: u64, th: u64, substate: u8, flags: u8) {
    let Some(sample) = evidence::sample(evidence::MINI_SOCKET) else {
        return;
    };
    sample.tw = tw;
    sample.asked = 0;
    sample.substate = substate;
    sample.expires = A::get(tw, offset!(tw_timer_expires));
    let opens = enabled(FEATURE_REOPENS) && flags & SYN != 0;
    let unexpected = substate == FIN_WAIT2 && flags & FIN == 0;
    if enabled(FEATURE_REFUSALS) && (opens || unexpected || flags & RST != 0) {
        evidence::read_mini_socket::<A>(sample, tw);
        evidence::read_segment::<A>(sample, th);
    }
}

#[inline(always)]
fn exit<A: Access>(
    [tw, skb, th]: [u64; 3],
    verdict: u32,
    drop_reason: impl FnOnce() -> u64,
) -> i32 {
    let flags: u8 = A::get(th, FLAGS);
    if enabled(FEATURE_REFUSALS)
        && let Some(sample) = evidence::sample(evidence::MINI_SOCKET)
    {
        keep!(sample.verdict = verdict as u8);
        keep!(sample.header_flags = flags);
    }
    // The hash survives in freed memory until the slab is recycled; a wrong one finds nothing.
    let hash = hash::<A>(tw);
    let mut slot = state::find(hash, tw).map(|found| found.0);
    // The caller still holds the mini-socket.
    if !enabled(FEATURE_REARMS | FEATURE_REFUSALS)
        && slot.is_none()
        && (verdict == u32::from(TCP_TW_SYN) || verdict == u32::from(TCP_TW_RST))
    {
        slot = adopt(tw, substate::<A>(tw));
    }
    let mut change = NOTHING;
    if let Some(slot) = slot {
        change = mark::<A>(tw, skb, slot, flags, verdict);
    }
    if !enabled(FEATURE_REFUSALS) {
        count::<A>(tw, change, 0);
    } else if let Some(sample) = evidence::sample(evidence::MINI_SOCKET) {
        keep!(sample.change = change as u8);
        keep!(sample.differs = 0);
        verdict::returned::<A>(sample, tw, skb, drop_reason);
        count::<A>(tw, fresh!(sample.change).into(), fresh!(sample.differs));
    }
    0
}

/// What became of a mini-socket that stays in TIME_WAIT.
const NOTHING: u64 = 0;
const PROMOTED: u64 = 1;
const REARMED: u64 = 2;

#[inline(always)]
fn count<A: Access>(tw: u64, change: u64, verdict_differs: u8) {
    if change | u64::from(verdict_differs) != NOTHING {
        tally::count(emit::netns::<A>(tw), |counters| {
            bump_if(&mut counters.promoted, change & PROMOTED);
            if enabled(FEATURE_REARMS) {
                bump_if(&mut counters.rearmed, change >> 1);
            }
            if enabled(FEATURE_REFUSALS) {
                bump_if(&mut counters.verdict_differs, verdict_differs.into());
            }
        });
    }
}

#[inline(always)]
fn mark<A: Access>(tw: u64, skb: u64, slot: &mut Slot, flags: u8, verdict: u32) -> u64 {
    if flags & RST != 0 {
        slot.marks.rst = 0;
    } else if verdict == u32::from(TCP_TW_SYN) || verdict == u32::from(TCP_TW_RST) {
        slot.marks.verdict = verdict as u8;
    } else if substate::<A>(tw) == TIME_WAIT {
        return stays::<A>(tw, skb, slot, verdict);
    }
    NOTHING
}

/// A segment left the mini-socket in TIME_WAIT: promoted by it, re-armed or neither.
#[inline(always)]
fn stays<A: Access>(tw: u64, skb: u64, slot: &mut Slot, verdict: u32) -> u64 {
    // A SYN accepted earlier found no listener, or this segment could not be here.
    slot.marks.verdict = 0;
    if slot.flags & u32::from(FLAG_IN_TIME_WAIT) == 0 {
        if verdict != u32::from(TCP_TW_ACK) {
            return NOTHING;
        }
        slot.flags |= u32::from(FLAG_IN_TIME_WAIT);
        slot.time_wait_ns = now();
        if enabled(FEATURE_REOPENS) {
            slot.flags |= u32::from(evidence::hop_limit::<A>(skb)) << TTL_SHIFT;
        }
        PROMOTED
    } else if enabled(FEATURE_REARMS) && rearmed::<A>(tw) {
        slot.rearms += 1;
        REARMED
    } else {
        NOTHING
    }
}

/// Whether the segment moved the deadline of the mini-socket.
#[inline(always)]
fn rearmed<A: Access>(tw: u64) -> bool {
    let Some(sample) = evidence::sample(evidence::MINI_SOCKET) else {
        return false;
    };
    sample.tw == tw && A::get::<u32>(tw, offset!(tw_timer_expires)) != sample.expires
}
