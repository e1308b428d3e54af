//! The bench's result as text.

use super::others::{Kind, STARTS, TOOLS, WITHOUT};
use super::{Cost, Measured, Refusals};
use crate::run::show;

/// Ours by name in the VM's report, with what the ratios of the others refer to.
const OURS: &[(&str, &str, Kind)] = &[
    ("hist", "twtrace hist", Kind::Counts),
    (
        "trace, /dev/null",
        "twtrace trace -o json >/dev/null",
        Kind::Events,
    ),
    ("trace, file", "twtrace trace -o json >FILE", Kind::Events),
    (
        "trace text, /dev/null",
        "twtrace trace >/dev/null",
        Kind::Events,
    ),
    ("record", "twtrace record FILE", Kind::Events),
    ("top", "twtrace top --batch >/dev/null", Kind::Events),
    ("hist, kprobe", "twtrace hist --attach kprobe", Kind::Counts),
    ("hist, by cgroup", "twtrace hist --by cgroup", Kind::Counts),
    ("hist, filter", "twtrace hist -L 1", Kind::Counts),
    ("trace, filter", "twtrace trace -L 1", Kind::Events),
];

/// The row that the others are compared with.
const REFERENCES: [(Kind, &str); 2] = [(Kind::Counts, "hist"), (Kind::Events, "trace, /dev/null")];

/// Those that were measured.
fn ours(
    measured: &[Measured],
) -> impl Iterator<Item = &'static (&'static str, &'static str, Kind)> {
    OURS.iter()
        .filter(|row| measured.iter().any(|on| on.costs.contains_key(row.0)))
}

pub(super) fn show_all(measured: &[Measured]) {
    let any = |is_there: fn(&Measured) -> bool| measured.iter().any(is_there);
    if any(|on| !on.costs.is_empty()) {
        instructions(measured);
        user_space(measured);
    }
    if any(|on| !on.refusals.is_empty()) {
        refusals(measured);
    }
    if any(|on| !on.attach.is_empty()) {
        attaching(measured);
    }
    if any(|on| !on.replay.is_empty()) {
        replaying(measured);
    }
}

/// By name in the VM's report.
const REFUSING: &[(&str, &str)] = &[
    ("without", "without twtrace"),
    ("hist", "twtrace hist"),
    ("conflicts", "twtrace conflicts -o json"),
    ("conflicts, kprobe", "twtrace conflicts -o json, kprobe"),
];

/// A column of the table of refusals.
type Column = (&'static str, fn(&Refusals) -> u64);

fn refusals(measured: &[Measured]) {
    let columns: [Column; 2] = [
        ("per refused SYN, its sending included", |one| one.syn),
        ("per connection that meets no TIME_WAIT", |one| {
            one.connection
        }),
    ];
    for (title, of) in columns {
        show(&format!("guest instructions {title}"));
        for (key, name) in REFUSING {
            let cell = |on: &Measured| on.refusals.get(*key).map(|one| thousands(of(one)));
            let cells = measured.iter().map(|on| cell(on).unwrap_or_default());
            row(name, &cells.collect::<Vec<_>>(), "");
        }
        show("");
    }
}

fn instructions(measured: &[Measured]) {
    show("guest instructions per loopback connection (one CPU, the consumer's work counts too)");
    let releases: Vec<String> = measured
        .iter()
        .map(|on| on.kernel.release.clone())
        .collect();
    row("", &releases, "");
    let without = measured.iter().map(|on| match on.costs.get("without") {
        Some(cost) => thousands(cost.ns),
        None => "?".to_owned(),
    });
    row("without twtrace", &without.collect::<Vec<_>>(), "");
    let again: Vec<String> = measured
        .iter()
        .map(|on| percent(more(on, "without, again")))
        .collect();
    row("the same at the end (noise)", &again, "");
    for (key, name, _) in ours(measured) {
        let cells: Vec<String> = measured.iter().map(|on| percent(more(on, key))).collect();
        row(name, &cells, "");
    }
    show("");
    show("other tools, measured with the same method on 6.1.176 and 6.18.15 (not again here)");
    let without = WITHOUT.map(thousands);
    row("without any tool", &without, "cost to ours");
    for tool in TOOLS {
        let cells = tool.percent.map(|value| percent(Some(value)));
        row(
            tool.name,
            &cells,
            &ratio(measured, tool.kind, &tool.percent),
        );
    }
    show("");
}

/// How much more than ours of the same kind a tool costs, from the first to the last kernel.
fn ratio(measured: &[Measured], kind: Kind, theirs: &[f64]) -> String {
    let reference = REFERENCES.iter().find(|(of, _)| *of == kind);
    let Some((_, key)) = reference else {
        return String::new();
    };
    let ratios: Vec<String> = measured
        .iter()
        .zip(theirs)
        .filter_map(|(on, theirs)| Some(format!("{:.1} x", theirs / more(on, key)?)))
        .collect();
    ratios.join(", ")
}

fn user_space(measured: &[Measured]) {
    show("twtrace's own process, per event of the same load");
    for (key, name, _) in ours(measured) {
        let cells: Vec<String> = measured
            .iter()
            .map(|on| on.costs.get(*key).map_or_else(String::new, own))
            .collect();
        row(name, &cells, "");
    }
    show("");
}

/// CPU seconds for a million events are ns per event divided by a thousand.
fn own(cost: &Cost) -> String {
    let cpu = cost.cpu_ns.unwrap_or_default() / 1e3;
    let rss = cost.rss_kib.unwrap_or_default();
    format!("{cpu:.2} s/M, {rss} KiB")
}

fn attaching(measured: &[Measured]) {
    show("from exec to attached (wall time under TCG with 2 CPUs; ns under icount with one;");
    show("median of 5)");
    let Some(first) = measured.first() else {
        return;
    };
    for name in first.attach.keys() {
        let both = |on: &Measured| {
            let (time, work) = (on.attach.get(name)?, on.attach_icount.get(name)?);
            Some(format!("{time:.2} s, {:.0} M", work * 1e3))
        };
        let cells: Vec<String> = measured
            .iter()
            .map(|on| both(on).unwrap_or_default())
            .collect();
        row(&format!("twtrace {name}"), &cells, "");
    }
    for (tool, seconds, kib) in STARTS {
        let cells = [format!("{seconds} s"), format!("RSS {kib} KiB")];
        row(tool, &cells, "");
    }
}

/// Ends per second for which the share of a core is given.
const BUSY: f64 = 20_000.0;

fn replaying(measured: &[Measured]) {
    show("CPU time on this machine per recorded connection, and of a core at 20,000 a second");
    let Some(first) = measured.first() else {
        return;
    };
    for name in first.replay.keys() {
        let cell = |on: &Measured| {
            let each = on.replay.get(name)?;
            Some(format!("{:.2} µs, {:.1} %", each * 1e6, each * BUSY * 1e2))
        };
        let cells = measured.iter().map(|on| cell(on).unwrap_or_default());
        row(
            &format!("twtrace {name} FILE"),
            &cells.collect::<Vec<_>>(),
            "",
        );
    }
    show("");
}

/// Per cent more instructions than without twtrace.
fn more(on: &Measured, key: &str) -> Option<f64> {
    let without = on.costs.get("without")?.ns as f64;
    let with = on.costs.get(key)?.ns as f64;
    Some((with / without - 1.0) * 100.0)
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{value:+.2} %"))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn row(name: &str, cells: &[String], note: &str) {
    let mut line = format!("  {name:36}");
    for cell in cells {
        line += &format!("{cell:>26}");
    }
    show(format!("{line}  {note}").trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(89_628), "89,628");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
