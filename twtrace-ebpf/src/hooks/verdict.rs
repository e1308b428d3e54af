//! Whether a mini-socket refused a segment, and by what rule: `tcp_timewait_state_process` once
//! more, from what mini-socket and segment said at its entry, and from what it returned.

use twtrace_common::{
    histogram::over,
    record::{FLAG_DROP_REASON, FLAG_NUMBERS, FLAG_OWNER, FLAG_REARMED, FLAG_UNTRACKED, Flow},
    refusal::{Class, Reply, Rule, Skipped, Stage},
    settings::{FEATURE_REOPENS, NO_VALUE},
    slot::{Slot, TCP_TW_ACK, TCP_TW_ACK_OOW, TCP_TW_RST, TCP_TW_SYN, TTL_SHIFT},
};

use super::{FIN_WAIT2, NS_PER_S, TIME_WAIT, hash, now, substate};
use crate::{
    emit,
    evidence::{self, MINI_SOCKET, NOT_SKIPPED, RST, SYN, Sample, fresh, keep},
    filter,
    read::{Access, Direct, Probed},
    settings::{enabled, offset, value},
    state,
};

/// In [`Sample::rule`]: it was not refused.
const ACCEPTED: u8 = 255;

/// Looks at every segment that a mini-socket has dealt with.
#[inline(always)]
pub fn refused([tw, skb, th]: [u64; 3], drop_reason: u64, verdict: u32) {
    let Some(sample) = evidence::sample(MINI_SOCKET) else {
        return;
    };
    keep!(sample.verdict = verdict as u8);
    if fresh!(sample.tw) != tw || plain::<Direct>(sample, tw) {
        return;
    }
    // At the return is soon enough: a segment does not change while it is processed.
    evidence::read_segment::<Direct>(sample, th);
    judge::<Direct>(sample, [tw, skb, drop_reason]);
}

/// For a kretprobe, which has no arguments: at the entry, what [`expected`] needs.
#[inline(always)]
pub fn expect(skb: u64, th: u64, drop_reason: u64) {
    let Some(sample) = evidence::sample(MINI_SOCKET) else {
        return;
    };
    evidence::read_segment::<Probed>(sample, th);
    keep!(sample.skb = skb);
    keep!(sample.drop_reason = drop_reason);
}

/// As [`refused`], if the entry was seen.
#[inline(always)]
pub fn expected(verdict: u32) {
    let Some(sample) = evidence::sample(MINI_SOCKET) else {
        return;
    };
    let (skb, tw) = (fresh!(sample.skb), fresh!(sample.tw));
    keep!(sample.skb = 0);
    keep!(sample.verdict = verdict as u8);
    if skb == 0 || plain::<Probed>(sample, tw) {
        return;
    }
    let drop_reason = fresh!(sample.drop_reason);
    judge::<Probed>(sample, [tw, skb, drop_reason]);
}

/// What nearly every segment is: the peer's FIN, which was waited for, or a SYN that is accepted,
/// unless its numbers are asked for.
#[inline(always)]
fn plain<A: Access>(sample: &Sample, tw: u64) -> bool {
    let promoted = fresh!(sample.verdict) == TCP_TW_ACK
        && fresh!(sample.substate) == FIN_WAIT2
        && substate::<A>(tw) == TIME_WAIT;
    promoted || (!enabled(FEATURE_REOPENS) && fresh!(sample.verdict) == TCP_TW_SYN)
}

/// What the mini-socket did with it; the sample has all the rest.
#[inline(always)]
fn judge<A: Access>(sample: &mut Sample, [tw, skb, drop_reason]: [u64; 3]) {
    if fresh!(sample.verdict) == TCP_TW_SYN {
        keep!(sample.flags = fresh!(sample.flags) | FLAG_NUMBERS);
        return;
    }
    note(sample, state::find(hash::<A>(tw), tw).map(|found| found.0));
    by_timestamp(sample, drop_reason);
    keep!(sample.rule = rule::<A>(sample, skb));
    if fresh!(sample.rule) == ACCEPTED {
        return;
    }
    describe::<A>(sample, tw);
    if filter::active() && !passes::<A>(sample, tw) {
        return;
    }
    keep!(sample.ttl = evidence::hop_limit::<A>(skb));
    emit::refusal::<A>(tw, sample);
}

