//! Carrying arguments from a kprobe to its kretprobe.
//!
//! One cell per function and CPU: these functions run with bottom halves disabled from entry to
//! return, so nothing else can enter them on this CPU meanwhile.

use crate::{maps::ARGUMENTS, tally};

/// Cell numbers in ARGUMENTS.
pub const ALLOC: u32 = 0;
pub const SEGMENT: u32 = 1;
pub const UNIQUE: u32 = 2;

/// Keeps up to three arguments; the first is never 0.
#[inline(always)]
pub fn keep(cell: u32, arguments: [u64; 3]) {
    let Some(kept) = ARGUMENTS.get_ptr_mut(cell) else {
        return;
    };
    // SAFETY: a map value of this CPU.
    unsafe {
        if (*kept)[0] != 0 {
            // The return probe of the previous call never came.
            tally::count(0, |counters| counters.missed += 1);
        }
        (*kept)[0] = arguments[0];
        (*kept)[1] = arguments[1];
        (*kept)[2] = arguments[2];
    }
}

/// Takes them back; `None` if the entry was not seen.
#[inline(always)]
pub fn take(cell: u32) -> Option<[u64; 3]> {
    let kept = ARGUMENTS.get_ptr_mut(cell)?;
    // SAFETY: a map value of this CPU.
    unsafe {
        let first = (*kept)[0];
        if first == 0 {
            return None;
        }
        (*kept)[0] = 0;
        Some([first, (*kept)[1], (*kept)[2]])
    }
}
