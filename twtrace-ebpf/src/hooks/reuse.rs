//! A local connect() takes a mini-socket's port over: `tcp_twsk_unique(sk, sktw, twp)` = 1. With
//! twp the port was chosen by connect(), without it the socket was bound to it before. If it
//! returns 0, that mini-socket is what keeps connect() from taking the port.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::{
    settings::FEATURE_PORTS,
    slot::{CANCEL_BOUND, CANCEL_CONNECT},
};

use super::{find_or_adopt, pair, ports};
use crate::{
    read::{Probed, stack_pointer},
    settings::enabled,
};

#[fexit]
fn unique(ctx: FExitContext) -> i32 {
    // Its second argument is declared `struct sock *`, so fields behind sock_common need probe
    // reads; only a connect() that hits a TIME_WAIT comes here.
    answered(
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2),
        ctx.arg::<u64>(3) as u32 == 1,
    );
    0
}

#[kprobe]
fn unique_enter(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(tw), Some(twp)) = (ctx.arg(0), ctx.arg(1), ctx.arg(2)) {
        pair::keep(pair::UNIQUE, || stack_pointer(&ctx), [tw, twp, sk, 0]);
    }
    0
}

#[kretprobe]
fn unique_return(ctx: RetProbeContext) -> u32 {
    if let Some([tw, twp, sk, _]) = pair::take(pair::UNIQUE) {
        answered(sk, tw, twp, ctx.ret::<u64>() as u32 == 1);
    }
    0
}

#[inline(always)]
fn answered(sk: u64, tw: u64, twp: u64, unique: bool) {
    if unique {
        reused(tw, twp != 0);
    } else if enabled(FEATURE_PORTS) {
        ports::blocked(sk);
    }
}

#[inline(always)]
fn reused(tw: u64, by_connect: bool) {
    if let Some(slot) = find_or_adopt::<Probed>(tw) {
        slot.marks.cancel = if by_connect {
            CANCEL_CONNECT
        } else {
            CANCEL_BOUND
        };
    }
}