/// Counts a refused SYN in its slot, and takes over what the slot knows.
#[inline(always)]
fn note(sample: &mut Sample, slot: Option<&mut Slot>) {
    let Some(slot) = slot else {
        keep!(sample.time_wait_ns = 0);
        keep!(sample.cgroup = 0);
        keep!(sample.uid = 0);
        keep!(sample.refused = 0);
        keep!(sample.owner_ttl = 0);
        keep!(sample.slot = GONE);
        return;
    };
    let opens = evidence::opens(fresh!(sample.tcp_flags));
    let first = opens & (1 ^ over(0, slot.first_refused_ns));
    slot.refused += opens as u32;
    slot.first_refused_ns |= now() & first.wrapping_neg();
    keep!(sample.time_wait_ns = slot.time_wait_ns);
    keep!(sample.cgroup = slot.cgroup);
    keep!(sample.uid = slot.uid);
    keep!(sample.refused = slot.refused);
    keep!(sample.owner_ttl = (slot.flags >> TTL_SHIFT) as u8);
    keep!(sample.slot = slot.flags as u8 & (FLAG_UNTRACKED | FLAG_OWNER));
}

/// In [`Sample::slot`]: there is none. No owner is known, and no birth was seen.
const GONE: u8 = 1 << 7 | FLAG_UNTRACKED;

/// Whether it was refused for its timestamp: the test repeated, or the kernel's own verdict where
/// it hands one out (in TIME_WAIT, seen from 6.16 on).
#[inline(always)]
fn by_timestamp(sample: &mut Sample, drop_reason: u64) {
    let at_ns = now();
    keep!(sample.at_ns = at_ns);
    let age_s = ((at_ns / NS_PER_S) as u32).wrapping_sub(fresh!(sample.stamp_s));
    let tested = evidence::paws_rejects(sample, age_s, value!(paws_wrap_s)) as u8;
    keep!(sample.paws = tested);
    keep!(sample.differs = 0);
    if value!(reason_tw_paws) != NO_VALUE {
        let reason: u32 = Probed::get(drop_reason, 0);
        let said = 1 ^ over(0, u64::from(reason ^ value!(reason_tw_paws))) as u8;
        let differs = (said ^ tested) & (1 ^ in_fin_wait_2(sample));
        keep!(sample.differs = differs);
        keep!(sample.paws = tested ^ differs);
        let known = FLAG_DROP_REASON & in_fin_wait_2(sample).wrapping_sub(1);
        keep!(sample.flags = fresh!(sample.flags) | known);
    }
}

/// 1 if the mini-socket was in FIN_WAIT2 at entry, 0 if in TIME_WAIT.
#[inline(always)]
fn in_fin_wait_2(sample: &Sample) -> u8 {
    const { assert!(TIME_WAIT == FIN_WAIT2 + 1) };
    TIME_WAIT.wrapping_sub(fresh!(sample.substate)) & 1
}

