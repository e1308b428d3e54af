//! From the numbers of a refused segment to what they say together.

use crate::event::found::LiveConnection;
use crate::event::{Numbers, Refusal, Stage};

const NS_PER_MS: u64 = 1_000_000;
const MS_PER_S: u64 = 1_000;

/// A refusal and what follows from its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// TSval less ts_recent in ticks: negative is behind. `None` if one of them is not there.
    pub gap: Option<i32>,
    /// Sequence number less the expected one; `None` where none was expected yet.
    pub seq_gap: Option<i32>,
    /// In whole seconds: the kernel keeps no more.
    pub ts_recent_age_ms: Option<u64>,
    /// How long the mini-socket had been in TIME_WAIT.
    pub time_wait_ns: Option<u64>,
    /// The live connection that refused it, if it was still there when somebody looked.
    pub live: Option<LiveConnection>,
}

impl Refused {
    /// Gives a refusal its meaning.
    #[must_use]
    pub fn new(refusal: Refusal) -> Self {
        Self {
            gap: gap(&refusal.numbers),
            seq_gap: match refusal.stage {
                Stage::SynSent | Stage::Recycle => None,
                _ => Some(seq_gap(&refusal.numbers)),
            },
            ts_recent_age_ms: refusal.ts_recent_age_s.map(|s| u64::from(s) * MS_PER_S),
            time_wait_ns: refusal
                .time_wait_ns
                .and_then(|since| refusal.at_ns.checked_sub(since)),
            live: None,
            refusal,
        }
    }

    /// Age of ts_recent in ns, by the finer clock where there is one: ts_recent is that of the
    /// segment that moved the mini-socket to TIME_WAIT, or a little older.
    #[must_use]
    pub fn ts_recent_age_ns(&self) -> Option<u64> {
        let coarse = self.ts_recent_age_ms.map(|ms| ms * NS_PER_MS);
        self.time_wait_ns.or(coarse)
    }
}

/// TSval less ts_recent in ticks, on a circle of 2^32: negative is behind.
#[must_use]
pub(crate) fn gap(numbers: &Numbers) -> Option<i32> {
    let Numbers {
        tsval, ts_recent, ..
    } = numbers;
    Some(tsval.as_ref()?.wrapping_sub((*ts_recent)?).cast_signed())
}

/// Sequence number less the one that was expected: negative is before it.
#[must_use]
pub(crate) fn seq_gap(numbers: &Numbers) -> i32 {
    numbers.seq.wrapping_sub(numbers.rcv_nxt).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers {
        tsval: Some(1_000),
        ts_recent: Some(3_113),
        seq: 500,
        rcv_nxt: 100,
    };

    #[test]
    fn a_gap_is_negative_when_the_segment_is_behind() {
        assert_eq!(gap(&NUMBERS), Some(-2_113));
        assert_eq!(seq_gap(&NUMBERS), 400);
    }

    #[test]
    fn gaps_go_around_the_circle() {
        let around = Numbers {
            tsval: Some(5),
            ts_recent: Some(u32::MAX - 4),
            seq: u32::MAX,
            rcv_nxt: 1,
        };
        assert_eq!(gap(&around), Some(10));
        assert_eq!(seq_gap(&around), -2);
    }

    #[test]
    fn without_both_timestamps_there_is_no_gap() {
        for (tsval, ts_recent) in [(None, Some(1)), (Some(1), None), (None, None)] {
            let numbers = Numbers {
                tsval,
                ts_recent,
                ..NUMBERS
            };
            assert_eq!(gap(&numbers), None);
        }
    }
}
