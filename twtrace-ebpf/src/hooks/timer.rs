//! The timer fired: `tw_timer_handler(t)`, which ends in a jump to `inet_twsk_kill`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};

use super::find_or_adopt;
use crate::{read::Probed, settings::offset};

#[fentry]
fn timer(ctx: FEntryContext) -> i32 {
    fired(ctx.arg(0));
    0
}

#[kprobe]
fn timer_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(timer) = ctx.arg(0) {
        fired(timer);
    }
    0
}

#[inline(always)]
fn fired(timer: u64) {
    // The timer is a member of the mini-socket; fields before it are out of the type that the
    // verifier knows here, hence probe reads in both kinds of program.
    let tw = timer.wrapping_sub(offset!(tw_timer) as u64);
    if let Some(slot) = find_or_adopt::<Probed>(tw) {
        slot.marks.timer = 1;
    }
}
