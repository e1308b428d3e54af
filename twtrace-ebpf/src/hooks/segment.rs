//! A segment for a mini-socket: `tcp_timewait_state_process(tw, skb, th, …)`.
//!
//! What it may do is noted at the entry: it may end the mini-socket, or move it to TIME_WAIT. If it
//! did, the mini-socket says so itself, by its end and by its substate then. So totals need no
//! return. That is hooked where re-arms, refusals or promotions as they happen are traced: the
//! verdict is known there, but the mini-socket may be gone (a RST kills it inside), so after a RST
//! it is only an address.

use core::ptr::read_volatile;

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::{
    histogram::over,
    record::FLAG_UNTRACKED,
    settings::{FEATURE_BIRTHS, FEATURE_REARMS, FEATURE_REFUSALS, FEATURE_REOPENS},
    slot::{SEGMENT_ANSWERED, SEGMENT_RST, SEGMENT_SYN, TCP_TW_RST, TCP_TW_SYN, TTL_SHIFT},
    tcp::{FIN, RST, SYN},
};

use super::{FIN_WAIT2, TIME_WAIT, find_or_adopt_passed, hash, pair, substate, verdict};
use crate::{
    clock::now,
    emit,
    evidence::{self, FLAGS, fresh, keep},
    filter,
    layout::Sample,
    netns,
    read::{Access, Direct, Probed, argument, stack_pointer},
    settings::{enabled, offset},
    state,
    tally::{self, bump_if},
};

#[fentry]
fn segment_enter(ctx: FEntryContext) -> i32 {
    enter::<Direct>([ctx.arg(0), ctx.arg(1), ctx.arg(2)]);
    0
}

// The return value stands behind the arguments, whose number differs between kernels; user space
// chooses by the names and number of the function's BTF parameters.

#[fexit]
fn segment_exit_3(ctx: FExitContext) -> i32 {
    exit::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(3) as u32, || 0)
}

#[fexit]
fn segment_exit_4(ctx: FExitContext) -> i32 {
    exit::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(4) as u32, || 0)
}

#[fexit]
fn segment_exit_5(ctx: FExitContext) -> i32 {
    exit::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(5) as u32, || {
        argument(&ctx, 4)
    })
}

#[kprobe]
fn segment_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(tw), Some(skb), Some(th)) = (ctx.arg(0), ctx.arg(1), ctx.arg(2)) else {
        return 0;
    };
    enter::<Probed>([tw, skb, th]);
    if enabled(RETURNS) {
        // The fifth is what it says only where the kernel has drop reasons for mini-sockets, and
        // nobody looks at it elsewhere.
        pair::keep(
            pair::SEGMENT,
            || stack_pointer(&ctx),
            [tw, skb, th, ctx.arg(4).unwrap_or_default()],
        );
    }
    0
}

#[kretprobe]
fn segment_kretprobe(ctx: RetProbeContext) -> u32 {
    if let Some([tw, skb, _, drop_reason]) = pair::take(pair::SEGMENT) {
        exit::<Probed>(tw, skb, ctx.ret::<u64>() as u32, || drop_reason);
    }
    0
}

/// Any of these wants the return hooked as well; user space does so.
const RETURNS: u32 = FEATURE_REARMS | FEATURE_REFUSALS | FEATURE_BIRTHS;

#[inline(always)]
fn enter<A: Access>([tw, skb, th]: [u64; 3]) {
    if filter::active() && !filter::passes_flow::<A>(tw) {
        return;
    }
    let flags: u8 = A::get(th, FLAGS);
    let substate = substate::<A>(tw);
    let fin_wait_2 = substate == FIN_WAIT2;
    if !fin_wait_2 && flags & (RST | SYN) == 0 && !enabled(RETURNS) {
        // Most segments in TIME_WAIT neither end it nor move it.
        return;
    }
    let segment = may_end(substate, flags);
    if let Some(slot) = find_or_adopt_passed::<A>(tw) {
        // Most segments end nothing, and another CPU may be at one that does.
        if segment != 0 {
            slot.marks.segment = segment;
        }
        if fin_wait_2 && flags & FIN != 0 {
            // It may be promoted.
            slot.time_wait_ns = now();
            if enabled(FEATURE_REOPENS) {
                let hop_limit = u32::from(evidence::hop_limit::<A>(skb));
                slot.flags = slot.flags & ((1 << TTL_SHIFT) - 1) | hop_limit << TTL_SHIFT;
            }
        }
    }
    // Last, so that the verifier walks behind its branches nothing else.
    if let Some(sample) = evidence::mini_socket() {
        begin::<A>(sample, [tw, skb, th], substate, flags, segment);
        evidence::remember(sample);
    }
}

/// How a segment may end its mini-socket, as in `Marks::segment`: a RST, anything else in FIN_WAIT2, a
/// SYN in TIME_WAIT, or not at all. By a table: no branches, no walks.
#[inline(always)]
fn may_end(substate: u8, flags: u8) -> u8 {
    let mut index = u64::from((flags & (RST | SYN)) | (substate & 1));
    // SAFETY: arithmetic on one register, of which the verifier then knows the three bits.
    unsafe { core::arch::asm!("{0} &= 7", inout(reg) index) };
    // SAFETY: the index is below 8. Volatile, or the compiler may make branches of it.
    unsafe { read_volatile(MAY_END.as_ptr().add(index as usize)) }
}

