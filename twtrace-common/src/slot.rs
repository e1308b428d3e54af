//! What the kernel side remembers of one live mini-socket.

use crate::{Reason, assert_layout};

/// Marks that say why a kill is about to come. Separate bytes, so that two CPUs marking at once
/// cannot overwrite each other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// `tw_timer_handler` ran for it.
    pub timer: u8,
    /// How the last segment for it may end it: [`SEGMENT_RST`], [`SEGMENT_SYN`] or
    /// [`SEGMENT_ANSWERED`]; else 0.
    pub segment: u8,
    pub reserved: u8,
    /// [`CANCEL_CONNECT`], [`CANCEL_BOUND`] or [`CANCEL_ABORT`]; else 0.
    pub cancel: u8,
}

/// A RST: killed by `tcp_timewait_state_process` itself.
pub const SEGMENT_RST: u8 = 1;
/// A SYN in TIME_WAIT: killed by `tcp_v4_rcv` if it is accepted and somebody listens.
pub const SEGMENT_SYN: u8 = 2;
/// Anything in FIN_WAIT2 that `tcp_v4_rcv` may answer with a RST (TCP_TW_RST), and kill.
pub const SEGMENT_ANSWERED: u8 = 3;

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
/// A reuse kills at once, so its mark wins over a timer that fired meanwhile. Most segments end
/// nothing, and 5.10 refuses to abort a mini-socket: those marks explain a kill that nothing else
/// explains, a segment's before an abort's, since an abort removes the mark of an earlier segment.
const fn reason(cancel: u8, timer: bool, segment: u8, dead: bool, time_wait: bool) -> Reason {
    match cancel {
        CANCEL_CONNECT => return Reason::ConnectReused,
        CANCEL_BOUND => return Reason::BoundReused,
        _ => {}
    }
    if timer {
        return if time_wait {
            Reason::Expired
        } else {
            Reason::FinWait2Timeout
        };
    }
    if dead {
        return Reason::NetnsExit;
    }
    match segment {
        SEGMENT_RST if time_wait => Reason::Reset,
        SEGMENT_SYN if time_wait => Reason::SynReopened,
        SEGMENT_RST | SEGMENT_ANSWERED if !time_wait => Reason::FinWait2Reset,
        _ if cancel == CANCEL_ABORT => Reason::Destroyed,
        _ => Reason::Other,
    }
}

/// [`reason`] for every combination, by [`Marks::index`]. A table, because each branch of the
/// decision would double what the verifier walks after it.
pub const REASON_TABLE: [u8; 128] = {
    let mut table = [0; 128];
    let mut index = 0;
    while index < 128 {
        table[index] = reason(
            (index & 3) as u8,
            index & 4 != 0,
            ((index >> 3) & 3) as u8,
            index & 32 != 0,
            index & 64 != 0,
        ) as u8;
        index += 1;
    }
    table
};

impl Marks {
    /// None.
    pub const NONE: Self = Self {
        timer: 0,
        segment: 0,
        reserved: 0,
        cancel: 0,
    };

