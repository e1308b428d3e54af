//! Segments that several scenarios forge.

use crate::check::lab::Lab;
use crate::check::lab::mini::after_fin;
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::Sequence;
use crate::check::lab::step::Step;

/// The furthest that a timestamp can be behind: 2^31 - 1.
pub(super) const OLDEST: u32 = i32::MAX.cast_unsigned();
/// Values that the kernel does not send, so that forged segments can be told from its own.
const WINDOW: u16 = 1_021;
const TTL: u8 = 49;

/// Turns off the rate limit of answers.
pub(super) fn answer_all(lab: &Lab<'_>) -> Step<()> {
    lab.sysctl("tcp_invalid_ratelimit", 0)
}

/// A timestamp `behind` ticks behind the last one.
pub(super) fn older(at: Sequence, behind: u32) -> Option<u32> {
    at.clock.map(|clock| clock.wrapping_sub(behind))
}

/// A SYN whose sequence number is `ahead` of what TIME_WAIT expects.
pub(super) fn syn(at: Sequence, timestamp: Option<u32>, ahead: u32) -> Segment<'static> {
    Segment {
        sequence: after_fin(at).wrapping_add(ahead),
        syn: true,
        timestamp,
        window: WINDOW,
        ttl: TTL,
        ..Segment::default()
    }
}

/// Moves a segment back by one, as FIN_WAIT2 has not received the FIN yet.
pub(super) fn in_fin_wait_2(segment: Segment<'static>) -> Segment<'static> {
    Segment {
        sequence: segment.sequence.wrapping_sub(1),
        ..segment
    }
}

/// A RST in the peer's name.
pub(super) fn rst(sequence: u32) -> Segment<'static> {
    Segment {
        sequence,
        rst: true,
        ..Segment::default()
    }
}
