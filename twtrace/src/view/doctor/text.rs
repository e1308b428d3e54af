//! For a person in a hurry: the verdict, what to do, then what it rests on.

use std::borrow::Cow;

use anstyle::Style;

use super::effects;
use super::say::{self, Said};
use super::words::{per_time, uptime, wrap};
use crate::event::facts::{Answer, Facts};
use crate::host::Names;
use crate::model::doctor::{Diagnosis, Finding, Severity};
use crate::text::Text;
use crate::view::paint::{BAD, CARE, GOOD, HEADING, Paint};
use crate::view::units::{count, thousands};

/// Findings that are shown; `-o json` has all.
const SHOWN: usize = 12;
/// Where the effect of a setting begins.
const EFFECT: usize = 39;
/// Where what a counter counts begins.
const COUNTED: usize = 37;
/// Where an answer's reason begins.
const REASON: usize = 37;

pub(super) fn text(
    facts: &Facts,
    diagnosis: &Diagnosis,
    paint: Paint,
    names: &mut Names,
) -> String {
    let mut out = String::new();
    head(facts, diagnosis, paint, &mut out);
    findings(facts, diagnosis, paint, names, &mut out);
    settings(facts, diagnosis, paint, names, &mut out);
    counters(facts, diagnosis, paint, &mut out);
    tracing(facts, paint, &mut out);
    if !diagnosis.myths.is_empty() {
        heading("Good to know", paint, &mut out);
        for &myth in &diagnosis.myths {
            out.push_str("  ");
            wrap(&mut out, 4, say::myth(myth));
        }
    }
    out
}

fn heading(text: &str, paint: Paint, out: &mut String) {
    out.push('\n');
    out.push_str(&paint.on(HEADING, text));
    out.push('\n');
}

/// How bad it is, at a glance.
fn style(severity: Severity) -> Style {
    match severity {
        Severity::Danger => BAD,
        Severity::Warning => CARE.bold(),
        Severity::Note => HEADING,
        Severity::Ok => GOOD,
    }
}

/// `DANGER: no room for TIME_WAIT · 1 danger, 2 warnings, 3 notes`.
fn head(facts: &Facts, diagnosis: &Diagnosis, paint: Paint, out: &mut String) {
    let counted: Vec<_> = [
        (Severity::Danger, "danger"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ]
    .into_iter()
    .map(|(severity, one)| count(diagnosis.count(severity) as u64, one))
    .collect();
    let verdict = match (diagnosis.verdict(), diagnosis.findings.first()) {
        (Severity::Danger, Some(worst)) => format!("DANGER: {}", say::say(worst).subject),
        (Severity::Warning, Some(worst)) => format!("WARNING: {}", say::say(worst).subject),
        _ => "nothing wrong found at this moment".to_owned(),
    };
    let word = match diagnosis.verdict() {
        Severity::Danger => "DANGER",
        Severity::Warning => "WARNING",
        Severity::Note | Severity::Ok => "nothing wrong found",
    };
    let style = match diagnosis.verdict() {
        Severity::Note => GOOD,
        verdict => style(verdict),
    };
    let mut lines = String::new();
    wrap(
        &mut lines,
        2,
        &format!("{verdict} · {}", counted.join(", ")),
    );
    out.push_str(&paint.first(style, word, &lines));
    let namespaces = match facts.namespaces.len() {
        1 => "this network namespace".to_owned(),
        n => format!("{n} network namespaces"),
    };
    wrap(
        out,
        2,
        &format!(
            "kernel {} · up {} · {namespaces}",
            facts.kernel,
            uptime(facts.uptime_s)
        ),
    );
}

fn findings(
    facts: &Facts,
    diagnosis: &Diagnosis,
    paint: Paint,
    names: &mut Names,
    out: &mut String,
) {
    let own = facts.namespaces.first().map(|own| own.netns);
    let (well, bad): (Vec<_>, Vec<_>) = diagnosis
        .findings
        .iter()
        .partition(|finding| finding.severity == Severity::Ok);
    for finding in bad.iter().take(SHOWN) {
        let elsewhere = finding.netns.filter(|&netns| Some(netns) != own);
        let place = elsewhere.map(|netns| Place::new(netns, names));
        one(finding, place.as_ref(), paint, out);
    }
    if let Some(more) = bad.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        out.push('\n');
        wrap(
            out,
            2,
            &format!("… and {more} more: twtrace doctor -o json"),
        );
    }
    let unseen = say::unseen(diagnosis.watched.first().and_then(Option::as_ref));
    if !well.is_empty() || unseen.is_some() {
        out.push('\n');
    }
    for finding in well {
        let said = say::say(finding);
        let text = format!("{}: {}", said.subject, said.evidence);
        labelled(paint.on(style(Severity::Ok), "ok"), "ok", &text, out);
    }
    if let Some(text) = unseen {
        labelled(paint.on(CARE, "not seen"), "not seen", &text, out);
    }
}

