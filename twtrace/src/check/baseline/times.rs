//! Lengths of time as an HdrHistogram of µs, to three digits. In a file it is what HdrHistogram's
//! own logs have: its V2 form, deflated, in base64.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize, de, ser};

/// An hour, in µs.
const MOST: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MOST, DIGITS);
        Self(histogram.expect("the bounds are valid"))
    }
}

impl Times {
    /// Adds a length in ns.
    pub(super) fn add(&mut self, ns: u64) {
        self.0.saturating_record(ns / 1_000);
    }

    pub(super) fn median(&self) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(0.5))
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// How many are longer.
    pub(super) fn over(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_micros()).unwrap_or(MOST);
        self.0.len() - self.0.count_between(0, limit)
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<T: IntoIterator<Item = Duration>>(each: T) -> Self {
        let mut times = Self::default();
        for one in each {
            times.add(u64::try_from(one.as_nanos()).unwrap_or(u64::MAX));
        }
        times
    }
}

impl Serialize for Times {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(ser::Error::custom)?;
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(de::Error::custom)?;
        let read = Deserializer::new().deserialize(&mut bytes.as_slice());
        read.map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_from_a_file() {
        let times: Times = [1, 60_500, 61_000]
            .map(Duration::from_millis)
            .into_iter()
            .collect();
        let text = serde_json::to_string(&times).unwrap();
        // The cookie of the deflated V2 form.
        assert!(text.starts_with("\"HISTFAAA"), "{text}");
        let back: Times = serde_json::from_str(&text).unwrap();
        assert_eq!(back, times);
        let median = back.median().as_millis();
        assert!((60_450..=60_550).contains(&median), "{median}");
        assert_eq!(back.over(Duration::from_secs(1)), 2);
        assert!(serde_json::from_str::<Times>("\"nonsense\"").is_err());
    }
}
