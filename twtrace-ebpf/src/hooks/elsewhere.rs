//! Where refusals are seen, and those without a mini-socket.
//!
//! `tcp_oow_rate_limited(net, skb, mib_idx, last_oow_ack_time)` is asked before an ACK is sent for
//! a segment that was refused; its last argument points into the socket that refused it, and
//! `mib_idx` says of which kind that is. What is dropped without that question is seen at the
//! tracepoint `kfree_skb`, where it tells reason and socket.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};
use twtrace_common::{
    histogram::over,
    refusal::{Class, REPLY_UNKNOWN, Reply, Rule, Skipped, Stage},
};

use super::{pair, verdict};
use crate::{
    clock::{NS_PER_S, now},
    emit,
    evidence::{self, NO_WINDOW, NOT_REFUSED, NOT_SKIPPED, WINDOW, fresh, keep},
    filter,
    layout::Sample,
    read::{Access, Probed, argument, stack_pointer},
    settings::{offset, value},
};

/// `enum tcp_state`.
const SYN_SENT: u8 = 2;

#[fexit]
fn limited(ctx: FExitContext) -> i32 {
    let suppressed = ctx.arg::<u64>(4) as u8 != 0;
    answered(
        ctx.arg(1),
        ctx.arg::<u64>(2) as u32,
        argument(&ctx, 3),
        suppressed,
    );
    0
}

// Of a mini-socket. A program of its own, or the two would be too much for the verifier.
#[fexit]
fn refused(ctx: FExitContext) -> i32 {
    let suppressed = ctx.arg::<u64>(4) as u8 != 0;
    verdict::asked(
        ctx.arg(1),
        ctx.arg::<u64>(2) as u32,
        argument(&ctx, 3),
        suppressed,
    );
    0
}

#[kprobe]
fn limited_enter(ctx: ProbeContext) -> u32 {
    if let (Some(skb), Some(mib), Some(last)) = (ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        // For each of the two return probes.
        let stack = stack_pointer(&ctx);
        pair::push(pair::LIMITED, stack, [skb, mib, last, 0]);
        pair::push(pair::REFUSED, stack, [skb, mib, last, 0]);
    }
    0
}

#[kretprobe]
fn limited_return(ctx: RetProbeContext) -> u32 {
    if let Some([skb, mib, last, _]) = pair::pop(pair::LIMITED) {
        answered(skb, mib as u32, last, ctx.ret::<u64>() as u8 != 0);
    }
    0
}

#[kretprobe]
fn refused_return(ctx: RetProbeContext) -> u32 {
    if let Some([skb, mib, last, _]) = pair::pop(pair::REFUSED) {
        verdict::asked(skb, mib as u32, last, ctx.ret::<u64>() as u8 != 0);
    }
    0
}

#[raw_tracepoint]
fn dropped(ctx: RawTracePointContext) -> i32 {
    let reason = ctx.arg::<u64>(2) as u32;
    if reason == value!(reason_paws_ack)
        || reason == value!(reason_invalid_syn)
        || reason == value!(reason_paws)
    {
        unanswered(ctx.arg(0), reason, ctx.arg(3));
    }
    0
}

/// A segment for which an ACK was wanted; `suppressed` if none was sent.
#[inline(always)]
fn answered(skb: u64, mib: u32, last_oow_ack_time: u64, suppressed: bool) {
    let by_connection = mib == value!(mib_skipped_paws);
    if !by_connection && mib != value!(mib_skipped_syn_recv) {
        return;
    }
    if let Some(sample) = evidence::exclusive(evidence::LIMITED) {
        judge(sample, skb, by_connection, last_oow_ack_time, suppressed);
        evidence::leave(sample);
    }
}

#[inline(always)]
fn judge(
    sample: &mut Sample,
    skb: u64,
    by_connection: bool,
    last_oow_ack_time: u64,
    suppressed: bool,
) {
    let (common, skipped) = if by_connection {
        let sk = last_oow_ack_time.wrapping_sub(offset!(tp_last_oow_ack_time) as u64);
        of_connection(sample, sk);
        keep!(sample.stage = Stage::Established as u8);
        (sk, Skipped::Paws)
    } else {
        let req = last_oow_ack_time.wrapping_sub(offset!(req_last_oow_ack_time) as u64);
        of_request(sample, req);
        keep!(sample.stage = Stage::SynRecv as u8);
        (req, Skipped::SynRecv)
    };
    if suppressed {
        keep!(sample.reply = Reply::RateLimited as u8);
        keep!(sample.skipped = skipped as u8);
    } else {
        keep!(sample.reply = Reply::Ack as u8);
        keep!(sample.skipped = NOT_SKIPPED);
    }
    of_segment(sample, skb);
    if fresh!(sample.stage) == Stage::Established as u8 {
        keep!(sample.rule = Rule::Paws as u8);
        keep!(sample.class = Class::EstablishedPaws as u8);
    } else {
        by_request(sample, common);
    }
    report(sample, common);
}

