//! CLOCK_MONOTONIC to the time of day.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const NS_PER_MS: i128 = 1_000_000;
const NS_PER_S: i128 = 1_000_000_000;

/// Turns the stamps of one trace into wall-clock time.
#[derive(Debug)]
pub struct WallClock {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC.
    offset_ns: i64,
    zone: TimeZone,
    /// The last second asked for; events come many to the second.
    second: Option<(i128, DateTime, String)>,
}

impl WallClock {
    /// In UTC, or in the time zone of this host.
    #[must_use]
    pub fn new(offset_ns: i64, utc: bool) -> Self {
        Self {
            offset_ns,
            zone: if utc {
                TimeZone::UTC
            } else {
                TimeZone::system()
            },
            second: None,
        }
    }

    /// `14:02:11.204`.
    pub fn time(&mut self, monotonic_ns: u64, out: &mut Vec<u8>) {
        let ms = self.second(monotonic_ns);
        if let Some((_, moment, _)) = &self.second {
            for (value, after) in [
                (moment.hour(), b':'),
                (moment.minute(), b':'),
                (moment.second(), b'.'),
            ] {
                out.extend([b'0' + value as u8 / 10, b'0' + value as u8 % 10, after]);
            }
            digits(ms, out);
        }
    }

    /// `2026-02-03T14:02:11.204+01:00`.
    pub fn timestamp(&mut self, monotonic_ns: u64, out: &mut Vec<u8>) {
        let ms = self.second(monotonic_ns);
        if let Some((_, moment, zone)) = &self.second {
            out.extend_from_slice(moment.to_string().as_bytes());
            out.push(b'.');
            digits(ms, out);
            out.extend_from_slice(zone.as_bytes());
        }
    }

    /// Puts the right second into `self.second` and returns the ms after it.
    fn second(&mut self, monotonic_ns: u64) -> u16 {
        let wall = i128::from(monotonic_ns) + i128::from(self.offset_ns);
        let second = wall.div_euclid(NS_PER_S);
        if self.second.as_ref().is_none_or(|last| last.0 != second) {
            let timestamp = Timestamp::from_nanosecond(second * NS_PER_S).unwrap_or_default();
            let offset = self.zone.to_offset(timestamp);
            let minutes = offset.seconds() / 60;
            let zone = match minutes {
                0 => "Z".to_owned(),
                _ => format!(
                    "{}{:02}:{:02}",
                    if minutes < 0 { '-' } else { '+' },
                    minutes.abs() / 60,
                    minutes.abs() % 60
                ),
            };
            self.second = Some((second, offset.to_datetime(timestamp), zone));
        }
        (wall.rem_euclid(NS_PER_S) / NS_PER_MS) as u16
    }
}

/// Three digits.
fn digits(ms: u16, out: &mut Vec<u8>) {
    out.extend([ms / 100, ms / 10 % 10, ms % 10].map(|digit| b'0' + digit as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-02-03 13:02:11 UTC.
    const WALL_S: i64 = 1_770_123_731;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_monotonic_stamp_becomes_the_time_of_day() {
        let mut clock = WallClock::new(WALL_S * 1_000_000_000 - 5_000_000_000, true);
        let at = |ms: u64| 5_000_000_000 + ms * 1_000_000;
        assert_eq!(text(|out| clock.time(at(204), out)), "13:02:11.204");
        assert_eq!(text(|out| clock.time(at(1_009), out)), "13:02:12.009");
        assert_eq!(
            text(|out| clock.timestamp(at(204), out)),
            "2026-02-03T13:02:11.204Z"
        );
    }

    #[test]
    fn the_offset_of_the_zone_is_said() {
        let zone = |seconds| TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).unwrap());
        let mut clock = WallClock {
            offset_ns: WALL_S * 1_000_000_000,
            zone: zone(5 * 3600 + 1800),
            second: None,
        };
        assert_eq!(
            text(|out| clock.timestamp(0, out)),
            "2026-02-03T18:32:11.000+05:30"
        );
        clock.zone = zone(-3 * 3600);
        clock.second = None;
        assert_eq!(
            text(|out| clock.timestamp(0, out)),
            "2026-02-03T10:02:11.000-03:00"
        );
    }

    #[test]
    fn no_stamp_is_too_large() {
        let mut clock = WallClock::new(i64::MAX, true);
        assert_eq!(text(|out| clock.time(u64::MAX, out)).len(), 12);
        let mut clock = WallClock::new(i64::MIN, true);
        assert_eq!(text(|out| clock.time(0, out)).len(), 12);
    }
}
