//! SOCK_DESTROY (`ss -K`): `tcp_abort(sk, err)` on a mini-socket, which kills it before it
//! returns. 5.10 refuses instead, so the mark yields to all others, except to those of segments
//! that came earlier, which it removes.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use twtrace_common::slot::CANCEL_ABORT;

use super::{TIME_WAIT, find_or_adopt};
use crate::{
    read::{Access, Probed},
    settings::offset,
};

#[fentry]
fn abort(ctx: FEntryContext) -> i32 {
    aborted(ctx.arg(0));
    0
}

#[kprobe]
fn abort_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0) {
        aborted(sk);
    }
    0
}

#[inline(always)]
fn aborted(sk: u64) {
    // Mini-sockets are in state TIME_WAIT whatever their substate.
    if Probed::get::<u8>(sk, offset!(skc_state)) == TIME_WAIT
        && let Some(slot) = find_or_adopt::<Probed>(sk)
    {
        slot.marks.segment = 0;
        slot.marks.cancel = CANCEL_ABORT;
    }
}
