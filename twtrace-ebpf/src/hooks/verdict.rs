//! Whether a mini-socket refused a segment, and by what rule: `tcp_timewait_state_process` once
//! more, from what mini-socket and segment said at its entry, and from what it returned.

use twtrace_common::{
    histogram::over,
    record::{
        FLAG_DROP_REASON, FLAG_NUMBERS, FLAG_OWNER, FLAG_REARMED, FLAG_TS_RECENT, FLAG_UNTRACKED,
        Flow,
    },
    refusal::{Class, Reply, Rule, Skipped, Stage},
    settings::{FEATURE_REOPENS, NO_VALUE},
    slot::{Slot, TCP_TW_ACK, TCP_TW_ACK_OOW, TCP_TW_RST, TCP_TW_SYN, TTL_SHIFT},
};

use super::{FIN_WAIT2, NS_PER_S, TIME_WAIT, now, substate};
use crate::{
    emit,
    evidence::{self, Header, MINI_SOCKET, NOT_SKIPPED, RST, SYN, Sample, fresh, keep},
    filter,
    read::{Access, Probed},
    settings::{enabled, offset, value},
};

/// In [`Sample::rule`]: it was not refused.
const ACCEPTED: u8 = 255;

/// Looks at every segment that a mini-socket has dealt with.
#[inline(always)]
pub fn judge<A: Access>(
    [tw, skb, th, drop_reason]: [u64; 4],
    slot: Option<&mut Slot>,
    verdict: u32,
) {
    let Some(sample) = evidence::sample(MINI_SOCKET) else {
        return;
    };
    if sample.tw != tw {
        return;
    }
    keep!(sample.flags = 0);
    let accepted = verdict == u32::from(TCP_TW_SYN);
    if accepted && !enabled(FEATURE_REOPENS) {
        return;
    }
    // The peer's FIN, which was waited for.
    if sample.substate == FIN_WAIT2
        && verdict == u32::from(TCP_TW_ACK)
        && substate::<A>(tw) == TIME_WAIT
    {
        return;
    }
    remember(sample, slot.as_deref());
    let header = Header::read::<A>(th);
    header.keep(sample);
    keep!(sample.ts_recent = sample.tail(offset!(tw_ts_recent)));
    let stamp_s = sample.tail(offset!(tw_ts_recent_stamp));
    keep!(sample.stamp_s = stamp_s);
    keep!(sample.flags = FLAG_TS_RECENT & (over(0, stamp_s.into()) as u8).wrapping_neg());
    if stamp_s != 0 {
        evidence::timestamp(sample, th, &header);
    }
    if accepted {
        keep!(sample.flags = fresh!(sample.flags) | FLAG_NUMBERS);
        return;
    }
    decide::<A>(sample, [tw, skb, drop_reason], &header, verdict);
    if fresh!(sample.rule) == ACCEPTED {
        return;
    }
    if filter::active() && !passes::<A>(sample, tw) {
        return;
    }
    if let Some(slot) = slot {
        note_refused(sample, slot);
    }
    keep!(sample.ttl = evidence::hop_limit::<A>(skb));
    emit::refusal::<A>(tw, sample);
}

/// Takes over what the slot knows.
#[inline(always)]
fn remember(sample: &mut Sample, slot: Option<&Slot>) {
    let Some(slot) = slot else {
        keep!(sample.time_wait_ns = 0);
        keep!(sample.cgroup = 0);
        keep!(sample.uid = 0);
        keep!(sample.refused = 0);
        keep!(sample.owner_ttl = 0);
        keep!(sample.slot = GONE);
        return;
    };
    keep!(sample.time_wait_ns = slot.time_wait_ns);
    keep!(sample.cgroup = slot.cgroup);
    keep!(sample.uid = slot.uid);
    keep!(sample.refused = slot.refused);
    keep!(sample.owner_ttl = (slot.flags >> TTL_SHIFT) as u8);
    keep!(sample.slot = slot.flags as u8 & (FLAG_UNTRACKED | FLAG_OWNER));
}

/// In [`Sample::slot`]: there is none.
const GONE: u8 = 255;

