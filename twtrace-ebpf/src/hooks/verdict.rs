//! A segment that a mini-socket refused: by what rule, on what numbers.
//!
//! Nearly all of these are seen where `tcp_timewait_state_process` asks `tcp_oow_rate_limited`
//! whether an ACK may be sent: that is before it returns, so the mini-socket is as it was, but for
//! its timer. The others are a RST that TIME_WAIT ignores, and what FIN_WAIT2 answers with a RST.

use twtrace_common::{
    histogram::over,
    record::{FLAG_OWNER, FLAG_REARMED, FLAG_UNTRACKED},
    refusal::{Class, Reply, Rule, Skipped, Stage},
    settings::NO_VALUE,
    slot::{Slot, TCP_TW_RST, TTL_SHIFT},
    tcp::{RST, SYN},
};

use super::{FIN_WAIT2, TIME_WAIT, hash};
use crate::{
    clock::{NS_PER_S, now},
    emit,
    evidence::{self, NO_WINDOW, NOT_SKIPPED, fresh, keep},
    filter,
    layout::Sample,
    read::{Access, Probed},
    settings::{offset, value},
    state,
};

/// In [`Sample::rule`]: it was not refused.
const ACCEPTED: u8 = 255;

/// `tcp_oow_rate_limited` was asked about a segment; `suppressed` if no ACK is sent. It is counted
/// when `tcp_timewait_state_process` returns.
#[inline(always)]
pub fn asked(skb: u64, mib: u32, last_oow_ack_time: u64, suppressed: bool) {
    if mib != value!(mib_skipped_time_wait) && mib != value!(mib_skipped_fin_wait_2) {
        return;
    }
    let tw = last_oow_ack_time.wrapping_sub(offset!(tw_last_oow_ack_time) as u64);
    let Some(sample) = evidence::mini_socket() else {
        return;
    };
    if fresh!(sample.tw) != tw {
        return;
    }
    keep!(sample.asked = 1);
    keep!(sample.reply = Reply::Ack as u8 + u8::from(suppressed));
    evidence::read_mini_socket::<Probed>(sample, tw);
    evidence::read_segment::<Probed>(sample, evidence::tcp_header::<Probed>(skb));
    judge::<Probed>(sample, tw, skb);
    evidence::remember(sample);
}

/// `tcp_timewait_state_process` returned. Segments that it did not ask about were read at its
/// entry.
#[inline(always)]
pub fn returned<A: Access>(
    sample: &mut Sample,
    tw: u64,
    skb: u64,
    drop_reason: impl FnOnce() -> u64,
) {
    if fresh!(sample.asked) == 0 {
        // Most segments are neither a RST nor answered with one.
        let by_rst = 1 ^ over(0, u64::from(fresh!(sample.verdict) ^ TCP_TW_RST)) as u8;
        if by_rst | (fresh!(sample.header_flags) & RST) == 0 || answered(sample, by_rst) == 0 {
            return;
        }
        judge::<A>(sample, tw, skb);
    }
    if value!(reason_tw_paws) != NO_VALUE && fresh!(sample.substate) == TIME_WAIT {
        // The kernel's own verdict by timestamp, and whether it differs from our repetition.
        let reason: u32 = Probed::get(drop_reason(), 0);
        let said = 1 ^ over(0, u64::from(reason ^ value!(reason_tw_paws))) as u8;
        keep!(sample.differs = said ^ fresh!(sample.paws));
    }
}

/// 1 if a segment that was not asked about was refused: FIN_WAIT2 answered with a RST, or TIME_WAIT
/// ignored one. In arithmetic: no branches, no walks.
#[inline(always)]
fn answered(sample: &mut Sample, by_rst: u8) -> u64 {
    const { assert!(TIME_WAIT == FIN_WAIT2 + 1) };
    let ignored =
        fresh!(sample.header_flags) >> 2 & fresh!(sample.substate).wrapping_sub(FIN_WAIT2) & 1;
    // A segment answered with a RST but not read is a mistake of ours, and is counted as one.
    let read = fresh!(sample.read);
    keep!(sample.differs = by_rst & (1 ^ read));
    let replies = Reply::None as u8 ^ Reply::Rst as u8;
    keep!(sample.reply = Reply::None as u8 ^ replies & by_rst.wrapping_neg());
    u64::from((by_rst | ignored) & read)
}

