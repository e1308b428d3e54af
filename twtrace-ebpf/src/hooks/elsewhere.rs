//! Refusals where there is no mini-socket, seen only when a segment is refused.
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
    record::{FLAG_TS_RECENT, FLAG_TSVAL, Flow},
    refusal::{Class, REPLY_UNKNOWN, Reply, Rule, Skipped, Stage},
};

use super::{NS_PER_S, now, pair};
use crate::{
    emit::{self, Counted, Evidence},
    evidence::{self, ACK, Header, RST, SYN, Sample},
    filter,
    maps::SAMPLE,
    read::{Access, Probed, argument},
    settings::{offset, value},
};

/// `enum tcp_state`.
const SYN_SENT: u8 = 2;

#[fexit]
fn limited(ctx: FExitContext) -> i32 {
    answered(
        ctx.arg(1),
        ctx.arg::<u64>(2) as u32,
        argument(&ctx, 3),
        ctx.arg::<u64>(4) as u8 != 0,
    );
    0
}

#[kprobe]
fn limited_enter(ctx: ProbeContext) -> u32 {
    if let (Some(skb), Some(mib), Some(last)) =
        (ctx.arg::<u64>(1), ctx.arg::<u64>(2), ctx.arg::<u64>(3))
    {
        pair::keep(pair::LIMITED, [skb, mib, last, 0]);
    }
    0
}