/// Fills in rule, reply and class.
#[inline(always)]
fn decide<A: Access>(
    sample: &mut Sample,
    [tw, skb, drop_reason]: [u64; 3],
    header: &Header,
    verdict: u32,
) {
    let at_ns = now();
    keep!(sample.at_ns = at_ns);
    let age_s = ((at_ns / NS_PER_S) as u32).wrapping_sub(fresh!(sample.stamp_s));
    let tested = evidence::paws_rejects(sample, age_s, value!(paws_wrap_s), header);
    let in_time_wait = fresh!(sample.substate) == TIME_WAIT;
    let paws = by_drop_reason(sample, in_time_wait, drop_reason, tested);
    keep!(sample.rule = rule::<A>(sample, in_time_wait, skb, header, verdict, paws));
    keep!(sample.reply = reply(in_time_wait, verdict, header));
    let suppressed = fresh!(sample.reply) == Reply::RateLimited as u8;
    let other = u8::from(fresh!(sample.rule) != Rule::Paws as u8);
    if in_time_wait {
        keep!(sample.stage = Stage::TimeWait as u8);
        keep!(sample.class = Class::TimeWaitPaws as u8 + other);
        keep!(
            sample.skipped = if suppressed {
                Skipped::TimeWait as u8
            } else {
                NOT_SKIPPED
            }
        );
        // Not after a RST that ended it: nothing of the mini-socket may then be read.
        if A::get::<u32>(tw, offset!(tw_timer_expires)) != fresh!(sample.expires) {
            keep!(sample.flags = fresh!(sample.flags) | FLAG_REARMED);
        }
    } else {
        keep!(sample.stage = Stage::FinWait2 as u8);
        keep!(sample.class = Class::FinWait2Paws as u8 + other);
        keep!(
            sample.skipped = if suppressed {
                Skipped::FinWait2 as u8
            } else {
                NOT_SKIPPED
            }
        );
    }
    keep!(sample.opens = u8::from(header.opens()));
}

/// The verdict by timestamp: the kernel's own where it hands one out (TIME_WAIT, seen from 6.16
/// on), else the test repeated; and whether the two differ.
#[inline(always)]
fn by_drop_reason(sample: &mut Sample, in_time_wait: bool, drop_reason: u64, tested: u64) -> u64 {
    keep!(sample.differs = 0);
    if value!(reason_tw_paws) == NO_VALUE || !in_time_wait {
        return tested;
    }
    let reason: u32 = Probed::get(drop_reason, 0);
    let said = 1 ^ over(0, u64::from(reason ^ value!(reason_tw_paws)));
    keep!(sample.differs = (said ^ tested) as u8);
    keep!(sample.flags = fresh!(sample.flags) | FLAG_DROP_REASON);
    said
}

/// Why the segment was refused, or [`ACCEPTED`].
#[inline(always)]
fn rule<A: Access>(
    sample: &Sample,
    in_time_wait: bool,
    skb: u64,
    header: &Header,
    verdict: u32,
    paws: u64,
) -> u8 {
    if paws != 0 {
        return Rule::Paws as u8;
    }
    if verdict == u32::from(TCP_TW_RST) {
        return Rule::Unexpected as u8;
    }
    let end_seq: u32 = A::get(skb, offset!(skb_end_seq));
    let ahead = header.seq.wrapping_sub(sample.rcv_nxt) as i32;
    if in_time_wait {
        if ahead == 0 && header.has(RST) {
            // It ended the mini-socket, but for tcp_rfc1337.
            return if fresh!(sample.slot) == GONE {
                ACCEPTED
            } else {
                Rule::Rfc1337 as u8
            };
        }
        if ahead == 0 && end_seq == header.seq {
            return ACCEPTED;
        }
    } else if in_window(sample, header.seq, end_seq) {
        return ACCEPTED;
    }
    if ahead < 0 || (ahead == 0 && header.has(SYN)) {
        Rule::OldSequence as u8
    } else {
        Rule::OutOfWindow as u8
    }
}

/// `tcp_in_window`.
#[inline(always)]
fn in_window(sample: &Sample, seq: u32, end_seq: u32) -> bool {
    let after = |a: u32, b: u32| (b.wrapping_sub(a) as i32) < 0;
    let end = sample
        .rcv_nxt
        .wrapping_add(sample.tail(offset!(tw_rcv_wnd)));
    seq == sample.rcv_nxt
        || (after(end_seq, sample.rcv_nxt) && after(end, seq))
        || (seq == end && seq == end_seq)
}

#[inline(always)]
fn reply(in_time_wait: bool, verdict: u32, header: &Header) -> u8 {
    let reply = if verdict == u32::from(TCP_TW_ACK) || verdict == u32::from(TCP_TW_ACK_OOW) {
        Reply::Ack
    } else if verdict == u32::from(TCP_TW_RST) {
        Reply::Rst
    } else if in_time_wait && header.has(RST) {
        Reply::None
    } else {
        Reply::RateLimited
    };
    reply as u8
}

/// Counts a refused SYN in the slot, and takes over the count.
#[inline(always)]
fn note_refused(sample: &mut Sample, slot: &mut Slot) {
    let opens = u32::from(fresh!(sample.opens));
    slot.refused += opens;
    if opens != 0 && slot.first_refused_ns == 0 {
        slot.first_refused_ns = fresh!(sample.at_ns);
    }
    keep!(sample.refused = slot.refused);
    keep!(sample.flags = fresh!(sample.flags) | (fresh!(sample.slot) & FLAG_OWNER));
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
