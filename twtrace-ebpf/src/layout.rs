//! Values of maps that nobody but the programs reads.

/// Room for an offset of six bits, and a timestamp there.
const BUFFER: usize = 72;

/// A segment being processed, and its outcome.
///
/// It is kept in a map rather than in registers on purpose: the verifier follows each combination
/// of values in registers to the end of the program, but takes what it reads from a map for
/// unknown. So finding out and reporting are two halves that add up rather than multiply.
#[repr(C)]
pub struct Sample {
    /// The mini-socket that the segment came to; 0 once nothing more can come of it.
    pub tw: u64,
    /// The mini-socket that ends.
    pub ends: u64,
    pub at_ns: u64,
    /// From its slot: when it entered TIME_WAIT (ns), owner, SYNs refused.
    pub time_wait_ns: u64,
    pub cgroup: u64,
    pub uid: u32,
    pub refused: u32,
    pub expires: u32,
    pub rcv_nxt: u32,
    /// Of the segment.
    pub seq: u32,
    pub tsval: u32,
    /// Of the connection.
    pub ts_recent: u32,
    /// When `ts_recent` came, in seconds of CLOCK_MONOTONIC; 0 if it has none.
    pub stamp_s: u32,
    /// `FLAG_` bits of a record.
    pub flags: u8,
    pub tcp_flags: u8,
    /// As `tcp_flags`, which is known only where the whole header was read.
    pub header_flags: u8,
    /// How the segment may end the mini-socket, as in `Marks::segment`.
    pub segment: u8,
    /// `tcp_oow_rate_limited` was asked about it.
    pub asked: u8,
    /// The numbers of this segment were read.
    pub read: u8,
    /// What `tcp_timewait_state_process` returned.
    pub verdict: u8,
    /// Refused by timestamp.
    pub paws: u8,
    /// The segment restarted the timer of a mini-socket in TIME_WAIT.
    pub rearmed: u8,
    /// The kernel's verdict by timestamp differs from our repetition of its test.
    pub differs: u8,
    /// The segment moved the mini-socket to TIME_WAIT, and that counts.
    pub promoted: u8,
    /// It was judged to be a refusal, and has yet to be counted.
    pub judged: u8,
    /// Of the slot, all of them.
    pub slot_flags: u32,
    pub window: u16,
    pub substate: u8,
    pub stage: u8,
    pub rule: u8,
    pub reply: u8,
    pub ttl: u8,
    pub owner_ttl: u8,
    /// Index into `Counters::refused`, or [`crate::evidence::NOT_REFUSED`].
    pub class: u8,
    /// Index into `Counters::skipped`; beyond it if the answer was not suppressed.
    pub skipped: u8,
    /// A mini-socket refused a SYN.
    pub opens: u8,
    /// `FLAG_` bits of the slot.
    pub slot: u8,
    /// Whether its record found room; see [`crate::emit`].
    pub fits: u8,
    /// A program is at work on this sample; see [`crate::evidence::exclusive`].
    pub busy: u8,
    /// The mini-socket that ends is the one that this segment came to.
    pub here: u8,
    pub reserved: u8,
    /// TCP options.
    pub options: [u8; BUFFER],
}

/// A call that looks for a port. Where the arguments are at hand at the return, it is not noted
/// before a mini-socket blocks the first candidate.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PortCall {
    /// 0 between calls.
    pub sk: u64,
    /// The port that bind() asks for.
    pub port: u32,
    /// Candidates that only a mini-socket blocked.
    pub time_wait: u32,
}

/// What is kept of one call.
pub type Arguments = [u64; 4];

/// The task and function that frames belong to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Key {
    /// See [`crate::task`].
    pub task: u64,
    pub function: u64,
}

/// Calls of one function by one task, and by the softirqs on top of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Frames {
    /// Stack pointer at the entry; 0 if the frame is free.
    pub stack: [u64; 2],
    pub arguments: [Arguments; 2],
}