#[kretprobe]
fn limited_return(ctx: RetProbeContext) -> u32 {
    if let Some([skb, mib, last, _]) = pair::take(pair::LIMITED) {
        answered(skb, mib as u32, last, ctx.ret::<u64>() as u8 != 0);
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
    let (common, numbers) = if by_connection {
        let sk = last_oow_ack_time.wrapping_sub(offset!(tp_last_oow_ack_time) as u64);
        (sk, Numbers::of_connection(sk))
    } else {
        let req = last_oow_ack_time.wrapping_sub(offset!(req_last_oow_ack_time) as u64);
        (req, Numbers::of_request(req))
    };
    let Some((sample, header)) = read(skb, numbers) else {
        return;
    };
    let refused = if by_connection {
        Refused {
            stage: Stage::Established,
            rule: Rule::Paws,
            reply: reply(suppressed),
            class: Class::EstablishedPaws,
            skipped: suppressed.then_some(Skipped::Paws as u32),
        }
    } else {
        let paws = evidence::paws_rejects(sample, 0, 1, header.has(RST));
        let again = header.seq == Probed::get::<u32>(common, offset!(req_rcv_isn))
            && header.flags & (SYN | RST | ACK) == SYN;
        if again && !paws {
            // The same SYN once more: no refusal, but its answer may have been suppressed.
            if suppressed {
                emit::count_skipped(emit::netns::<Probed>(common), Skipped::SynRecv as u32);
            }
            return;
        }
        by_request(common, sample, &header, paws, suppressed)
    };
    report(common, skb, sample, &header, &refused);
}

#[inline(always)]
fn reply(suppressed: bool) -> u8 {
    if suppressed {
        Reply::RateLimited as u8
    } else {
        Reply::Ack as u8
    }
}

/// `tcp_check_req`.
#[inline(always)]
fn by_request(req: u64, sample: &Sample, header: &Header, paws: bool, suppressed: bool) -> Refused {
    let (rule, class) = if paws {
        (Rule::Paws, Class::SynRecvPaws)
    } else {
        (by_sequence(req, sample, header), Class::SynRecvOther)
    };
    Refused {
        stage: Stage::SynRecv,
        rule,
        reply: reply(suppressed),
        class,
        skipped: suppressed.then_some(Skipped::SynRecv as u32),
    }
}

/// In the window there is only one other reason to refuse: what it echoes.
#[inline(always)]
fn by_sequence(req: u64, sample: &Sample, header: &Header) -> Rule {
    let ahead = header.seq.wrapping_sub(sample.rcv_nxt);
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
    if sk == 0 {
        return;
    }
    let opening = Probed::get::<u8>(sk, offset!(skc_state)) == SYN_SENT;
    // On a connection that lives, those were seen when an ACK was wanted.
    if opening != (reason == value!(reason_paws)) {
        return;
    }
    let Some((sample, header)) = read(skb, Numbers::of_connection(sk)) else {
        return;
    };
    let age_s = ((now() / NS_PER_S) as u32).wrapping_sub(sample.stamp_s);
    let paws = evidence::paws_rejects(sample, age_s, value!(paws_wrap_s), header.has(RST));
    let refused = if opening {
        Refused {
            stage: Stage::SynSent,
            rule: if paws { Rule::Paws } else { Rule::Echo },
            reply: if paws {
                Reply::None as u8
            } else {
                Reply::Rst as u8
            },
            class: Class::SynSent,
            skipped: None,
        }
    } else if reason == value!(reason_paws_ack) {
        Refused {
            stage: Stage::Established,
            rule: Rule::Paws,
            reply: Reply::None as u8,
            class: Class::EstablishedOldAck,
            skipped: None,
        }
    } else {
        Refused {
            stage: Stage::Established,
            rule: if paws { Rule::Paws } else { Rule::Challenge },
            // The challenge ACK has a limit of its own, which is not seen here.
            reply: REPLY_UNKNOWN,
            class: Class::EstablishedChallenge,
            skipped: None,
        }
    };
    report(sk, skb, sample, &header, &refused);
}

/// What a socket says before the segment.
struct Numbers {
    ts_recent: u32,
    stamp_s: u32,
    rcv_nxt: u32,
}

struct Refused {
    stage: Stage,
    rule: Rule,
    reply: u8,
    class: Class,
    skipped: Option<u32>,
}

impl Numbers {
    #[inline(always)]
    fn of_connection(sk: u64) -> Self {
        Self {
            ts_recent: Probed::get(sk, offset!(tp_ts_recent)),
            stamp_s: Probed::get(sk, offset!(tp_ts_recent_stamp)),
            rcv_nxt: Probed::get(sk, offset!(tp_rcv_nxt)),
        }
    }

    /// A request socket has no stamp; the kernel estimates it, always young enough.
    #[inline(always)]
    fn of_request(req: u64) -> Self {
        let ts_recent = Probed::get(req, offset!(req_ts_recent));
        Self {
            ts_recent,
            stamp_s: if ts_recent == 0 {
                0
            } else {
                (now() / NS_PER_S) as u32
            },
            rcv_nxt: Probed::get(req, offset!(req_rcv_nxt)),
        }
    }
}

/// Puts socket and segment side by side.
#[inline(always)]
fn read(skb: u64, numbers: Numbers) -> Option<(&'static mut Sample, Header)> {
    // SAFETY: a map value of this CPU.
    let sample = unsafe { &mut *SAMPLE.get_ptr_mut(0)? };
    let th = evidence::tcp_header::<Probed>(skb);
    let header = Header::read::<Probed>(th);
    sample.flags = if numbers.stamp_s != 0 {
        FLAG_TS_RECENT
    } else {
        0
    };
    sample.seq = header.seq;
    sample.rcv_nxt = numbers.rcv_nxt;
    sample.ts_recent = numbers.ts_recent;
    sample.stamp_s = numbers.stamp_s;
    evidence::timestamp(sample, th, &header);
    Some((sample, header))
}

#[inline(always)]
fn report(common: u64, skb: u64, sample: &Sample, header: &Header, refused: &Refused) {
    let netns = emit::netns::<Probed>(common);
    if filter::active() {
        let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
        // SAFETY: the filters read only what is written here.
        let flow = unsafe { flow.assume_init_mut() };
        emit::flow::<Probed>(flow, common, netns);
        if !filter::passes(flow, false) {
            return;
        }
    }
    let at_ns = now();
    emit::count_refusal(
        netns,
        &Counted {
            class: refused.class as u32,
            skipped: refused.skipped,
            opens: false,
            differs: false,
        },
    );
    let evidence = Evidence {
        at_ns,
        tsval: sample.tsval,
        ts_recent: sample.ts_recent,
        ts_recent_age_s: ((at_ns / NS_PER_S) as u32).wrapping_sub(sample.stamp_s),
        seq: header.seq,
        rcv_nxt: sample.rcv_nxt,
        window: header.window,
        stage: refused.stage as u8,
        rule: refused.rule as u8,
        reply: refused.reply,
        tcp_flags: header.flags,
        ttl: evidence::hop_limit::<Probed>(skb),
        flags: sample.flags & (FLAG_TSVAL | FLAG_TS_RECENT),
        ..Evidence::NONE
    };
    emit::refusal::<Probed>(common, netns, &evidence);
}
