//! How the time of day runs beside CLOCK_MONOTONIC, in which all events are stamped.

use super::syscall::{monotonic_ns, wall_offset_ns};
use crate::event::found::SetClock;

/// A smaller difference (ns) is due to reading the clocks. Slewing moves both together.
const NOTICEABLE_NS: u64 = 1_000_000;

/// Notices that the time of day was set, or that the host has slept: CLOCK_MONOTONIC stands still
/// meanwhile.
#[derive(Debug)]
pub struct ClockWatch {
    known_ns: i64,
}

impl ClockWatch {
    /// `wall_offset_ns`: CLOCK_REALTIME minus CLOCK_MONOTONIC as it was last told.
    #[must_use]
    pub fn new(wall_offset_ns: i64) -> Self {
        Self {
            known_ns: wall_offset_ns,
        }
    }

    /// Reports each change once. Costs a microsecond.
    pub fn look(&mut self) -> Option<SetClock> {
        self.read(monotonic_ns(), wall_offset_ns())
    }

    fn read(&mut self, at_ns: u64, wall_offset_ns: i64) -> Option<SetClock> {
        if wall_offset_ns.abs_diff(self.known_ns) < NOTICEABLE_NS {
            return None;
        }
        self.known_ns = wall_offset_ns;
        Some(SetClock {
            at_ns,
            wall_offset_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const HOUR: i64 = 3_600_000 * MS;

    #[test]
    fn a_step_is_told_once_and_the_noise_of_reading_is_not() {
        let mut watch = ClockWatch::new(HOUR);
        assert_eq!(watch.read(1, HOUR + MS / 2), None);
        assert_eq!(watch.read(2, HOUR - MS / 2), None);
        let slept = SetClock {
            at_ns: 3,
            wall_offset_ns: 3 * HOUR,
        };
        assert_eq!(watch.read(3, 3 * HOUR), Some(slept));
        assert_eq!(watch.read(4, 3 * HOUR), None);
        let set_back = SetClock {
            at_ns: 5,
            wall_offset_ns: -HOUR,
        };
        assert_eq!(watch.read(5, -HOUR), Some(set_back));
    }

    #[test]
    fn small_steps_add_up_to_one_that_is_told() {
        let mut watch = ClockWatch::new(0);
        let told = (1..=10).filter(|&step| watch.read(0, step * MS / 4).is_some());
        assert_eq!(told.collect::<Vec<_>>(), [4, 8]);
    }

    #[test]
    fn while_nobody_sets_the_clock_nothing_is_told() {
        let mut watch = ClockWatch::new(wall_offset_ns());
        assert_eq!(watch.look(), None);
    }
}
