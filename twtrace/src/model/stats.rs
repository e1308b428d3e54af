//! Lifetime histograms and their percentiles, per end reason and clock.
//!
//! The kernel's buckets are HdrHistogram's own (two significant digits over a unit of 2^14 ns), so
//! nothing is lost on the way. A value is known as well as its bucket is wide: 16 µs up to 4 ms,
//! at most 1/128 of the value above. Percentiles and the maximum are given as the middle of their
//! bucket, so each is within 1/256 of the truth (or 8 µs).

use std::io::{self, Write};

use hdrhistogram::{Counter, Histogram};
use twtrace_common::REASONS;
use twtrace_common::histogram::{
    BUCKETS, CLOCKS, Clock, MAX_UNITS, UNIT_NS, UNIT_SHIFT, lowest_ns,
};

use crate::event::{Reason, Snapshot};

const SIGNIFICANT_DIGITS: u8 = 2;
/// What HdrHistogram makes of two significant digits; the footer of its files says it.
const SUB_BUCKETS: u32 = 256;
/// Steps per halving of the distance to 100 %, as HdrHistogram's tools have it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// The lifetimes that ended between two moments. Values are ns.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The first of them, CLOCK_MONOTONIC ns.
    pub from_ns: u64,
    /// The second.
    pub to_ns: u64,
    /// By reason, then clock; only those that have values.
    pub lifetimes: Vec<Lifetimes>,
    /// All ends by reason, also those without a known lifetime.
    #[doc(hidden)]
    pub ended: [u64; REASONS],
}

/// The times on one clock of the mini-sockets that ended for one reason.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// Why they ended.
    pub reason: Reason,
    /// Time in FIN_WAIT2, or in TIME_WAIT.
    pub clock: Clock,
    /// Its figures.
    pub percentiles: Percentiles,
    /// In ns.
    #[doc(hidden)]
    pub histogram: Histogram<u64>,
}

/// The figures of one histogram, in ns, each within 1/256 of the truth or 8 µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// How many values there are.
    pub n: u64,
    /// Half of them are no more than this.
    pub p50_ns: u64,
    /// 90 %.
    pub p90_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// One bar of a chart over log time: 1, 2, 5, 10, 20, 50 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub from_ns: u64,
    pub to_ns: u64,
    pub count: u64,
}

impl Stats {
    /// Everything up to one moment; tracing began at [`Meta::started_ns`](crate::event::Meta::started_ns).
    #[must_use]
    pub fn total(started_ns: u64, to: &Snapshot) -> Self {
        Self {
            from_ns: started_ns,
            to_ns: to.at_ns,
            lifetimes: lifetimes(&to.histograms, &[]),
            ended: ended(to),
        }
    }

    /// What came between two moments.
    #[must_use]
    pub fn between(from: &Snapshot, to: &Snapshot) -> Self {
        let (before, mut ended) = (ended(from), ended(to));
        for (count, before) in ended.iter_mut().zip(before) {
            *count = count.saturating_sub(before);
        }
        Self {
            from_ns: from.at_ns,
            to_ns: to.at_ns,
            lifetimes: lifetimes(&to.histograms, &from.histograms),
            ended,
        }
    }

    /// Those on one clock.
    pub fn on(&self, clock: Clock) -> impl Iterator<Item = &Lifetimes> {
        self.lifetimes.iter().filter(move |one| one.clock == clock)
    }