/// Another namespace, and how to run something there.
struct Place {
    name: String,
    enter: String,
}

impl Place {
    fn new(netns: u32, names: &mut Names) -> Self {
        match names.netns(netns).map(Text::as_str) {
            Some("host") => Self {
                name: "the host's namespace".to_owned(),
                enter: "nsenter -t 1 -n ".to_owned(),
            },
            Some(name) => Self {
                name: format!("namespace {name}"),
                // It is to be pasted into a shell.
                enter: format!("ip netns exec {} ", quoted(name)),
            },
            None => Self {
                name: format!("namespace {netns}"),
                // lsns -t net names a process in it.
                enter: "nsenter -t PID -n ".to_owned(),
            },
        }
    }
}

fn quoted(name: &str) -> Cow<'_, str> {
    shlex::try_quote(name).unwrap_or_default()
}

/// A label, and beside it text that is wrapped as if the label were plain.
fn labelled(painted: String, label: &str, text: &str, out: &mut String) {
    let mut lines = format!("{label:<9}");
    wrap(&mut lines, 9, text);
    out.push_str(&painted);
    out.push_str(&lines[label.len()..]);
}

fn one(finding: &Finding, place: Option<&Place>, paint: Paint, out: &mut String) {
    let Said {
        subject,
        evidence,
        advice,
        command,
        side_effect,
    } = say::say(finding);
    out.push('\n');
    let label = match finding.severity {
        Severity::Danger => "DANGER",
        Severity::Warning => "WARNING",
        Severity::Note | Severity::Ok => "note",
    };
    let subject = match place {
        Some(place) => format!("{subject} (in {})", place.name),
        None => subject,
    };
    let painted = paint.on(style(finding.severity), label);
    labelled(painted, label, &subject, out);
    let mut part = |start: &str, text: Option<&str>| {
        if let Some(text) = text {
            out.push_str(start);
            wrap(out, 9, text);
        }
    };
    part("         ", Some(&evidence));
    part("  try    ", advice.as_deref());
    let enter = place
        .filter(|_| {
            command
                .as_deref()
                .is_some_and(|command| command.starts_with("sysctl") || command.starts_with("ss "))
        })
        .map_or("", |place| &place.enter);
    part(
        "  run    ",
        command
            .map(|command| format!("{enter}{command}"))
            .as_deref(),
    );
    part("  but    ", side_effect.as_deref());
}

fn settings(
    facts: &Facts,
    diagnosis: &Diagnosis,
    paint: Paint,
    names: &mut Names,
    out: &mut String,
) {
    let title = "Settings (net.ipv4) and what they do on this kernel";
    heading(title, paint, out);
    let mut current = facts.namespaces.first().map_or(0, |own| own.netns);
    for row in &diagnosis.sysctls {
        if row.netns != current {
            current = row.netns;
            let place = Place::new(current, names);
            out.push_str("  ");
            wrap(out, 4, &format!("other values in {}:", place.name));
        }
        let value = row.setting.as_ref().map_or_else(
            || "–".to_owned(),
            |setting| effects::value(&setting.value, &setting.unit),
        );
        let mut said = effects::effect(row.effect);
        if let Some(default) = row.setting.as_ref().and_then(effects::other_default) {
            said = format!("{said} (default {default})");
        }
        let start = format!("  {:<24} {value:>11}", row.sysctl.name());
        column(&start, EFFECT, &said, out);
    }
}