/// By [`RST`] and [`SYN`], and 1 for FIN_WAIT2.
static MAY_END: [u8; 8] = {
    const { assert!(SYN | RST == 6 && FIN_WAIT2 & 1 == 1 && TIME_WAIT & 1 == 0) };
    let mut table = [SEGMENT_RST; 8];
    table[0] = 0;
    table[1] = SEGMENT_ANSWERED;
    table[SYN as usize] = SEGMENT_SYN;
    table[SYN as usize | 1] = SEGMENT_ANSWERED;
    table
};

/// Remembers which segment this CPU is at, what it may change, and what it says if that may be asked
/// for at the return: see [`verdict::returned`]. Nothing of an earlier one is left.
#[inline(always)]
fn begin<A: Access>(
    sample: &mut Sample,
    [tw, skb, th]: [u64; 3],
    substate: u8,
    flags: u8,
    segment: u8,
) {
    keep!(sample.tw = tw);
    keep!(sample.substate = substate);
    evidence::begin(sample, flags, segment);
    if !enabled(RETURNS) {
        return;
    }
    keep!(sample.expires = A::get(tw, offset!(tw_timer_expires)));
    if !enabled(FEATURE_REFUSALS) {
        return;
    }
    let opens = if enabled(FEATURE_REOPENS) {
        RST | SYN
    } else {
        RST
    };
    // It may have to be judged at the return, or may be accepted over its mini-socket. That goes
    // through memory, so that the verifier walks what follows once.
    if flags & opens != 0 {
        keep!(sample.read = 1);
    } else if substate == FIN_WAIT2 {
        keep!(sample.read = by_rst::<A>([tw, skb, th], flags));
    }
    if fresh!(sample.read) != 0 {
        evidence::read_mini_socket::<A>(sample, tw);
        evidence::read_segment::<A>(sample, th);
    }
}

/// 1 if FIN_WAIT2 may answer a segment with a RST: a SYN, data, or a FIN that is ahead. In
/// arithmetic: no branches, no walks.
#[inline(always)]
fn by_rst<A: Access>([tw, skb, th]: [u64; 3], flags: u8) -> u8 {
    let seq = u32::from_be(A::get(th, 4));
    let header = u32::from(A::get::<u8>(th, 12) >> 4) * 4;
    let data = over(header.into(), A::get::<u32>(skb, offset!(skb_len)).into()) as u8;
    let ahead = over(0, u64::from(seq ^ A::get::<u32>(tw, offset!(tw_rcv_nxt)))) as u8;
    data | flags & FIN & ahead | (flags & SYN) >> 1
}

#[inline(always)]
fn exit<A: Access>(tw: u64, skb: u64, verdict: u32, drop_reason: impl FnOnce() -> u64) -> i32 {
    let Some(sample) = evidence::mini_socket() else {
        return 0;
    };
    if fresh!(sample.tw) != tw {
        return 0;
    }
    returned::<A>(sample, tw, skb, verdict, drop_reason);
    // Only a SYN that is accepted has yet to end its mini-socket.
    if fresh!(sample.verdict) != TCP_TW_SYN {
        keep!(sample.tw = 0);
    }
    evidence::remember(sample);
    0
}

#[inline(always)]
fn returned<A: Access>(
    sample: &mut Sample,
    tw: u64,
    skb: u64,
    verdict: u32,
    drop_reason: impl FnOnce() -> u64,
) {
    keep!(sample.verdict = verdict as u8);
    // Otherwise the mini-socket is gone, or about to be.
    let stays = verdict != u32::from(TCP_TW_SYN) && verdict != u32::from(TCP_TW_RST);
    if stays && fresh!(sample.header_flags) & RST == 0 {
        if fresh!(sample.substate) == TIME_WAIT {
            rearmed::<A>(sample, tw);
        } else if enabled(FEATURE_BIRTHS) && substate::<A>(tw) == TIME_WAIT {
            // By a FIN that was accepted: there is nothing to judge.
            keep!(sample.promoted = promoted::<A>(tw));
        }
    }
    if enabled(FEATURE_REFUSALS) && fresh!(sample.promoted) == 0 {
        verdict::returned::<A>(sample, tw, skb, drop_reason);
    }
    if evidence::counts(sample) && !state::closed() {
        tally::count(netns::of_sock::<A>(tw), |counters| {
            if fresh!(sample.judged) != 0 {
                emit::tell(counters, sample);
            }
            bump_if(&mut counters.promoted, fresh!(sample.promoted).into());
            bump_if(&mut counters.rearmed, fresh!(sample.rearmed).into());
            bump_if(&mut counters.verdict_differs, fresh!(sample.differs).into());
        });
    }
}

/// Counts a restart of the timer in TIME_WAIT, if the segment caused one.
#[inline(always)]
fn rearmed<A: Access>(sample: &mut Sample, tw: u64) {
    if enabled(FEATURE_REARMS)
        && A::get::<u32>(tw, offset!(tw_timer_expires)) != fresh!(sample.expires)
        && let Some((slot, _)) = state::find(hash::<A>(tw), tw)
    {
        slot.rearms += 1;
        keep!(sample.rearmed = 1);
    }
}

/// 1 if a change from FIN_WAIT2 to TIME_WAIT counts. Which of the older ones the filters leave out is
/// found out at their end.
#[inline(always)]
fn promoted<A: Access>(tw: u64) -> u8 {
    if !filter::active() {
        return 1;
    }
    let tracked = |flags: u32| flags & u32::from(FLAG_UNTRACKED) == 0;
    state::find(hash::<A>(tw), tw).map_or(0, |(slot, _)| tracked(slot.flags).into())
}
