//! docs/output.md, made from the table of columns and the fields listed here.

use std::fmt::Write;

use twtrace_common::Reason;

use super::columns::{COLUMNS, Of, Shown};
use super::json::VERSION;

/// Key, unit and meaning.
pub type Field = (&'static str, &'static str, &'static str);

/// The last JSON object of `trace` and `report`.
pub const SUMMARY: [Field; 22] = [
    ("v", "", "version of the schema"),
    ("event", "", "`summary`"),
    ("kernel", "", "release of the kernel, as `uname -r`"),
    ("duration_ms", "ms", "from the start to the last totals"),
    ("seen", "", "ends counted in the kernel"),
    ("reported", "", "ends shown"),
    (
        "lost",
        "",
        "`ring`: ends that did not fit the ring; `map`: births that found no room, whose ends are shown without their times; `missed`: runs of our programs that the kernel skipped, null if it does not tell",
    ),
    ("totals", "", "ends counted in the kernel, by reason"),
    (
        "counters",
        "",
        "the kernel's own counters beside ours, an object per namespace and counter: `netns`, `name`, `kernel` (how far it moved; null if that is not known), `expected`, `agree` (null if it proves nothing), `why` (there is no kernel value, or it proves nothing). Those of births and ends in every namespace where one moved, those of refusals where they moved themselves; empty if a filter was set",
    ),
    (
        "agree",
        "",
        "false if any counter does not agree, true if none disagrees, null if nothing could be compared",
    ),
    (
        "complete",
        "",
        "nothing was lost or left out by a rate limit, and for each class `seen = reported + unasked + limited + lost.ring`; else the exit code is 3",
    ),
    (
        "overflows",
        "",
        "`seen`, `reported` and `lost` (`ring` only) of overflows",
    ),
    (
        "refusals",
        "",
        "`seen`, `reported`, `limited` (beyond the rate at which they are reported, only counted) and `lost` (`ring` only) of refusals; `syns`: SYNs among them that a mini-socket refused; `classes`: by what refused them; `verdict_differs`: the kernel's drop reason says another rule than its test repeated, which is a mistake of ours; null if they were not traced",
    ),
    (
        "unasked",
        "",
        "ends counted but not reported because the command has no use for them",
    ),
    (
        "births",
        "",
        "mini-sockets created, by their first substate",
    ),
    ("promoted", "", "changes from FIN_WAIT2 to TIME_WAIT"),
    (
        "rearmed",
        "",
        "timer restarts in TIME_WAIT; null if they were not traced",
    ),
    ("untracked", "", "ends whose birth was not seen"),
    ("filtered", "", "births and ends that the filters left out"),
    ("undecoded", "", "records that could not be decoded"),
    (
        "cut",
        "",
        "the recording ends before the trace did: its last events and totals are missing",
    ),
    ("attach", "", "`fentry`, `kprobe` or `mixed`"),
];

/// One JSON object of `hist`; CSV has the same fields but `v`, `event` and `buckets`.
pub const HISTOGRAM: [Field; 13] = [
    ("v", "", "version of the schema"),
    ("event", "", "`histogram`"),
    (
        "scope",
        "",
        "`interval`: since the last figures; `total`: since the start",
    ),
    ("from_ns", "ns", "begin of that time, CLOCK_MONOTONIC"),
    ("to_ns", "ns", "its end"),
    ("reason", "", "why the mini-sockets ended"),
    (
        "clock",
        "",
        "`time-wait` or `fin-wait-2`: the substate whose time is counted",
    ),
    ("n", "", "number of values"),
    ("p50_ms", "ms", "median"),
    ("p90_ms", "ms", "90th percentile"),
    ("p99_ms", "ms", "99th percentile"),
    ("max_ms", "ms", "maximum"),
    (
        "buckets",
        "ns",
        "the histogram itself: lowest value and count of each bucket that is not empty",
    ),
];

/// The whole of docs/output.md.
#[must_use]
pub fn output_md() -> String {
    let mut page = format!(
        "# Output\n\n\
         This page is made from the tables in `twtrace/src/view/`; a test compares the two.\n\n\
         Data goes to stdout, talk to stderr. `-o json` prints one object a line; each has the\n\
         version of this schema in `v`, now {VERSION}. A field is only ever added; one that changes its\n\
         meaning raises the version. `null` (in CSV an empty field, in text `–`) means unknown,\n\
         never zero. Times `_ns` are nanoseconds of CLOCK_MONOTONIC, spans `_ms` are milliseconds.\n\n\
         ## Fields of `trace` and `report`\n\n\
         JSON has each event's own fields, CSV those of both. `--fields` chooses others and their\n\
         order, in every output.\n\n\
         | field | unit | events | shown in | meaning |\n|---|---|---|---|---|\n"
    );
    for column in COLUMNS {
        let of = match column.of {
            Of::ALL => "all".to_owned(),
            some => some.names().collect::<Vec<_>>().join(", "),
        };
        let shown = match column.shown {
            Shown::Data => "JSON, CSV",
            Shown::Text => "text",
            Shown::Everywhere => "all",
        };
        let (key, unit, doc) = (column.key, column.unit, column.doc);
        line(&mut page, &[&format!("`{key}`"), unit, &of, shown, doc]);
    }
    page.push_str("\nEnd reasons: ");
    let reasons = Reason::ALL.map(|reason| format!("`{}`", reason.name()));
    page.push_str(&reasons.join(", "));
    page.push_str(
        ".\n\n## The summary\n\n\
         The last line. In text it reads `2,904 ends · lost 0 (ring 0, map 0, missed 0) · kernel\n\
         counters agree (…)`; a counter that does not agree has a line of its own.\n\n",
    );
    fields(&mut page, &SUMMARY);
    page.push_str(
        "\nWhat the kernel counts when: `TW+TWKilled` moves at each birth on kernels since 6.1, and\n\
         when a timer fires before; `TWRecycled` at each reuse by a local connect();\n\
         `TCPTimeWaitOverflow` at each overflow.\n\n\
         ## Histograms of `hist`\n\n\
         The kernel side counts in the buckets of an HdrHistogram with two significant digits: 16 µs\n\
         wide up to 4 ms, at most 1/128 of the value above. Percentiles and maximum are the middle of\n\
         their bucket, within 1/256 of the truth. Only values whose begin is known are counted.\n\
         `--hgrm` writes HdrHistogram's own percentile format, values in ms, which shows the upper\n\
         edge of buckets.\n\n",
    );
    fields(&mut page, &HISTOGRAM);
    page
}

fn fields(page: &mut String, fields: &[Field]) {
    page.push_str("| field | unit | meaning |\n|---|---|---|\n");
    for (key, unit, doc) in fields {
        line(page, &[&format!("`{key}`"), unit, doc]);
    }
}

fn line(page: &mut String, cells: &[&str]) {
    // A String takes everything.
    let written = writeln!(page, "| {} |", cells.join(" | "));
    debug_assert!(written.is_ok());
}
