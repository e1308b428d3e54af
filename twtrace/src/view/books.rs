//! The closing lines for people: what ended and why, what was lost, what the kernel says.

use twtrace_common::settings::PORT_FAILURE_RATE;

use super::cell::name_or_number;
use super::line::Line;
use super::paint::{self, BAD, GOOD, Paint};
use super::units::{count, thousands};
use crate::event::Reason;
use crate::host::Names;
use crate::model::Summary;
use crate::model::books::{Books, Class, Comparison, Counter, Lost, Row};

pub(super) fn text(summary: &Summary, paint: Paint, names: &mut Names, out: &mut Line) {
    reasons(summary, paint, out);
    let Books {
        ends,
        overflows,
        refusals,
        births,
        port_failures,
        undecoded,
        kernel,
    } = &summary.books;
    write!(out, "{}", count(ends.seen, "end"));
    if ends.unasked > 0 {
        write!(out, " ({} unrelated)", thousands(ends.unasked));
    }
    if overflows.seen > 0 {
        write!(out, " · {}", count(overflows.seen, "overflow"));
    }
    if let Some(refusals) = refusals.filter(|class| class.seen > 0) {
        write!(out, " · {}", count(refusals.seen, "refusal"));
    }
    if let Some(failures) = port_failures.filter(|class| class.seen > 0) {
        write!(out, " · {}", count(failures.seen, "port failure"));
    }
    lost(&summary.books, paint, out);
    match kernel {
        None => writeln!(out, " · kernel counters not compared (a filter was set)"),
        Some(kernel) => comparison(kernel, summary.books.agrees(), paint, names, out),
    }
    if *undecoded > 0 {
        writeln!(out, "{} could not be decoded", count(*undecoded, "record"));
    }
    unbalanced("end", ends, out);
    unbalanced("overflow", overflows, out);
    if let Some(refusals) = refusals {
        limited("refusal", refusals, "--max-refusals", out);
        unbalanced("refusal", refusals, out);
    }
    if let Some(births) = births {
        unbalanced("birth", births, out);
    }
    if let Some(failures) = port_failures {
        limited(
            "port failure",
            failures,
            &thousands(PORT_FAILURE_RATE.into()),
            out,
        );
        unlooked(failures, out);
        unbalanced("port failure", failures, out);
    }
    if summary.verdict_differs > 0 {
        writeln!(
            out,
            "{}: the kernel gives another reason than twtrace found; please report this",
            count(summary.verdict_differs, "refusal")
        );
    }
    if summary.cut {
        writeln!(
            out,
            "the recording is cut off: its last events are missing, and its totals are older than the last of {} shown",
            count(summary.books.reported(), "event")
        );
    }
}

/// `18,122 expired · 402 syn-reopened`.
fn reasons(summary: &Summary, paint: Paint, out: &mut Line) {
    let mut by_count: Vec<_> = Reason::ALL.into_iter().zip(summary.ended).collect();
    by_count.retain(|&(_, count)| count > 0);
    by_count.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    for (index, (reason, count)) in by_count.iter().enumerate() {
        let before = if index > 0 { " · " } else { "" };
        out.text(before);
        paint.write(paint::of_reason(*reason), out, |out| {
            write!(out, "{} {}", thousands(*count), reason.name());
        });
    }
    if !by_count.is_empty() {
        out.byte(b'\n');
    }
}

fn lost(books: &Books, paint: Paint, out: &mut Line) {
    let Lost {
        ring,
        map,
        marks,
        missed,
    } = books.lost();
    let marks = match marks {
        0 => String::new(),
        marks => format!(", marks {}", thousands(marks)),
    };
    let total = books.lost().total();
    out.text(" · ");
    paint.write((total > 0).then_some(BAD), out, |out| {
        write!(out, "lost {}", thousands(total));
    });
    write!(
        out,
        " (ring {}, map {}{marks}, missed {})",
        thousands(ring),
        thousands(map),
        missed.map_or("unknown".to_owned(), thousands),
    );
}

fn limited(name: &str, class: &Class, rate: &str, out: &mut Line) {
    if class.limited > 0 {
        writeln!(
            out,
            "{} counted but not shown: over {rate} per second",
            count(class.limited, name)
        );
    }
}

fn unlooked(failures: &Class, out: &mut Line) {
    if let Some(missed @ 1..) = failures.lost.missed {
        writeln!(
            out,
            "{} skipped by the kernel: another one was being traced on the same CPU",
            count(missed, "call for a port")
        );
    }
}

fn unbalanced(name: &str, class: &Class, out: &mut Line) {
    if class.balanced == Some(false) {
        writeln!(
            out,
            "the counts do not add up: {} seen, {} shown or left out, {} lost in the ring",
            count(class.seen, name),
            thousands(class.reported + class.unasked + class.limited),
            thousands(class.lost.ring)
        );
    }
}

fn comparison(
    kernel: &Comparison,
    agrees: Option<bool>,
    paint: Paint,
    names: &mut Names,
    out: &mut Line,
) {
    let (style, verdict) = match agrees {
        None => (None, "kernel counters could not be compared"),
        Some(true) => (Some(GOOD), "kernel counters agree"),
        Some(false) => (Some(BAD), "kernel counters do not agree"),
    };
    out.text(" · ");
    paint.write(style, out, |out| out.text(verdict));
    if agrees.is_some() {
        let all: Vec<_> = kernel.counters().map(Counter::name).collect();
        let all = all.join(", ");
        write!(
            out,
            " ({all} in {} netns",
            thousands(kernel.namespaces as u64)
        );
        if kernel.unread > 0 {
            write!(out, ", {} not readable", thousands(kernel.unread as u64));
        }
        out.byte(b')');
    }
    out.byte(b'\n');
    let differs = |row: &&Row| row.agree == Some(false) || row.doubt.is_some();
    for row in kernel.rows.iter().filter(differs) {
        difference(row, names, out);
    }
}

/// `  netns web-7: TWRecycled 7, expected 9`.
fn difference(row: &Row, names: &mut Names, out: &mut Line) {
    if let Ok(kernel) = row.kernel {
        out.text("  netns ");
        name_or_number(names.netns(row.netns), row.netns, out);
        write!(
            out,
            ": the kernel counted {} {}, twtrace {}",
            thousands(kernel),
            row.counter.name(),
            thousands(row.expected)
        );
        if let Some(doubt) = row.doubt {
            write!(out, " ({})", doubt.name());
        }
        out.byte(b'\n');
    }
}
