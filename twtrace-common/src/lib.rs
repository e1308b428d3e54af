//! The contract between the eBPF programs and user space.
//!
//! Everything here has one meaning on both sides of the ring buffer: record layouts, settings,
//! counters, histogram buckets, end reasons and the names of maps and programs. Only integers
//! with explicit padding cross the border, and every layout is asserted at compile time for both
//! targets.
//!
//! A change of anything that crosses the border raises [`ABI`]; the number is part of the name of
//! a global in the object ([`names::ABI_GLOBAL`]), so that a stale object is refused by name.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod counters;
pub mod histogram;
pub mod names;
pub mod ports;
pub mod record;
pub mod refusal;
pub mod settings;
pub mod slot;
pub mod tcp;
mod words;

/// Version of everything in this crate. Raise it together with [`names::ABI_GLOBAL`].
pub const ABI: u32 = 5;

/// Why a mini-socket ended. The discriminants index counters and histograms.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No mark was found. No test scenario may produce it.
    Other = 0,
    /// The TIME_WAIT timer fired (`tw_timer_handler`, substate TIME_WAIT).
    Expired = 1,
    /// The timer fired while still waiting for the peer's FIN (`tw_timer_handler`, FIN_WAIT2).
    FinWait2Timeout = 2,
    /// The peer's new SYN was accepted over it (`tcp_timewait_state_process` = TCP_TW_SYN).
    SynReopened = 3,
    /// A local `connect()` took its port over (`tcp_twsk_unique` = 1, twp not NULL).
    ConnectReused = 4,
    /// A `connect()` from a bound port took it over (`tcp_twsk_unique` = 1, twp NULL).
    BoundReused = 5,
    /// A RST in TIME_WAIT (kill inside `tcp_timewait_state_process`).
    Reset = 6,
    /// A RST in FIN_WAIT2, or a segment there that was answered with a RST.
    FinWait2Reset = 7,
    /// `ss -K` (`tcp_abort` on a mini-socket).
    Destroyed = 8,
    /// Its network namespace went away (`inet_twsk_purge`).
    NetnsExit = 9,
    /// tcp_tw_recycle's 3.5 x RTO timer; kernels up to 4.11 only, never produced by this object.
    Recycled = 10,
}

/// Number of end reasons, the length of every table indexed by [`Reason`].
pub const REASONS: usize = 11;

impl Reason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; REASONS] = [
        Self::Other,
        Self::Expired,
        Self::FinWait2Timeout,
        Self::SynReopened,
        Self::ConnectReused,
        Self::BoundReused,
        Self::Reset,
        Self::FinWait2Reset,
        Self::Destroyed,
        Self::NetnsExit,
        Self::Recycled,
    ];

    /// The reason's name in all output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Expired => "expired",
            Self::FinWait2Timeout => "fin-wait-2-timeout",
            Self::SynReopened => "syn-reopened",
            Self::ConnectReused => "connect-reused",
            Self::BoundReused => "bound-reused",
            Self::Reset => "reset",
            Self::FinWait2Reset => "fin-wait-2-reset",
            Self::Destroyed => "destroyed",
            Self::NetnsExit => "netns-exit",
            Self::Recycled => "recycled",
        }
    }

    /// The reason with this discriminant.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        if (value as usize) < REASONS {
            Some(Self::ALL[value as usize])
        } else {
            None
        }
    }
}

/// Asserts that a type of the contract has this size and no hidden padding rule of its own.
macro_rules! assert_layout {
    ($type:ty, size $size:expr, align $align:expr) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
        const _: () = assert!(core::mem::align_of::<$type>() == $align);
    };
}
pub(crate) use assert_layout;
