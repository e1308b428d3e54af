//! Words and numbers as `doctor` writes them, and lines of 80 columns.

use crate::model::doctor::Rate;
use crate::text::Text;
use crate::view::units::{thousands, width};

/// What a line may have.
pub(super) const COLUMNS: usize = 80;

/// `95 %`; never rounded up to 100.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", (share * 100.0).floor())
}

/// `3/min`, rounded; `under 1/h`.
pub(super) fn per_time(rate: Rate) -> String {
    let whole = |value: f64| thousands(value.round() as u64);
    match rate.per_hour {
        per_hour if per_hour >= 3600.0 => format!("{}/s", whole(per_hour / 3600.0)),
        per_hour if per_hour >= 60.0 => format!("{}/min", whole(per_hour / 60.0)),
        per_hour if per_hour >= 1.0 => format!("{}/h", whole(per_hour)),
        _ => "under 1/h".to_owned(),
    }
}

/// `3 d 4 h`, `2 h 3 min`, `9 min`, `40 s`.
pub(super) fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{} d {hours} h", thousands(days)),
    }
}

/// `1.2 s`.
pub(super) fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(words: &[Text]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => one.to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Adds words after what the last line has already, broken so that no line is longer than
/// [`COLUMNS`] where words allow, and goes on at `indent`.
pub(super) fn wrap(out: &mut String, indent: usize, text: &str) {
    let last = out.rsplit('\n').next().unwrap_or_default();
    let mut column = width(last.as_bytes());
    let mut fresh = true;
    for word in text.split(' ') {
        let length = width(word.as_bytes());
        if !fresh && column + 1 + length > COLUMNS {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        fresh = false;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_indented() {
        let mut out = "  try   ".to_owned();
        wrap(&mut out, 8, &"four ".repeat(30));
        let widths = out.lines().map(|line| width(line.as_bytes()));
        assert!(widths.max().unwrap() <= COLUMNS, "{out}");
        assert!(out.lines().skip(1).all(|line| line.starts_with("        ")));
        assert_eq!(out.matches("four").count(), 30);
    }

    #[test]
    fn rates_are_in_the_unit_that_fits() {
        let rate = |per_hour| per_time(Rate { count: 1, per_hour });
        let all = [7200.0, 120.0, 5.4, 0.2].map(rate);
        let expected = ["2/s", "2/min", "5/h", "under 1/h"];
        assert_eq!(all, expected);
    }

    #[test]
    fn spans_lists_and_shares_are_short() {
        let spans = [40, 540, 7380, 273_600].map(uptime);
        assert_eq!(spans, ["40 s", "9 min", "2 h 3 min", "3 d 4 h"]);
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(percent(0.999), "99 %");
    }
}
