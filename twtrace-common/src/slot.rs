//! What the kernel side remembers of one live mini-socket.

use crate::assert_layout;

/// Marks that say why a kill is about to come. Separate bytes, so that two CPUs marking at once
/// cannot overwrite each other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// `tw_timer_handler` ran for it.
    pub timer: u8,
    /// `tcp_timewait_state_process` returned TCP_TW_SYN (3) or TCP_TW_RST (1) last; else 0.
    pub verdict: u8,
    /// A RST is being processed by `tcp_timewait_state_process` right now.
    pub rst: u8,
    /// [`CANCEL_CONNECT`], [`CANCEL_BOUND`] or [`CANCEL_ABORT`]; else 0.
    pub cancel: u8,
}

/// `tcp_twsk_unique` returned 1 with twp set.
pub const CANCEL_CONNECT: u8 = 1;
/// `tcp_twsk_unique` returned 1 with twp NULL.
pub const CANCEL_BOUND: u8 = 2;
/// `tcp_abort` on it.
pub const CANCEL_ABORT: u8 = 3;

/// State of one mini-socket between birth and end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Address of the mini-socket, 0 while the slot is free.
    pub key: u64,
    /// CLOCK_MONOTONIC ns, 0 = unknown.
    pub born_ns: u64,
    pub time_wait_ns: u64,
    pub cgroup: u64,
    pub uid: u32,
    pub rearms: u32,
    /// Low half of `tw_timer.expires` when the segment being processed came in.
    pub expires: u32,
    pub marks: Marks,
    /// `FLAG_` bits of [`crate::record`].
    pub flags: u32,
    pub reserved: [u32; 3],
}

assert_layout!(Marks, size 4, align 1);
assert_layout!(Slot, size 64, align 8);

/// How many neighbouring slots are tried before a mini-socket goes to the spill map.
pub const PROBES: u32 = 8;