    /// All reasons together on one clock.
    #[doc(hidden)]
    #[must_use]
    pub fn merged(&self, clock: Clock) -> Histogram<u64> {
        let mut all = empty();
        for one in self.on(clock) {
            for value in one.histogram.iter_recorded() {
                all.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
        all
    }
}

/// The buckets that have values: lowest value in ns and count.
pub fn buckets(histogram: &Histogram<u64>) -> impl Iterator<Item = (u64, u64)> + '_ {
    histogram.iter_recorded().map(|value| {
        let lowest = histogram.lowest_equivalent(value.value_iterated_to());
        (lowest, value.count_at_value())
    })
}

/// The chart of a histogram, from its first bar that counts something to its last.
#[must_use]
pub fn bars(histogram: &Histogram<u64>) -> Vec<Bar> {
    let mut bars: Vec<Bar> = edges()
        .map(|(from_ns, to_ns)| Bar {
            from_ns,
            to_ns,
            count: 0,
        })
        .collect();
    for value in histogram.iter_recorded() {
        let middle = histogram.median_equivalent(value.value_iterated_to());
        if let Some(bar) = bars.iter_mut().find(|bar| middle < bar.to_ns) {
            bar.count += value.count_at_value();
        }
    }
    let first = bars.iter().position(|bar| bar.count > 0);
    let last = bars.iter().rposition(|bar| bar.count > 0);
    match (first, last) {
        (Some(first), Some(last)) => bars.drain(first..=last).collect(),
        _ => Vec::new(),
    }
}

/// 0 to 10 µs, then 1-2-5 steps to beyond the longest time that the kernel side can tell.
fn edges() -> impl Iterator<Item = (u64, u64)> {
    const FIRST: u64 = 10_000;
    let decades = (0..).map_while(|exponent| 10_u64.checked_pow(exponent));
    let steps = decades
        .filter(|&decade| decade >= FIRST)
        .flat_map(|decade| [(1, 2), (2, 5), (5, 10)].map(|(a, b)| (a, b, decade)))
        .map_while(|(a, b, decade)| Some((decade * a, decade.checked_mul(b)?)))
        .take_while(|&(from, _)| from <= MAX_UNITS << UNIT_SHIFT);
    std::iter::once((0, FIRST)).chain(steps)
}

/// Writes a histogram in HdrHistogram's percentile format, values in ms, as its tools and its
/// plotter read it. Here, as there, values are the highest of their bucket.
pub fn write_hgrm(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    let header = ("Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        header.0, header.1, header.2, header.3
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:>12.3} {quantile:>14.12} {total:>10}")?;
        if quantile < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
        histogram.mean() / NS_PER_MS,
        histogram.stdev() / NS_PER_MS
    )?;
    writeln!(
        out,
        "#[Max     = {:>12.3}, Total count    = {:>12}]",
        histogram.max() as f64 / NS_PER_MS,
        histogram.len()
    )?;
    writeln!(
        out,
        "#[Buckets = {:>12}, SubBuckets     = {SUB_BUCKETS:>12}]",
        histogram.buckets()
    )
}

fn ended(snapshot: &Snapshot) -> [u64; REASONS] {
    let mut sum = [0; REASONS];
    for counters in &snapshot.counters {
        for (sum, count) in sum.iter_mut().zip(counters.ended) {
            *sum += count;
        }
    }
    sum
}

fn lifetimes(to: &[u64], from: &[u64]) -> Vec<Lifetimes> {
    let none = [0; BUCKETS];
    let before = from
        .chunks_exact(BUCKETS)
        .chain(std::iter::repeat(&none[..]));
    let keys = Reason::ALL
        .into_iter()
        .flat_map(|reason| [Clock::FinWait2, Clock::TimeWait].map(|clock| (reason, clock)));
    const { assert!(Clock::FinWait2 as usize == 0 && CLOCKS == 2) };
    keys.zip(to.chunks_exact(BUCKETS).zip(before))
        .filter_map(|((reason, clock), (to, from))| {
            let histogram = difference(to, from)?;
            Some(Lifetimes {
                reason,
                clock,
                percentiles: percentiles(&histogram),
                histogram,
            })
        })
        .collect()
}

/// `None` if nothing was added.
fn difference(to: &[u64], from: &[u64]) -> Option<Histogram<u64>> {
    let mut histogram = None;
    for (bucket, (to, from)) in to.iter().zip(from).enumerate() {
        let count = to.saturating_sub(*from);
        if count > 0 {
            histogram
                .get_or_insert_with(empty)
                .saturating_record_n(lowest_ns(bucket), count);
        }
    }
    histogram
}

