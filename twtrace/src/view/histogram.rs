//! Lifetimes as tables and bars for people, rows and objects for programs.

use serde::Serialize;
use twtrace_common::histogram::Clock;

use super::cell::row;
use super::json::{self, ms};
use super::kept::Texts;
use super::line::Line;
use super::paint::{self, HEADING, Paint};
use super::units::{self, thousands};
use crate::host::WallClock;
use crate::model::Stats;
use crate::model::stats::{Lifetimes, Percentiles, bars, buckets};

/// Which part of the trace some figures are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Since the previous report.
    Interval,
    /// Since the start.
    Total,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Total => "total",
        }
    }
}

/// Widest bar, in characters.
const BAR: usize = 28;
/// The clocks, the more interesting first.
const CLOCKS: [(Clock, &str, &str); 2] = [
    (Clock::TimeWait, "TIME_WAIT", "time-wait"),
    (Clock::FinWait2, "FIN_WAIT2", "fin-wait-2"),
];

/// A table of percentiles per clock; over the whole trace a chart per reason, too.
pub(super) fn text(
    stats: &Stats,
    scope: Scope,
    paint: Paint,
    clock: &mut WallClock,
    out: &mut Line,
) {
    if scope == Scope::Interval {
        out.slice(&clock.time(stats.to_ns));
        out.byte(b'\n');
    }
    if stats.lifetimes.is_empty() {
        write!(out, "nothing ended\n\n");
        return;
    }
    for (clock, name, _) in CLOCKS {
        let all: Vec<_> = stats.on(clock).collect();
        table(name, &all, paint, out);
    }
    if scope == Scope::Total {
        for (clock, name, _) in CLOCKS {
            for one in stats.on(clock) {
                chart(name, one, paint, out);
            }
        }
    }
}

fn table(clock: &str, all: &[&Lifetimes], paint: Paint, out: &mut Line) {
    let Some(most) = all.iter().map(|one| one.percentiles.n).max() else {
        return;
    };
    let head = format!("time in {clock}, by end reason");
    paint.write(Some(HEADING), out, |out| {
        let [n, p50, p90, p99, max] = ["n", "p50", "p90", "p99", "max"];
        write!(out, "{head:<48}{n:>10} {p50:>9} {p90:>9} {p99:>9} {max:>9}");
    });
    out.byte(b'\n');
    for one in all {
        let Percentiles {
            n,
            p50_ns,
            p90_ns,
            p99_ns,
            max_ns,
        } = one.percentiles;
        paint.write(paint::of_reason(one.reason), out, |out| {
            write!(out, "{:<19}", one.reason.name());
        });
        write!(out, "{:<BAR$} {:>10}", bar(n, most, BAR), thousands(n));
        for ns in [p50_ns, p90_ns, p99_ns, max_ns] {
            write!(out, " {:>9}", units::span(ns));
        }
        out.byte(b'\n');
    }
    out.byte(b'\n');
}

fn chart(clock: &str, one: &Lifetimes, paint: Paint, out: &mut Line) {
    let head = format!("{}, time in {clock}", one.reason.name());
    writeln!(out, "{}", paint.on(HEADING, &head));
    let bars = bars(&one.histogram);
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    for step in &bars {
        let line = format!(
            "{:>9} – {:<9}{:>10} {}",
            edge(step.from_ns),
            edge(step.to_ns),
            thousands(step.count),
            bar(step.count, most, BAR)
        );
        writeln!(out, "{}", line.trim_end());
    }
    out.byte(b'\n');
}

/// Edges of bars are round: `50 s`, not `50.00 s`.
pub(super) fn edge(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", thousands(ns / 1_000_000_000)),
    }
}

/// A bar in eighths of a character; anything above 0 has at least one.
pub(super) fn bar(count: u64, most: u64, widest: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let full = u128::from(count) * (widest * 8) as u128;
    let eighths = (full / u128::from(most.max(1))) as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        bar.push(PARTS[eighths % 8]);
    }
    bar
}

/// Keys of the CSV rows, which are also fields of the JSON objects.
const KEYS: [&str; 10] = [
    "scope", "from_ns", "to_ns", "reason", "clock", "n", "p50_ms", "p90_ms", "p99_ms", "max_ms",
];

pub(super) fn csv_header(out: &mut Line) {
    row(KEYS, out);
}

pub(super) fn csv(stats: &Stats, scope: Scope, out: &mut Line) {
    let mut texts = Texts::new();
    each(stats, |clock, one| {
        write!(
            out,
            "{},{},{},{},{clock},{}",
            scope.name(),
            stats.from_ns,
            stats.to_ns,
            one.reason.name(),
            one.percentiles.n
        );
        let Percentiles {
            n: _,
            p50_ns,
            p90_ns,
            p99_ns,
            max_ns,
        } = one.percentiles;
        for ns in [p50_ns, p90_ns, p99_ns, max_ns] {
            out.byte(b',');
            units::milliseconds("", ns, &mut texts, out);
        }
        out.byte(b'\n');
    });
}

/// One histogram as it is written; docs/output.md describes each field.
#[derive(Serialize)]
struct Object {
    v: u32,
    event: &'static str,
    scope: &'static str,
    from_ns: u64,
    to_ns: u64,
    reason: &'static str,
    clock: &'static str,
    n: u64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    buckets: Vec<(u64, u64)>,
}

pub(super) fn json(stats: &Stats, scope: Scope, out: &mut Line) {
    each(stats, |clock, one| {
        let percentiles = one.percentiles;
        let object = Object {
            v: json::VERSION,
            event: "histogram",
            scope: scope.name(),
            from_ns: stats.from_ns,
            to_ns: stats.to_ns,
            reason: one.reason.name(),
            clock,
            n: percentiles.n,
            p50_ms: ms(percentiles.p50_ns),
            p90_ms: ms(percentiles.p90_ns),
            p99_ms: ms(percentiles.p99_ns),
            max_ms: ms(percentiles.max_ns),
            buckets: buckets(&one.histogram).collect(),
        };
        json::put(&object, out);
        out.byte(b'\n');
    });
}

fn each(stats: &Stats, mut show: impl FnMut(&'static str, &Lifetimes)) {
    for (clock, _, name) in CLOCKS {
        for one in stats.on(clock) {
            show(name, one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_for_the_most_and_visible_for_the_least() {
        assert_eq!(bar(7, 7, BAR), "█".repeat(BAR));
        assert_eq!(bar(1, 1_000_000, BAR), "▏");
        assert_eq!(bar(0, 7, BAR), "");
        assert_eq!(bar(0, 0, BAR), "");
        assert_eq!(bar(u64::MAX, u64::MAX, BAR), "█".repeat(BAR));
    }

    #[test]
    fn edges_are_round() {
        let edges = [
            10_000,
            500_000,
            1_000_000,
            50_000_000_000,
            5_000_000_000_000,
        ]
        .map(edge);
        assert_eq!(edges, ["10 µs", "500 µs", "1 ms", "50 s", "5,000 s"]);
    }
}
