//! Carrying arguments from a kprobe to its kretprobe.
//!
//! Per function and CPU, two deep: most of these functions run with bottom halves disabled from
//! entry to return, so nothing else can enter them on this CPU meanwhile; `inet_twsk_alloc` may
//! be interrupted by a softirq that enters it once more and returns first.

use crate::{
    maps::ARGUMENTS,
    tally::{self, bump},
};

/// Cell numbers in ARGUMENTS.
pub const ALLOC: u32 = 0;
pub const SEGMENT: u32 = 1;
pub const UNIQUE: u32 = 2;
pub const LIMITED: u32 = 3;
pub const REFUSED: u32 = 4;

/// How deep each cell is.
const DEPTH: u32 = 2;

/// Keeps up to four arguments; the first is never 0.
#[inline(always)]
pub fn keep(cell: u32, arguments: [u64; 4]) {
    for level in 0..DEPTH {
        let Some(kept) = ARGUMENTS.get_ptr_mut(cell * DEPTH + level) else {
            return;
        };
        // SAFETY: a map value of this CPU.
        let kept = unsafe { &mut *kept };
        let last = level == DEPTH - 1;
        if kept[0] != 0 && last {
            // The return probe of an earlier call never came.
            tally::count(0, |counters| bump(&mut counters.missed));
        }
        if kept[0] == 0 || last {
            kept[0] = arguments[0];
            kept[1] = arguments[1];
            kept[2] = arguments[2];
            kept[3] = arguments[3];
            return;
        }
    }
}

/// Takes back what was kept last; `None` if the entry was not seen.
#[inline(always)]
pub fn take(cell: u32) -> Option<[u64; 4]> {
    for level in (0..DEPTH).rev() {
        // SAFETY: a map value of this CPU.
        let kept = unsafe { &mut *ARGUMENTS.get_ptr_mut(cell * DEPTH + level)? };
        let first = kept[0];
        if first != 0 {
            kept[0] = 0;
            return Some([first, kept[1], kept[2], kept[3]]);
        }
    }
    None
}
