//! Carrying arguments from a kprobe to its kretprobe.
//!
//! Where bottom halves are disabled from entry to return, one cell per CPU is enough: nothing else
//! can enter the function on this CPU meanwhile, unless the kernel preempts that, too. Elsewhere the
//! task may be moved to another CPU, or a softirq may interrupt it and enter the function once more,
//! and return first. There each task has a stack of two, and the kernel's stack pointer tells what
//! was left on it by a call whose return probe never came.

use twtrace_common::settings::FEATURE_PREEMPTED;

use crate::{
    layout::{Arguments, Frames, Key},
    maps::{ARGUMENTS, FRAMES},
    settings::enabled,
    tally::{self, bump},
    task::task,
};

/// Functions in FRAMES. The first two have cells in ARGUMENTS as well.
pub const SEGMENT: u32 = 0;
pub const UNIQUE: u32 = 1;
pub const ALLOC: u32 = 2;
pub const LIMITED: u32 = 3;
pub const REFUSED: u32 = 4;

/// Keeps the arguments of a call with bottom halves disabled; the first is never 0.
#[inline(always)]
pub fn keep(cell: u32, stack: impl FnOnce() -> u64, arguments: Arguments) {
    if enabled(FEATURE_PREEMPTED) {
        push(cell, stack(), arguments);
        return;
    }
    let Some(kept) = ARGUMENTS.get_ptr_mut(cell) else {
        return;
    };
    // SAFETY: a map value of this CPU.
    let kept = unsafe { &mut *kept };
    if kept[0] != 0 {
        unpaired();
    }
    *kept = arguments;
}

/// Takes back what was kept; `None` if the entry was not seen.
#[inline(always)]
pub fn take(cell: u32) -> Option<Arguments> {
    if enabled(FEATURE_PREEMPTED) {
        return pop(cell);
    }
    // SAFETY: a map value of this CPU.
    let kept = unsafe { &mut *ARGUMENTS.get_ptr_mut(cell)? };
    let first = kept[0];
    kept[0] = 0;
    (first != 0).then_some([first, kept[1], kept[2], kept[3]])
}

/// Keeps the arguments of a call during which the task may be moved or interrupted.
#[inline(always)]
pub fn push(function: u32, stack: u64, arguments: Arguments) {
    let key = key(function);
    let Some(frames) = FRAMES.get_ptr_mut(key) else {
        let none = Frames {
            stack: [stack, 0],
            arguments: [arguments, [0; 4]],
        };
        if FRAMES.insert(key, none, 0).is_err() {
            unpaired();
        }
        return;
    };
    // SAFETY: a map value that only this task, and softirqs on top of it, write.
    let frames = unsafe { &mut *frames };
    if frames.stack[1] != 0 {
        // Nothing interrupts a softirq that comes here.
        unpaired();
        frames.stack[1] = 0;
    }
    if frames.stack[0] != 0 && has_returned(frames.stack[0], stack) {
        unpaired();
        frames.stack[0] = 0;
    }
    if frames.stack[0] == 0 {
        frames.stack[0] = stack;
        frames.arguments[0] = arguments;
    } else {
        frames.stack[1] = stack;
        frames.arguments[1] = arguments;
    }
}

/// Takes back what was kept last; `None` if the entry was not seen.
#[inline(always)]
pub fn pop(function: u32) -> Option<Arguments> {
    // SAFETY: as in `push`.
    let frames = unsafe { &mut *FRAMES.get_ptr_mut(key(function))? };
    if frames.stack[1] != 0 {
        frames.stack[1] = 0;
        return Some(frames.arguments[1]);
    }
    let stack = frames.stack[0];
    frames.stack[0] = 0;
    (stack != 0).then_some(frames.arguments[0])
}

/// Whether a call that began at `kept` must be over, now that another begins at `now`: a stack
/// grows down, so one that is still on the same stack began above.
#[inline(always)]
fn has_returned(kept: u64, now: u64) -> bool {
    /// log2 of the least size of a kernel stack; they are aligned to their size.
    const STACK_SHIFT: u64 = 14;
    kept >> STACK_SHIFT == now >> STACK_SHIFT && kept <= now
}

#[inline(always)]
fn key(function: u32) -> Key {
    Key {
        task: task(),
        function: function.into(),
    }
}

/// The return probe of an earlier call never came.
#[inline(always)]
fn unpaired() {
    tally::count_unassigned(|counters| bump(&mut counters.missed));
}
