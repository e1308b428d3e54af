//! Everything that asks the running kernel.

mod attach;
pub mod btf;
mod clock;
pub mod counters;
mod filter;
pub(crate) mod hooks;
pub mod listing;
mod live_connection;
mod load;
#[cfg(feature = "log")]
mod log;
pub mod netns;
pub mod offsets;
mod plan;
pub mod port_look;
mod preemption;
#[cfg(feature = "check")]
pub(crate) mod preflight;
pub(crate) mod privileges;
pub(crate) mod probe;
pub(crate) mod recycle;
mod session;
mod size;
pub mod sock_diag;
pub(crate) mod socket_table;
mod spill;
pub mod survey;
mod syscall;
pub(crate) mod sysctl;
mod threads;
mod totals;
mod witness;

use twtrace_common::settings::Filter;

pub use attach::{Attached, Mode};
pub use btf::GivenBtf;
pub use clock::ClockWatch;
pub use filter::network;
pub use live_connection::LiveConnections;
pub use load::OBJECT;
pub use session::{Around, Look, Looked, Session};
pub use syscall::{disconnect, kernel_release, monotonic_ns, thread_cpu_ns, trim_memory};
pub use witness::{Answer, Witness};

/// How programs are to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// fentry/fexit where possible, else kprobe/kretprobe; with PREEMPT_RT the other way round.
    #[default]
    Auto,
    /// fentry/fexit only.
    Fentry,
    /// kprobe/kretprobe only; costs 2 to 5 times as much.
    Kprobe,
}

/// Refusals reported per second and CPU by default. Nobody reads that many, and a SYN flood costs
/// user space no more than this.
pub const REFUSAL_RATE: u32 = 10_000;

/// What to trace, and with how much room.
#[derive(Clone, Debug)]
pub struct Options {
    pub attach: Attach,
    /// Emit records of what happens; without, only totals are kept.
    pub records: bool,
    /// Count and report refused segments.
    pub refusals: bool,
    /// Also those that get no answer and have no mini-socket, which are seen at the tracepoint of
    /// every drop.
    pub drops: bool,
    /// Take the numbers of SYNs accepted over a TIME_WAIT.
    pub reopens: bool,
    /// Report only ends of mini-sockets that refused a SYN, or over which one was accepted.
    pub quiet_ends: bool,
    /// Report births, and list what is there when tracing begins.
    pub births: bool,
    /// Count and report calls that get no port.
    pub ports: bool,
    /// How many refusals per second each CPU reports; the others are only counted.
    pub refusal_rate: u32,
    /// Take uid and cgroup from the full socket.
    pub owners: bool,
    /// Count timer restarts.
    pub rearms: bool,
    pub filter: Filter,
    /// Size of the ring buffer, a power of two of at least a page.
    pub ring_bytes: u32,
    /// Room for this many live mini-sockets; by default what `tcp_max_tw_buckets` allows.
    pub max_sockets: Option<u32>,
    /// BTF of the running kernel, by default /sys/kernel/btf/vmlinux.
    pub btf: Option<GivenBtf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attach: Attach::Auto,
            records: true,
            refusals: true,
            drops: true,
            reopens: true,
            quiet_ends: false,
            births: false,
            ports: false,
            refusal_rate: REFUSAL_RATE,
            owners: true,
            rearms: true,
            filter: Filter::ZERO,
            ring_bytes: 2 << 20,
            max_sockets: None,
            btf: None,
        }
    }
}
