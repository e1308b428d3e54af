//! What the kernel side remembers of one live mini-socket.

use crate::{Reason, assert_layout};

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

/// `enum tcp_tw_status`, what `tcp_timewait_state_process` returns; the same on all kernels.
pub const TCP_TW_RST: u8 = 1;
pub const TCP_TW_ACK: u8 = 2;
pub const TCP_TW_SYN: u8 = 3;
/// From 6.16 on: as TCP_TW_ACK, for a segment out of the window.
pub const TCP_TW_ACK_OOW: u8 = 4;

/// The reason of an end, from its marks alone.
///
/// A reuse or abort kills at once, so its mark wins over a timer that fired meanwhile. A RST that
/// is still being processed when the timer fires loses: the timer's kill came first. An accepted
/// SYN does not always kill (there may be no listener), so its mark yields to the timer and to
/// the purge of a dead namespace.
const fn reason(
    cancel: u8,
    timer: bool,
    rst: bool,
    purge: bool,
    verdict: u8,
    time_wait: bool,
) -> Reason {
    match cancel {
        CANCEL_CONNECT => return Reason::ConnectReused,
        CANCEL_BOUND => return Reason::BoundReused,
        CANCEL_ABORT => return Reason::Destroyed,
        _ => {}
    }
    if timer {
        return if time_wait {
            Reason::Expired
        } else {
            Reason::FinWait2Timeout
        };
    }
    if rst {
        return if time_wait {
            Reason::Reset
        } else {
            Reason::FinWait2Reset
        };
    }
    if purge {
        return Reason::NetnsExit;
    }
    match verdict {
        TCP_TW_SYN => Reason::SynReopened,
        TCP_TW_RST => Reason::FinWait2Reset,
        _ => Reason::Other,
    }
}

/// [`reason`] for every combination, by [`Marks::index`]. A table, because each branch of the
/// decision would double what the verifier walks after it.
pub const REASON_TABLE: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = reason(
            (index & 3) as u8,
            index & 4 != 0,
            index & 8 != 0,
            index & 16 != 0,
            ((index >> 5) & 3) as u8,
            index & 128 != 0,
        ) as u8;
        index += 1;
    }
    table
};

impl Marks {
    /// Index into [`REASON_TABLE`]. `purge`: it dies with its namespace; `time_wait`: it is in
    /// substate TIME_WAIT.
    #[inline(always)]
    #[must_use]
    pub const fn index(&self, purge: bool, time_wait: bool) -> usize {
        (self.cancel & 3) as usize
            | ((self.timer & 1) as usize) << 2
            | ((self.rst & 1) as usize) << 3
            | (purge as usize) << 4
            | ((self.verdict & 3) as usize) << 5
            | (time_wait as usize) << 7
    }
}

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
    pub reserved: u32,
    pub marks: Marks,
    /// `FLAG_` bits of [`crate::record`]; from [`TTL_SHIFT`] on, the TTL of the FIN that moved it
    /// to TIME_WAIT.
    pub flags: u32,
    /// SYNs refused.
    pub refused: u32,
    /// When the first was refused, CLOCK_MONOTONIC ns.
    pub first_refused_ns: u64,
}

/// Where the TTL begins in [`Slot::flags`].
pub const TTL_SHIFT: u32 = 24;

assert_layout!(Marks, size 4, align 1);
assert_layout!(Slot, size 64, align 8);

/// How many neighbouring slots are tried before a mini-socket goes to the spill map.
pub const PROBES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Marks = Marks {
        timer: 0,
        verdict: 0,
        rst: 0,
        cancel: 0,
    };

    fn reason_of(marks: Marks, purge: bool, time_wait: bool) -> Reason {
        Reason::from_u8(REASON_TABLE[marks.index(purge, time_wait)]).unwrap()
    }

    #[test]
    fn each_mark_alone_gives_its_reason() {
        let timer = Marks { timer: 1, ..NONE };
        assert_eq!(reason_of(timer, false, true), Reason::Expired);
        assert_eq!(reason_of(timer, false, false), Reason::FinWait2Timeout);
        let rst = Marks { rst: 1, ..NONE };
        assert_eq!(reason_of(rst, false, true), Reason::Reset);
        assert_eq!(reason_of(rst, false, false), Reason::FinWait2Reset);
        let syn = Marks {
            verdict: TCP_TW_SYN,
            ..NONE
        };
        assert_eq!(reason_of(syn, false, true), Reason::SynReopened);
        let answered = Marks {
            verdict: TCP_TW_RST,
            ..NONE
        };
        assert_eq!(reason_of(answered, false, false), Reason::FinWait2Reset);
        for (cancel, reason) in [
            (CANCEL_CONNECT, Reason::ConnectReused),
            (CANCEL_BOUND, Reason::BoundReused),
            (CANCEL_ABORT, Reason::Destroyed),
        ] {
            assert_eq!(reason_of(Marks { cancel, ..NONE }, false, true), reason);
        }
        assert_eq!(reason_of(NONE, true, true), Reason::NetnsExit);
        assert_eq!(reason_of(NONE, false, true), Reason::Other);
    }

    #[test]
    fn a_reuse_wins_over_a_timer_that_fired_meanwhile() {
        let marks = Marks {
            cancel: CANCEL_CONNECT,
            timer: 1,
            ..NONE
        };
        assert_eq!(reason_of(marks, false, true), Reason::ConnectReused);
    }

    #[test]
    fn a_syn_that_found_no_listener_does_not_hide_what_ended_it_later() {
        let syn = Marks {
            verdict: TCP_TW_SYN,
            ..NONE
        };
        assert_eq!(
            reason_of(Marks { timer: 1, ..syn }, false, true),
            Reason::Expired
        );
        assert_eq!(reason_of(syn, true, true), Reason::NetnsExit);
    }
}