/// Text in a column; what stands before it may be longer.
fn column(start: &str, indent: usize, text: &str, out: &mut String) {
    let length = crate::view::units::width(start.as_bytes());
    out.push_str(start);
    if length + 1 > indent {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    } else {
        out.push_str(&" ".repeat(indent - length));
    }
    wrap(out, indent, text);
}

fn counters(facts: &Facts, diagnosis: &Diagnosis, paint: Paint, out: &mut String) {
    let own = facts.namespaces.first().map(|own| own.netns);
    let moved = |counter: &&crate::model::doctor::Counter| {
        Some(counter.netns) == own && counter.rate.count > 0
    };
    let moved: Vec<_> = diagnosis.counters.iter().filter(moved).collect();
    let title = "Counted by the kernel since boot, in this namespace";
    heading(title, paint, out);
    if moved.is_empty() {
        out.push_str("  nothing about TIME_WAIT yet\n");
    }
    for counter in moved {
        let start = format!(
            "  {:<21} {:>12}",
            counter.name,
            thousands(counter.rate.count)
        );
        let said = format!(
            "{} ({})",
            effects::counts(counter.counts),
            per_time(counter.rate)
        );
        column(&start, COUNTED, &said, out);
    }
}

fn tracing(facts: &Facts, paint: Paint, out: &mut String) {
    let title = "What twtrace would see here, and how (nothing was attached)";
    heading(title, paint, out);
    let tracing = &facts.tracing;
    if let Answer::No(why) | Answer::Unknown(why) = &tracing.btf {
        column("  no       type information", REASON, why, out);
    }
    let mut last = "";
    for point in &tracing.points {
        let start = format!("  {:<8} {}", word(&point.answer), point.name);
        let how = match &point.way {
            Some(way) => format!("{way} on {}", point.function),
            None => point.function.to_string(),
        };
        let mut said = how;
        if let Answer::No(why) = &point.answer {
            said = format!("{said}: {why}");
        } else if !point.refused.is_empty() {
            said = format!("{said}; {}", point.refused.join("; "));
        }
        if let (Answer::No(_), Some(lost)) = (&point.answer, &point.without) {
            said = format!("{said}. Without it, {lost}");
        }
        answered(&point.answer, &start, &said, paint, out);
        last = unknown(&point.answer).unwrap_or(last);
    }
    for feature in &tracing.features {
        let start = format!("  {:<8} {}", word(&feature.answer), feature.name);
        let said = match &feature.answer {
            Answer::No(why) => format!("{} ({why})", feature.gives),
            _ => feature.gives.to_string(),
        };
        answered(&feature.answer, &start, &said, paint, out);
        last = unknown(&feature.answer).unwrap_or(last);
    }
    if !last.is_empty() {
        out.push_str("  ");
        wrap(out, 4, &format!("unknown because of {last}"));
    }
}

/// A line that begins with an answer; only what is not possible is coloured.
fn answered(answer: &Answer, start: &str, said: &str, paint: Paint, out: &mut String) {
    let mut lines = String::new();
    column(start, REASON, said, &mut lines);
    let word = format!("  {}", word(answer));
    out.push_str(&match answer {
        Answer::Yes => lines,
        Answer::No(_) | Answer::Unknown(_) => paint.first(CARE, &word, &lines),
    });
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Yes => "yes",
        Answer::No(_) => "no",
        Answer::Unknown(_) => "unknown",
    }
}

fn unknown(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Unknown(why) => Some(why),
        _ => None,
    }
}
