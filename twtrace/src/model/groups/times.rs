//! Lifetimes of one group.

use hdrhistogram::Histogram;

use crate::model::stats::{self, Percentiles};

/// Where there are many groups, most have no more: a histogram takes kilobytes, and as long to
/// make, and to add to another, as it is large.
const FEW: usize = 4;
/// Longer lifetimes are counted as this one, a day.
const LONGEST_NS: u64 = 86_400_000_000_000;

/// Lifetimes in ns: the first few as they are, then all in a histogram.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    few: [u64; FEW],
    /// How many of them count.
    number: usize,
    histogram: Option<Histogram<u32>>,
}

impl Times {
    pub(super) fn record(&mut self, ns: u64) {
        let ns = ns.min(LONGEST_NS);
        match (&mut self.histogram, self.few.get_mut(self.number)) {
            (Some(histogram), _) => put(histogram, ns),
            (None, Some(place)) => {
                *place = ns;
                self.number += 1;
            }
            (None, None) => put(self.histogram(), ns),
        }
    }

    /// Adds those of another group.
    pub(super) fn add(&mut self, other: &Self) {
        match &other.histogram {
            // It grows as needed, so there is no error.
            Some(histogram) => self.histogram().add(histogram).unwrap_or_default(),
            None => other.few().iter().for_each(|&ns| self.record(ns)),
        }
    }

    /// `None` if there are none.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        match &self.histogram {
            Some(histogram) => Some(stats::percentiles(histogram)),
            None => (self.number > 0).then(|| stats::percentiles(&self.few_counted())),
        }
    }

    /// The histogram, made of the few if there is none yet.
    fn histogram(&mut self) -> &mut Histogram<u32> {
        if self.histogram.is_none() {
            self.histogram = Some(self.few_counted());
            self.number = 0;
        }
        self.histogram.get_or_insert_with(stats::growing)
    }

    fn few_counted(&self) -> Histogram<u32> {
        let mut histogram = stats::growing();
        for &ns in self.few() {
            put(&mut histogram, ns);
        }
        histogram
    }

    fn few(&self) -> &[u64] {
        &self.few[..self.number]
    }
}

/// It grows as needed, so the only error is a value beyond 2^63.
fn put(histogram: &mut Histogram<u32>, ns: u64) {
    histogram.record(ns).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn times(number: u64) -> Times {
        let mut times = Times::default();
        (1..=number).for_each(|n| times.record(n * 60 * MS));
        times
    }

    #[test]
    fn a_few_and_many_have_the_percentiles_of_a_histogram() {
        assert_eq!(times(0).percentiles(), None);
        for number in 1..=20 {
            let mut histogram = stats::growing();
            (1..=number).for_each(|n| put(&mut histogram, n * 60 * MS));
            let expected = Some(stats::percentiles(&histogram));
            assert_eq!(times(number).percentiles(), expected, "{number}");
        }
    }

    #[test]
    fn few_and_many_are_added_either_way() {
        for (one, other) in [(0, 3), (3, 0), (2, 2), (3, 3), (2, 9), (9, 2), (9, 9)] {
            let mut sum = times(one);
            sum.add(&times(other));
            let n = sum.percentiles().map(|all| all.n);
            assert_eq!(n, Some(one + other), "{one} + {other}");
        }
    }

    #[test]
    fn there_is_no_histogram_before_it_is_needed() {
        assert!(times(FEW as u64).histogram.is_none());
        assert!(times(FEW as u64 + 1).histogram.is_some());
    }
}