/// Fills in what a record tells beside the rule. In arithmetic: no branches, no walks.
#[inline(always)]
fn describe<A: Access>(sample: &mut Sample, tw: u64) {
    keep!(sample.reply = reply(sample));
    const {
        assert!(Stage::FinWait2 as u8 == Stage::TimeWait as u8 + 1);
        assert!(Skipped::FinWait2 as u8 == Skipped::TimeWait as u8 + 1);
        assert!(Class::FinWait2Paws as u8 == Class::TimeWaitPaws as u8 + 2);
        assert!(Class::TimeWaitOther as u8 == Class::TimeWaitPaws as u8 + 1);
        assert!(Rule::Paws as u8 == 0);
    }
    let fin_wait_2 = in_fin_wait_2(sample);
    let other = over(0, fresh!(sample.rule).into()) as u8;
    keep!(sample.stage = Stage::TimeWait as u8 + fin_wait_2);
    keep!(sample.class = Class::TimeWaitPaws as u8 + 2 * fin_wait_2 + other);
    keep!(sample.skipped = Skipped::TimeWait as u8 + fin_wait_2);
    if fresh!(sample.reply) != Reply::RateLimited as u8 {
        keep!(sample.skipped = NOT_SKIPPED);
    }
    // It is still there: of what a RST has ended, nothing gets here.
    let moved = A::get::<u32>(tw, offset!(tw_timer_expires)) ^ fresh!(sample.expires);
    let rearmed = FLAG_REARMED & (over(0, moved.into()) as u8).wrapping_neg();
    keep!(sample.flags = fresh!(sample.flags) | rearmed);
    keep!(sample.flags = fresh!(sample.flags) | (fresh!(sample.slot) & FLAG_OWNER));
    keep!(sample.opens = evidence::opens(fresh!(sample.tcp_flags)) as u8);
}

/// Why the segment was refused, or [`ACCEPTED`].
#[inline(always)]
fn rule<A: Access>(sample: &Sample, skb: u64) -> u8 {
    if fresh!(sample.paws) != 0 {
        return Rule::Paws as u8;
    }
    if fresh!(sample.verdict) == TCP_TW_RST {
        return Rule::Unexpected as u8;
    }
    let end_seq: u32 = A::get(skb, offset!(skb_end_seq));
    let (seq, flags) = (fresh!(sample.seq), fresh!(sample.tcp_flags));
    let ahead = seq.wrapping_sub(fresh!(sample.rcv_nxt)) as i32;
    if fresh!(sample.substate) == TIME_WAIT {
        if ahead == 0 && flags & RST != 0 {
            // It ended the mini-socket, but for tcp_rfc1337.
            return if fresh!(sample.slot) == GONE {
                ACCEPTED
            } else {
                Rule::Rfc1337 as u8
            };
        }
        if ahead == 0 && end_seq == seq {
            return ACCEPTED;
        }
    } else if in_window(sample, seq, end_seq) {
        return ACCEPTED;
    }
    if ahead < 0 || (ahead == 0 && flags & SYN != 0) {
        Rule::OldSequence as u8
    } else {
        Rule::OutOfWindow as u8
    }
}

/// `tcp_in_window`.
#[inline(always)]
fn in_window(sample: &Sample, seq: u32, end_seq: u32) -> bool {
    let after = |a: u32, b: u32| (b.wrapping_sub(a) as i32) < 0;
    let end = sample.rcv_nxt.wrapping_add(fresh!(sample.rcv_wnd));
    seq == sample.rcv_nxt
        || (after(end_seq, sample.rcv_nxt) && after(end, seq))
        || (seq == end && seq == end_seq)
}

#[inline(always)]
fn reply(sample: &Sample) -> u8 {
    let reply = match fresh!(sample.verdict) {
        TCP_TW_ACK | TCP_TW_ACK_OOW => Reply::Ack,
        TCP_TW_RST => Reply::Rst,
        _ if fresh!(sample.substate) == TIME_WAIT && fresh!(sample.tcp_flags) & RST != 0 => {
            Reply::None
        }
        _ => Reply::RateLimited,
    };
    reply as u8
}

/// As for an end: what has a slot of its own passed at birth.
#[inline(always)]
fn passes<A: Access>(sample: &Sample, tw: u64) -> bool {
    if fresh!(sample.slot) & FLAG_UNTRACKED == 0 {
        return true;
    }
    let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
    // SAFETY: the filters read only what is written here.
    let flow = unsafe { flow.assume_init_mut() };
    emit::flow::<A>(flow, tw, emit::netns::<A>(tw));
    filter::passes(flow, false)
}
