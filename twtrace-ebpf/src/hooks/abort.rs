//! SOCK_DESTROY (`ss -K`): `tcp_abort(sk, err)` on a mini-socket, which kills it before it
//! returns. 5.10 refuses instead, so the mark is taken back at the return.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::slot::CANCEL_ABORT;

use super::{TIME_WAIT, find_or_adopt, hash, substate, task};
use crate::{
    read::{Access, Probed},
    settings::offset,
    state,
};

#[fentry]
fn abort_enter(ctx: FEntryContext) -> i32 {
    enter(ctx.arg(0));
    0
}

#[fexit]
fn abort_exit(_ctx: FExitContext) -> i32 {
    exit();
    0
}

#[kprobe]
fn abort_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0) {
        enter(sk);
    }
    0
}

#[kretprobe]
fn abort_kretprobe(_ctx: RetProbeContext) -> u32 {
    exit();
    0
}

#[inline(always)]
fn enter(sk: u64) {
    // Mini-sockets are in state TIME_WAIT whatever their substate.
    if Probed::get::<u8>(sk, offset!(skc_state)) == TIME_WAIT
        && let Some(slot) = find_or_adopt(sk, hash::<Probed>(sk), substate::<Probed>(sk))
    {
        slot.marks.cancel = CANCEL_ABORT;
        task::enter(sk);
    }
}

#[inline(always)]
fn exit() {
    if let Some(sk) = task::leave()
        && let Some((slot, _)) = state::find(hash::<Probed>(sk), sk)
    {
        slot.marks.cancel = 0;
    }
}