/// `tcp_check_req`.
#[inline(always)]
fn by_request(sample: &mut Sample, req: u64) {
    if evidence::paws_rejects(sample, NO_WINDOW, 0, 1) != 0 {
        keep!(sample.rule = Rule::Paws as u8);
        keep!(sample.class = Class::SynRecvPaws as u8);
        return;
    }
    let rcv_isn: u32 = Probed::get(req, offset!(req_rcv_isn));
    if evidence::opens(fresh!(sample.tcp_flags)) != 0 && fresh!(sample.seq) == rcv_isn {
        // A repetition of the SYN: no refusal, but its answer may have been suppressed.
        keep!(sample.class = NOT_REFUSED);
        return;
    }
    keep!(sample.rule = by_sequence(sample, req) as u8);
    keep!(sample.class = Class::SynRecvOther as u8);
}

/// In the window there is only one other reason to refuse: what it echoes.
#[inline(always)]
fn by_sequence(sample: &Sample, req: u64) -> Rule {
    let ahead = fresh!(sample.seq).wrapping_sub(fresh!(sample.rcv_nxt));
    if (ahead as i32) < 0 {
        Rule::OldSequence
    } else if ahead <= Probed::get::<u32>(req, offset!(req_rcv_wnd)) {
        Rule::Echo
    } else {
        Rule::OutOfWindow
    }
}

/// A segment that was dropped for a reason of ours.
#[inline(always)]
fn unanswered(skb: u64, reason: u32, sk: u64) {
    if sk != 0
        && let Some(sample) = evidence::exclusive(evidence::DROPPED)
    {
        judge_drop(sample, skb, reason, sk);
        evidence::leave(sample);
    }
}

#[inline(always)]
fn judge_drop(sample: &mut Sample, skb: u64, reason: u32, sk: u64) {
    let opening = Probed::get::<u8>(sk, offset!(skc_state)) == SYN_SENT;
    // On a live connection, those were seen when an ACK was wanted.
    if opening != (reason == value!(reason_paws)) {
        return;
    }
    let (stage, class) = if opening {
        (Stage::SynSent, Class::SynSent)
    } else if reason == value!(reason_paws_ack) {
        (Stage::Established, Class::EstablishedOldAck)
    } else {
        (Stage::Established, Class::EstablishedChallenge)
    };
    keep!(sample.stage = stage as u8);
    keep!(sample.class = class as u8);
    keep!(sample.skipped = NOT_SKIPPED);
    of_connection(sample, sk);
    of_segment(sample, skb);
    let age_s = ((fresh!(sample.at_ns) / NS_PER_S) as u32).wrapping_sub(fresh!(sample.stamp_s));
    // In arithmetic, or the rest would be walked once for each.
    const { assert!(Stage::SynSent as u64 - Stage::Established as u64 == WINDOW - NO_WINDOW) };
    let window = u64::from((Stage::SynSent as u8).wrapping_sub(fresh!(sample.stage)) & 1);
    let paws = evidence::paws_rejects(sample, window, age_s, value!(paws_wrap_s)) != 0;
    match (fresh!(sample.class), paws) {
        (SYN_SENT_CLASS, false) => {
            keep!(sample.rule = Rule::Echo as u8);
            keep!(sample.reply = Reply::Rst as u8);
        }
        // The challenge ACK has a limit of its own, which is not seen here.
        (CHALLENGE_CLASS, paws) => {
            keep!(sample.rule = if paws { Rule::Paws } else { Rule::Challenge } as u8);
            keep!(sample.reply = REPLY_UNKNOWN);
        }
        _ => {
            keep!(sample.rule = Rule::Paws as u8);
            keep!(sample.reply = Reply::None as u8);
        }
    }
    report(sample, sk);
}

const SYN_SENT_CLASS: u8 = Class::SynSent as u8;
const CHALLENGE_CLASS: u8 = Class::EstablishedChallenge as u8;

#[inline(always)]
fn of_connection(sample: &mut Sample, sk: u64) {
    keep!(sample.ts_recent = Probed::get(sk, offset!(tp_ts_recent)));
    keep!(sample.stamp_s = Probed::get(sk, offset!(tp_ts_recent_stamp)));
    keep!(sample.rcv_nxt = Probed::get(sk, offset!(tp_rcv_nxt)));
    keep!(sample.at_ns = now());
}

/// A request socket has no stamp; the kernel estimates one, always young enough.
#[inline(always)]
fn of_request(sample: &mut Sample, req: u64) {
    let at_ns = now();
    let ts_recent: u32 = Probed::get(req, offset!(req_ts_recent));
    let has = over(0, ts_recent.into()) as u32;
    keep!(sample.ts_recent = ts_recent);
    keep!(sample.stamp_s = (at_ns / NS_PER_S) as u32 & has.wrapping_neg());
    keep!(sample.rcv_nxt = Probed::get(req, offset!(req_rcv_nxt)));
    keep!(sample.at_ns = at_ns);
}

/// What the segment says, to compare with what the socket said.
#[inline(always)]
fn of_segment(sample: &mut Sample, skb: u64) {
    let th = evidence::tcp_header::<Probed>(skb);
    evidence::read_segment::<Probed>(sample, th);
    keep!(sample.ttl = evidence::hop_limit::<Probed>(skb));
}

/// What has no mini-socket has no slot either: the rest of a sample is never written, and so 0.
#[inline(always)]
fn report(sample: &mut Sample, common: u64) {
    if !filter::active() || filter::passes_unowned::<Probed>(common) {
        keep!(sample.judged = 0);
        emit::refusal::<Probed>(common, sample);
        if fresh!(sample.judged) != 0 {
            emit::count_refusal::<Probed>(common, sample);
        }
    }
}
