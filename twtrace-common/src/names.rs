//! Names of the globals, maps and programs of the object. A test opens the object and finds each.

/// Present in every object of this ABI; its name carries [`crate::ABI`].
pub const ABI_GLOBAL: &str = "TWTRACE_ABI_5";
/// [`crate::settings::Settings`].
pub const SETTINGS: &str = "SETTINGS";

/// Ring buffer of records.
pub const RING: &str = "RING";
/// Array of [`crate::slot::Slot`], open addressing by `skc_hash`.
pub const SLOTS: &str = "SLOTS";
/// Hash of [`crate::slot::Slot`] by mini-socket address: what SLOTS does not take.
pub const SPILL: &str = "SPILL";
/// Array of [`crate::counters::Counters`], by entry and stripe.
pub const COUNTERS: &str = "COUNTERS";
/// Array of [`crate::counters::Owner`], by entry.
pub const OWNERS: &str = "OWNERS";
/// Hash of the ids of namespaces by the entry that they take: the first to insert has it.
pub const CLAIMS: &str = "CLAIMS";
/// The one global that is written, by user space: 1 (u32) when the trace is over, and nothing is
/// counted or reported any more.
pub const CLOSED: &str = ".bss";
/// One [`crate::histogram::Histograms`].
pub const HISTOGRAMS: &str = "HISTOGRAMS";
/// Per-CPU array of arguments kept between a kprobe and its kretprobe, where bottom halves are
/// disabled in between.
pub const ARGUMENTS: &str = "ARGUMENTS";
/// LRU hash of such arguments by task, where bottom halves are enabled.
pub const FRAMES: &str = "FRAMES";
/// Per-CPU, one [`crate::slot::Slot`]: for the end of a mini-socket that has none.
pub const SCRATCH: &str = "SCRATCH";
/// Per-CPU, what a mini-socket and the segment for it said at the entry of
/// `tcp_timewait_state_process`.
pub const SAMPLE: &str = "SAMPLE";
/// LRU hash of the same by task, where the kernel preempts bottom halves.
pub const SAMPLES: &str = "SAMPLES";
/// LRU hash of the calls that look for a port, by pid_tgid.
pub const PORT_CALLS: &str = "PORT_CALLS";
/// How many of those calls a mini-socket has kept from a port.
pub const BLOCKED_CALLS: &str = "BLOCKED_CALLS";
/// Per-CPU, how many refusals and port failures were reported lately.
pub const BUDGET: &str = "BUDGET";
