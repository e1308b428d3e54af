//! CLOCK_MONOTONIC to the time of day.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::event::found::SetClock;

const NS_PER_MS: i128 = 1_000_000;
const NS_PER_S: i128 = 1_000_000_000;
/// How many changes of the clock are remembered.
const MOST_SET: usize = 1_024;

/// Turns the stamps of one trace into wall-clock time.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, as it was when the trace began and later.
    offsets: Vec<SetClock>,
    zone: TimeZone,
    /// The last second asked for; events come many to the second.
    second: Option<Second>,
}

#[derive(Clone, Debug)]
struct Second {
    /// Since 1970.
    number: i128,
    civil: DateTime,
    /// "Z" or "+01:00".
    zone: String,
}

impl WallClock {
    /// In UTC, or in the time zone of this host.
    #[must_use]
    pub(crate) fn new(offset_ns: i64, utc: bool) -> Self {
        Self {
            offsets: vec![SetClock {
                at_ns: 0,
                wall_offset_ns: offset_ns,
            }],
            zone: if utc {
                TimeZone::UTC
            } else {
                TimeZone::system()
            },
            second: None,
        }
    }

    /// Another offset holds from some moment on, which is later than those before.
    pub(crate) fn set(&mut self, set: SetClock) {
        if self.offsets.len() == MOST_SET {
            self.offsets.remove(0);
        }
        self.offsets.push(set);
    }

    /// The offset at some moment. Nearly all that is asked for is of late.
    fn offset_ns(&self, monotonic_ns: u64) -> i64 {
        let mut latest_first = self.offsets.iter().rev();
        let holds = latest_first.find(|set| set.at_ns <= monotonic_ns);
        let known = holds.or(self.offsets.first());
        known.map_or(0, |set| set.wall_offset_ns)
    }

    /// `14:02:11.204`, in ASCII.
    pub(crate) fn time(&mut self, monotonic_ns: u64) -> [u8; 12] {
        let (second, ms) = self.split(monotonic_ns);
        let [hour, minute, second] = [
            second.civil.hour(),
            second.civil.minute(),
            second.civil.second(),
        ]
        .map(|value| [b'0' + value as u8 / 10, b'0' + value as u8 % 10]);
        let [a, b, c] = [ms / 100, ms / 10 % 10, ms % 10].map(|digit| b'0' + digit as u8);
        [
            hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1], b'.', a, b, c,
        ]
    }

    /// `2026-02-03T14:02:11.204+01:00`.
    pub(crate) fn timestamp(&mut self, monotonic_ns: u64) -> String {
        let (Second { civil, zone, .. }, ms) = self.split(monotonic_ns);
        format!("{civil}.{ms:03}{zone}")
    }

    /// The second, worked out if it is not the last one, and the ms after it.
    fn split(&mut self, monotonic_ns: u64) -> (&Second, u16) {
        let wall = i128::from(monotonic_ns) + i128::from(self.offset_ns(monotonic_ns));
        let number = wall.div_euclid(NS_PER_S);
        let ms = (wall.rem_euclid(NS_PER_S) / NS_PER_MS) as u16;
        if self
            .second
            .as_ref()
            .is_some_and(|last| last.number != number)
        {
            self.second = None;
        }
        let second = self
            .second
            .get_or_insert_with(|| Second::new(number, &self.zone));
        (second, ms)
    }
}

impl Second {
    fn new(number: i128, zone: &TimeZone) -> Self {
        let timestamp = Timestamp::from_nanosecond(number * NS_PER_S).unwrap_or_default();
        let offset = zone.to_offset(timestamp);
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
        Self {
            number,
            civil: offset.to_datetime(timestamp),
            zone: match minutes {
                0 => "Z".to_owned(),
                _ => format!("{sign}{hours:02}:{rest:02}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-02-03 13:02:11 UTC.
    const WALL_S: i64 = 1_770_123_731;

    #[test]
    fn a_monotonic_stamp_becomes_the_time_of_day() {
        let mut clock = WallClock::new(WALL_S * 1_000_000_000 - 5_000_000_000, true);
        let at = |ms: u64| 5_000_000_000 + ms * 1_000_000;
        assert_eq!(&clock.time(at(204)), b"13:02:11.204");
        assert_eq!(&clock.time(at(1_009)), b"13:02:12.009");
        assert_eq!(clock.timestamp(at(204)), "2026-02-03T13:02:11.204Z");
    }

    #[test]
    fn the_offset_of_the_zone_is_said() {
        let zone = |seconds| TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).unwrap());
        let mut clock = WallClock::new(WALL_S * 1_000_000_000, true);
        clock.zone = zone(5 * 3600 + 1800);
        assert_eq!(clock.timestamp(0), "2026-02-03T18:32:11.000+05:30");
        clock.zone = zone(-3 * 3600);
        clock.second = None;
        assert_eq!(clock.timestamp(0), "2026-02-03T10:02:11.000-03:00");
    }

    #[test]
    fn each_stamp_has_the_time_of_day_of_its_own_moment() {
        const S: u64 = 1_000_000_000;
        let offset = |hours: i64| (WALL_S + hours * 3_600) * 1_000_000_000;
        let mut clock = WallClock::new(offset(0), true);
        assert_eq!(&clock.time(10 * S), b"13:02:21.000");
        // The host slept for two hours, and was then set back by three.
        for (at_ns, hours) in [(20 * S, 2), (30 * S, -1)] {
            let wall_offset_ns = offset(hours);
            clock.set(SetClock {
                at_ns,
                wall_offset_ns,
            });
        }
        for (second, time) in [
            (10, b"13:02:21.000"),
            (19, b"13:02:30.000"),
            (20, b"15:02:31.000"),
            (29, b"15:02:40.000"),
            (30, b"12:02:41.000"),
            (40, b"12:02:51.000"),
        ] {
            assert_eq!(&clock.time(second * S), time, "second {second}");
        }
    }

    #[test]
    fn a_clock_that_is_set_all_the_time_takes_no_more_memory() {
        let mut clock = WallClock::new(0, true);
        for at_ns in 0..10 * MOST_SET as u64 {
            let wall_offset_ns = at_ns.cast_signed() * 1_000_000_000;
            clock.set(SetClock {
                at_ns,
                wall_offset_ns,
            });
        }
        assert_eq!(clock.offsets.len(), MOST_SET);
        assert_eq!(&clock.time(10 * MOST_SET as u64), b"02:50:39.000");
    }

    #[test]
    fn no_stamp_is_too_large() {
        let mut clock = WallClock::new(i64::MAX, true);
        assert_eq!(clock.time(u64::MAX)[2], b':');
        let mut clock = WallClock::new(i64::MIN, true);
        assert_eq!(clock.time(0)[2], b':');
    }
}
