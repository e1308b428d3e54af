//! A namespace goes away: between entry and return of `inet_twsk_purge`, by task.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};

use super::task;

#[fentry]
fn purge_enter(_ctx: FEntryContext) -> i32 {
    task::enter(task::PURGE);
    0
}

#[fexit]
fn purge_exit(_ctx: FExitContext) -> i32 {
    task::leave();
    0
}

#[kprobe]
fn purge_kprobe(_ctx: ProbeContext) -> u32 {
    task::enter(task::PURGE);
    0
}

#[kretprobe]
fn purge_kretprobe(_ctx: RetProbeContext) -> u32 {
    task::leave();
    0
}
