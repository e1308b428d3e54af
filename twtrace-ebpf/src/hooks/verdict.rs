//! Whether a mini-socket refused a segment, and by what rule: `tcp_timewait_state_process` once
//! more, from what mini-socket and segment said at its entry, and from what it returned.

use twtrace_common::{
    record::{
        FLAG_DROP_REASON, FLAG_NUMBERS, FLAG_REARMED, FLAG_TS_RECENT, FLAG_TSVAL, FLAG_UNTRACKED,
        Flow,
    },
    refusal::{Class, Reply, Rule, Skipped, Stage},
    settings::{FEATURE_REOPENS, NO_VALUE},
    slot::{Slot, TCP_TW_ACK, TCP_TW_ACK_OOW, TCP_TW_RST, TCP_TW_SYN},
};

use super::{FIN_WAIT2, TIME_WAIT, segment, substate};
use crate::{
    emit::{self, Evidence},
    evidence::{self, Header, RST, SYN, Sample},
    filter,
    maps::SAMPLE,
    read::{Access, Probed},
    settings::{enabled, offset, value},
};

/// Looks at every segment that a mini-socket has dealt with.
#[inline(always)]
pub fn judge<A: Access>(
    [tw, skb, th, drop_reason]: [u64; 4],
    slot: Option<&mut Slot>,
    verdict: u32,
) {
    let Some(sample) = SAMPLE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a map value of this CPU.
    let sample = unsafe { &mut *sample };
    if sample.tw != tw {
        return;
    }
    sample.flags = 0;
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
    let header = Header::read::<A>(th);
    sample.seq = header.seq;
    sample.ts_recent = sample.tail(offset!(tw_ts_recent));
    sample.stamp_s = sample.tail(offset!(tw_ts_recent_stamp));
    if sample.stamp_s != 0 {
        sample.flags = FLAG_TS_RECENT;
        evidence::timestamp(sample, th, &header);
    }
    if accepted {
        sample.flags |= FLAG_NUMBERS;
        return;
    }
    let now = super::now();
    let age_s = ((now / super::NS_PER_S) as u32).wrapping_sub(sample.stamp_s);
    let tested = evidence::paws_rejects(sample, age_s, value!(paws_wrap_s), header.has(RST));
    let (paws, differs) = by_drop_reason(sample, drop_reason, tested);
    let Some(rule) = rule::<A>(sample, skb, &header, verdict, paws, slot.is_some()) else {
        return;
    };
    refused::<A>(
        sample,
        [tw, skb],
        slot,
        &header,
        &Refused {
            now,
            age_s,
            rule,
            reply: reply(sample, verdict, &header),
            differs,
        },
    );
}

struct Refused {
    now: u64,
    age_s: u32,
    rule: Rule,
    reply: Reply,
    /// The drop reason says otherwise than the test repeated.
    differs: bool,
}

/// The verdict by timestamp: the kernel's own where it hands one out (TIME_WAIT, seen from 6.16
/// on), and whether the test repeated says otherwise.
#[inline(always)]
fn by_drop_reason(sample: &mut Sample, drop_reason: u64, tested: bool) -> (bool, bool) {
    if value!(reason_tw_paws) == NO_VALUE || sample.substate != TIME_WAIT {
        return (tested, false);
    }
    let reason: u32 = Probed::get(drop_reason, 0);
    let said = reason == value!(reason_tw_paws);
    sample.flags |= FLAG_DROP_REASON;
    (said, said != tested)
}