/// Finds the rule and reports; the sample has all that it takes.
#[inline(always)]
fn judge<A: Access>(sample: &mut Sample, tw: u64, skb: u64) {
    let at_ns = now();
    keep!(sample.at_ns = at_ns);
    let age_s = ((at_ns / NS_PER_S) as u32).wrapping_sub(fresh!(sample.stamp_s));
    keep!(
        sample.paws = evidence::paws_rejects(sample, NO_WINDOW, age_s, value!(paws_wrap_s)) as u8
    );
    keep!(sample.opens = evidence::opens(fresh!(sample.tcp_flags)) as u8);
    note(sample, state::find(hash::<A>(tw), tw).map(|found| found.0));
    interpret(sample);
    keep!(sample.rule = rule(sample));
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

/// Counts a refused SYN in its slot, and takes over what the slot knows. What that means is left to
/// [`interpret`], where the verifier no longer tells one slot from another, nor from none.
#[inline(always)]
fn note(sample: &mut Sample, slot: Option<&mut Slot>) {
    let Some(slot) = slot else {
        keep!(sample.time_wait_ns = 0);
        keep!(sample.cgroup = 0);
        keep!(sample.uid = 0);
        keep!(sample.refused = 0);
        keep!(sample.slot_flags = GONE.into());
        return;
    };
    let opens = u64::from(fresh!(sample.opens));
    let first = opens & (1 ^ over(0, slot.first_refused_ns));
    slot.refused += opens as u32;
    slot.first_refused_ns |= fresh!(sample.at_ns) & first.wrapping_neg();
    keep!(sample.time_wait_ns = slot.time_wait_ns);
    keep!(sample.cgroup = slot.cgroup);
    keep!(sample.uid = slot.uid);
    keep!(sample.refused = slot.refused);
    keep!(sample.slot_flags = slot.flags);
}

#[inline(always)]
fn interpret(sample: &mut Sample) {
    let in_time_wait = over(u64::from(FIN_WAIT2), u64::from(fresh!(sample.substate)));
    let flags = fresh!(sample.slot_flags);
    keep!(sample.time_wait_ns = fresh!(sample.time_wait_ns) & in_time_wait.wrapping_neg());
    keep!(sample.owner_ttl = (flags >> TTL_SHIFT) as u8 & (in_time_wait as u8).wrapping_neg());
    keep!(sample.slot = flags as u8 & (NONE | FLAG_UNTRACKED | FLAG_OWNER));
}

/// Of [`Sample::slot`]: there is none.
const NONE: u8 = 1 << 7;

/// In [`Sample::slot`]: there is none, so no owner is known, and no birth was seen.
const GONE: u8 = NONE | FLAG_UNTRACKED;

/// Why the segment was refused, or [`ACCEPTED`].
#[inline(always)]
fn rule(sample: &Sample) -> u8 {
    if fresh!(sample.paws) != 0 {
        return Rule::Paws as u8;
    }
    if fresh!(sample.reply) == Reply::Rst as u8 {
        return Rule::Unexpected as u8;
    }
    let ahead = fresh!(sample.seq).wrapping_sub(fresh!(sample.rcv_nxt)) as i32;
    if ahead == 0 && fresh!(sample.reply) == Reply::None as u8 {
        // A RST that would have ended the mini-socket without tcp_rfc1337.
        return if fresh!(sample.slot) == GONE {
            ACCEPTED
        } else {
            Rule::Rfc1337 as u8
        };
    }
    if ahead < 0 || (ahead == 0 && fresh!(sample.tcp_flags) & SYN != 0) {
        Rule::OldSequence as u8
    } else {
        Rule::OutOfWindow as u8
    }
}

/// Fills in what a record tells beside the rule. In arithmetic: no branches, no walks.
#[inline(always)]
fn describe<A: Access>(sample: &mut Sample, tw: u64) {
    const {
        assert!(Stage::FinWait2 as u8 == Stage::TimeWait as u8 + 1);
        assert!(Skipped::FinWait2 as u8 == Skipped::TimeWait as u8 + 1);
        assert!(Class::FinWait2Paws as u8 == Class::TimeWaitPaws as u8 + 2);
        assert!(Class::TimeWaitOther as u8 == Class::TimeWaitPaws as u8 + 1);
        assert!(TIME_WAIT == FIN_WAIT2 + 1 && Rule::Paws as u8 == 0);
        assert!(Reply::RateLimited as u8 == Reply::Ack as u8 + 1);
    }
    let fin_wait_2 = TIME_WAIT.wrapping_sub(fresh!(sample.substate)) & 1;
    let other = over(0, fresh!(sample.rule).into()) as u8;
    keep!(sample.stage = Stage::TimeWait as u8 + fin_wait_2);
    keep!(sample.class = Class::TimeWaitPaws as u8 + 2 * fin_wait_2 + other);
    let answered = over(
        0,
        u64::from(fresh!(sample.reply) ^ Reply::RateLimited as u8),
    ) as u8;
    let skipped = Skipped::TimeWait as u8 + fin_wait_2;
    keep!(sample.skipped = skipped | (NOT_SKIPPED & answered.wrapping_neg()));
    // It still exists: nothing that a RST has ended gets here.
    let moved = A::get::<u32>(tw, offset!(tw_timer_expires)) ^ fresh!(sample.expires);
    let rearmed = FLAG_REARMED & (over(0, moved.into()) as u8).wrapping_neg();
    let owner = fresh!(sample.slot) & FLAG_OWNER;
    keep!(sample.flags = fresh!(sample.flags) | rearmed | owner);
}

/// As for an end: what has a slot of its own passed at birth.
#[inline(always)]
fn passes<A: Access>(sample: &Sample, tw: u64) -> bool {
    if fresh!(sample.slot) & FLAG_UNTRACKED == 0 {
        return true;
    }
    filter::passes_unowned::<A>(tw)
}