/// With the bounds of the kernel side's.
pub(super) fn empty() -> Histogram<u64> {
    let highest = MAX_UNITS << UNIT_SHIFT;
    Histogram::new_with_bounds(UNIT_NS, highest, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants, and a test makes one")
}

/// For use in large numbers: precise to an eighth of a ms, 1 KiB while values are below 33 ms,
/// and half as much again each time they double.
pub(super) fn growing() -> Histogram<u32> {
    const UNIT_NS: u64 = 1 << 17;
    let mut histogram = Histogram::new_with_bounds(UNIT_NS, 2 * UNIT_NS, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants, and a test makes one");
    histogram.auto(true);
    histogram
}

pub(super) fn percentiles<C: Counter>(histogram: &Histogram<C>) -> Percentiles {
    let at = |quantile| histogram.median_equivalent(histogram.value_at_quantile(quantile));
    Percentiles {
        n: histogram.len(),
        p50_ns: at(0.50),
        p90_ns: at(0.90),
        p99_ns: at(0.99),
        max_ns: histogram.median_equivalent(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use twtrace_common::counters::Counters;
    use twtrace_common::histogram::bucket;

    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1_000 * MS;

    fn snapshot(times: &[(Reason, Clock, u64, u64)]) -> Snapshot {
        let mut histograms = vec![0; REASONS * CLOCKS * BUCKETS];
        let mut counters = Counters::ZERO;
        for &(reason, clock, ns, n) in times {
            let index = (reason as usize * CLOCKS + clock as usize) * BUCKETS + bucket(ns);
            histograms[index] += n;
            counters.ended[reason as usize] += n;
        }
        Snapshot {
            at_ns: 10 * S,
            counters: vec![counters],
            histograms,
            missed: Some(0),
            kernel: Vec::new(),
            slack: 0,
        }
    }

    #[test]
    fn every_bucket_of_the_kernel_is_one_of_hdrhistograms() {
        for bucket in 0..BUCKETS {
            let mut histogram = empty();
            histogram.saturating_record_n(lowest_ns(bucket), 1);
            let next = lowest_ns(bucket + 1);
            assert_eq!(histogram.lowest_equivalent(next - 1), lowest_ns(bucket));
            assert_eq!(histogram.highest_equivalent(lowest_ns(bucket)), next - 1);
        }
    }

    #[test]
    fn percentiles_are_within_one_256th() {
        let times: Vec<_> = (1..=1_000)
            .map(|n| (Reason::Expired, Clock::TimeWait, n * 60 * MS, 1))
            .collect();
        let stats = Stats::total(0, &snapshot(&times));
        let got = stats.lifetimes[0].percentiles;
        assert_eq!(got.n, 1_000);
        for (got, truth) in [
            (got.p50_ns, 30 * S),
            (got.p90_ns, 54 * S),
            (got.p99_ns, 59_400 * MS),
            (got.max_ns, 60 * S),
        ] {
            assert!(got.abs_diff(truth) <= truth / 256, "{got} for {truth}");
        }
    }

    #[test]
    fn reasons_and_clocks_are_kept_apart() {
        let stats = Stats::total(
            0,
            &snapshot(&[
                (Reason::Recycled, Clock::TimeWait, S, 1),
                (Reason::Other, Clock::FinWait2, S, 2),
                (Reason::Other, Clock::TimeWait, S, 3),
            ]),
        );
        let got: Vec<_> = stats
            .lifetimes
            .iter()
            .map(|one| (one.reason, one.clock, one.percentiles.n))
            .collect();
        assert_eq!(
            got,
            [
                (Reason::Other, Clock::FinWait2, 2),
                (Reason::Other, Clock::TimeWait, 3),
                (Reason::Recycled, Clock::TimeWait, 1),
            ]
        );
        assert_eq!(stats.merged(Clock::TimeWait).len(), 4);
    }

    #[test]
    fn an_interval_is_the_difference_of_two_snapshots() {
        let key = (Reason::Reset, Clock::TimeWait);
        let before = snapshot(&[(key.0, key.1, 13 * MS, 5)]);
        let after = snapshot(&[(key.0, key.1, 13 * MS, 5), (key.0, key.1, 22 * MS, 2)]);
        let stats = Stats::between(&before, &after);
        assert_eq!(stats.lifetimes[0].percentiles.n, 2);
        assert_eq!(stats.ended[Reason::Reset as usize], 2);
        assert!(Stats::between(&after, &after).lifetimes.is_empty());
    }

    #[test]
    fn bars_count_everything_once_in_1_2_5_steps() {
        let stats = Stats::total(
            0,
            &snapshot(&[
                (Reason::Expired, Clock::TimeWait, 0, 1),
                (Reason::Expired, Clock::TimeWait, 15 * MS, 2),
                (Reason::Expired, Clock::TimeWait, 61 * S, 7),
                (Reason::Expired, Clock::TimeWait, u64::MAX, 1),
            ]),
        );
        let bars = bars(&stats.lifetimes[0].histogram);
        assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 11);
        assert!(bars.windows(2).all(|two| two[0].to_ns == two[1].from_ns));
        let sixty = bars.iter().find(|bar| bar.count == 7).unwrap();
        assert_eq!((sixty.from_ns, sixty.to_ns), (50 * S, 100 * S));
        let fifteen = bars.iter().find(|bar| bar.count == 2).unwrap();
        assert_eq!((fifteen.from_ns, fifteen.to_ns), (10 * MS, 20 * MS));
    }

    #[test]
    fn the_percentile_format_is_hdrhistograms() {
        let stats = Stats::total(
            0,
            &snapshot(&[
                (Reason::Expired, Clock::TimeWait, S, 1),
                (Reason::Expired, Clock::TimeWait, 2 * S, 1),
            ]),
        );
        let mut out = Vec::new();
        write_hgrm(&stats.lifetimes[0].histogram, &mut out).unwrap();
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

    1002.439 0.000000000000          1           1.00
    1002.439 0.100000000000          1           1.11
    1002.439 0.200000000000          1           1.25
    1002.439 0.300000000000          1           1.43
    1002.439 0.400000000000          1           1.67
    1002.439 0.500000000000          1           2.00
    2004.877 0.550000000000          2           2.22
    2004.877 1.000000000000          2
#[Mean    =     1500.512, StdDeviation   =      500.171]
#[Max     =     2004.877, Total count    =            2]
#[Buckets =           23, SubBuckets     =          256]
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