    /// Index into [`REASON_TABLE`]. `dead`: its namespace is going away; `time_wait`: it is in
    /// substate TIME_WAIT.
    #[inline(always)]
    #[must_use]
    pub const fn index(&self, dead: bool, time_wait: bool) -> usize {
        (self.cancel & 3) as usize
            | ((self.timer & 1) as usize) << 2
            | ((self.segment & 3) as usize) << 3
            | (dead as usize) << 5
            | (time_wait as usize) << 6
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
    /// When it entered TIME_WAIT. In FIN_WAIT2 it means nothing yet: any FIN may promote it.
    pub time_wait_ns: u64,
    pub cgroup: u64,
    pub uid: u32,
    pub rearms: u32,
    /// `skc_hash`, which tells this life from an earlier one at the same address whose end was
    /// missed.
    pub hash: u32,
    pub marks: Marks,
    /// `FLAG_` bits of [`crate::record`]; from [`MADE_SHIFT`] on, when the slot was made, in units
    /// of 2^[`MADE_UNIT_SHIFT`] ns; from [`TTL_SHIFT`] on, the TTL of the FIN that moved it to TIME_WAIT.
    pub flags: u32,
    /// SYNs refused.
    pub refused: u32,
    /// When the first was refused, CLOCK_MONOTONIC ns.
    pub first_refused_ns: u64,
}

/// Where the TTL begins in [`Slot::flags`].
pub const TTL_SHIFT: u32 = 24;
/// Where the time begins at which the slot was made: 16 bits, so it wraps after 52 days.
pub const MADE_SHIFT: u32 = 8;
/// log2 of the unit of that time in ns, about 69 s.
pub const MADE_UNIT_SHIFT: u32 = 36;

/// A mini-socket without news for this long (ns) has ended unseen: no timer runs longer than 60 s
/// (`TCP_TIMEWAIT_LEN`), and few are started again ten times.
pub const STALE_NS: u64 = 600_000_000_000;

/// [`Slot::flags`] of a slot that is made now.
#[inline(always)]
#[must_use]
pub const fn flags_made(flags: u8, now_ns: u64) -> u32 {
    flags as u32 | ((now_ns >> MADE_UNIT_SHIFT) as u32 & 0xffff) << MADE_SHIFT
}

/// How long a slot has existed, to 69 s.
#[must_use]
pub const fn age_ns(flags: u32, now_ns: u64) -> u64 {
    let made = (flags >> MADE_SHIFT) as u16;
    let now = (now_ns >> MADE_UNIT_SHIFT) as u16;
    (now.wrapping_sub(made) as u64) << MADE_UNIT_SHIFT
}

assert_layout!(Marks, size 4, align 1);
assert_layout!(Slot, size 64, align 8);

/// How many neighbouring slots are tried before a mini-socket goes to the spill map.
pub const PROBES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Marks = Marks {
        timer: 0,
        segment: 0,
        reserved: 0,
        cancel: 0,
    };

    fn reason_of(marks: Marks, dead: bool, time_wait: bool) -> Reason {
        Reason::from_u8(REASON_TABLE[marks.index(dead, time_wait)]).unwrap()
    }

    fn segment(segment: u8) -> Marks {
        Marks { segment, ..NONE }
    }

    fn cancel(cancel: u8) -> Marks {
        Marks { cancel, ..NONE }
    }

    #[test]
    fn each_mark_alone_gives_its_reason() {
        let timer = Marks { timer: 1, ..NONE };
        for (marks, in_fin_wait_2, in_time_wait) in [
            (timer, Reason::FinWait2Timeout, Reason::Expired),
            (segment(SEGMENT_RST), Reason::FinWait2Reset, Reason::Reset),
            (segment(SEGMENT_SYN), Reason::Other, Reason::SynReopened),
            (
                segment(SEGMENT_ANSWERED),
                Reason::FinWait2Reset,
                Reason::Other,
            ),
            (
                cancel(CANCEL_CONNECT),
                Reason::ConnectReused,
                Reason::ConnectReused,
            ),
            (
                cancel(CANCEL_BOUND),
                Reason::BoundReused,
                Reason::BoundReused,
            ),
            (cancel(CANCEL_ABORT), Reason::Destroyed, Reason::Destroyed),
            (NONE, Reason::Other, Reason::Other),
        ] {
            assert_eq!(reason_of(marks, false, false), in_fin_wait_2, "{marks:?}");
            assert_eq!(reason_of(marks, false, true), in_time_wait, "{marks:?}");
        }
        assert_eq!(reason_of(NONE, true, true), Reason::NetnsExit);
    }

    #[test]
    fn a_reuse_wins_over_a_timer_that_fired_meanwhile() {
        let marks = Marks {
            timer: 1,
            ..cancel(CANCEL_CONNECT)
        };
        assert_eq!(reason_of(marks, false, true), Reason::ConnectReused);
    }

    #[test]
    fn a_segment_that_ended_nothing_does_not_hide_what_did() {
        for kind in [SEGMENT_RST, SEGMENT_SYN, SEGMENT_ANSWERED] {
            let marks = Marks {
                timer: 1,
                ..segment(kind)
            };
            assert_eq!(reason_of(marks, false, true), Reason::Expired);
            assert_eq!(reason_of(segment(kind), true, true), Reason::NetnsExit);
        }
    }

    #[test]
    fn an_abort_that_was_refused_does_not_hide_what_ended_it_later() {
        let refused = cancel(CANCEL_ABORT);
        let timer = Marks {
            timer: 1,
            ..refused
        };
        assert_eq!(reason_of(timer, false, true), Reason::Expired);
        let reset = Marks {
            segment: SEGMENT_RST,
            ..refused
        };
        assert_eq!(reason_of(reset, false, true), Reason::Reset);
        assert_eq!(reason_of(refused, true, true), Reason::NetnsExit);
    }
}