/// Why the segment was refused; `None` if it was not.
#[inline(always)]
fn rule<A: Access>(
    sample: &Sample,
    skb: u64,
    header: &Header,
    verdict: u32,
    paws: bool,
    alive: bool,
) -> Option<Rule> {
    if paws {
        return Some(Rule::Paws);
    }
    if verdict == u32::from(TCP_TW_RST) {
        return Some(Rule::Unexpected);
    }
    let end_seq: u32 = A::get(skb, offset!(skb_end_seq));
    let empty = end_seq == header.seq;
    let ahead = header.seq.wrapping_sub(sample.rcv_nxt) as i32;
    if sample.substate == TIME_WAIT {
        if ahead == 0 && header.has(RST) {
            // It ended the mini-socket, but for tcp_rfc1337.
            return alive.then_some(Rule::Rfc1337);
        }
        if ahead == 0 && empty {
            return None;
        }
    } else if in_window(sample, header.seq, end_seq) {
        return None;
    }
    if ahead < 0 || (ahead == 0 && header.has(SYN)) {
        Some(Rule::OldSequence)
    } else {
        Some(Rule::OutOfWindow)
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
fn reply(sample: &Sample, verdict: u32, header: &Header) -> Reply {
    if verdict == u32::from(TCP_TW_ACK) || verdict == u32::from(TCP_TW_ACK_OOW) {
        Reply::Ack
    } else if verdict == u32::from(TCP_TW_RST) {
        Reply::Rst
    } else if sample.substate == TIME_WAIT && header.has(RST) {
        Reply::None
    } else {
        Reply::RateLimited
    }
}

#[inline(always)]
fn refused<A: Access>(
    sample: &Sample,
    [tw, skb]: [u64; 2],
    slot: Option<&mut Slot>,
    header: &Header,
    refused: &Refused,
) {
    let netns = emit::netns::<A>(tw);
    if filter::active() && !passes::<A>(tw, slot.as_deref(), netns) {
        return;
    }
    let in_time_wait = sample.substate == TIME_WAIT;
    let paws = matches!(refused.rule, Rule::Paws);
    let skipped = matches!(refused.reply, Reply::RateLimited);
    let opens = header.opens();
    let mut evidence = Evidence {
        at_ns: refused.now,
        tsval: sample.tsval,
        ts_recent: sample.ts_recent,
        ts_recent_age_s: refused.age_s,
        seq: header.seq,
        rcv_nxt: sample.rcv_nxt,
        window: header.window,
        stage: if in_time_wait {
            Stage::TimeWait
        } else {
            Stage::FinWait2
        } as u8,
        rule: refused.rule as u8,
        reply: refused.reply as u8,
        tcp_flags: header.flags,
        ttl: evidence::hop_limit::<A>(skb),
        flags: sample.flags & (FLAG_TSVAL | FLAG_TS_RECENT | FLAG_DROP_REASON),
        ..Evidence::NONE
    };
    // After a RST that ended it, nothing of the mini-socket may be read.
    if segment::rearmed::<A>(tw) {
        evidence.flags |= FLAG_REARMED;
    }
    if let Some(slot) = slot {
        if opens {
            slot.refused += 1;
            if slot.first_refused_ns == 0 {
                slot.first_refused_ns = refused.now;
            }
        }
        evidence.of_slot(slot);
    }
    emit::count_refusal(
        netns,
        &emit::Counted {
            class: match (in_time_wait, paws) {
                (true, true) => Class::TimeWaitPaws,
                (true, false) => Class::TimeWaitOther,
                (false, true) => Class::FinWait2Paws,
                (false, false) => Class::FinWait2Other,
            } as u32,
            skipped: skipped.then_some(if in_time_wait {
                Skipped::TimeWait
            } else {
                Skipped::FinWait2
            } as u32),
            opens,
            differs: refused.differs,
        },
    );
    emit::refusal::<A>(tw, netns, &evidence);
}

/// As for an end: what has a slot of its own passed at birth.
#[inline(always)]
fn passes<A: Access>(tw: u64, slot: Option<&Slot>, netns: u32) -> bool {
    if let Some(slot) = slot
        && slot.flags & u32::from(FLAG_UNTRACKED) == 0
    {
        return true;
    }
    let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
    // SAFETY: the filters read only what is written here.
    let flow = unsafe { flow.assume_init_mut() };
    emit::flow::<A>(flow, tw, netns);
    filter::passes(flow, false)
}
