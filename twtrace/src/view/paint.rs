//! Colour in text. Nothing is told by colour alone, and nothing from outside brings its own.

use anstyle::{AnsiColor, Style};

use super::line::Line;
use crate::event::Reason;
use crate::model::Report;
use crate::model::conflicts::Outcome;

/// What heads a table.
pub const HEADING: Style = Style::new().bold();
/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub const CARE: Style = AnsiColor::Yellow.on_default();
/// Somebody is hurt, or something is missing.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Text as it is.
    pub const NONE: Self = Self { on: false };

    /// With colours, or without.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    /// A piece of text in this style.
    #[must_use]
    pub fn on(self, style: Style, text: &str) -> String {
        match self.on {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }

    /// In colour only if there are any.
    #[must_use]
    pub fn count(self, style: Style, count: usize, text: &str) -> String {
        match count {
            0 => text.to_owned(),
            _ => self.on(style, text),
        }
    }

    /// What begins a word of a line in this style.
    #[must_use]
    pub fn first(self, style: Style, word: &str, line: &str) -> String {
        match line.strip_prefix(word) {
            Some(rest) => self.on(style, word) + rest,
            None => line.to_owned(),
        }
    }

    /// What is written by `write`, in this style.
    pub(super) fn write(self, style: Option<Style>, out: &mut Line, write: impl FnOnce(&mut Line)) {
        match style.filter(|_| self.on) {
            None => write(out),
            Some(style) => {
                write!(out, "{style}");
                write(out);
                write!(out, "{style:#}");
            }
        }
    }
}

/// Of the word that says what happened.
pub(super) fn of_event(report: &Report) -> Option<Style> {
    match report {
        Report::End(life) => of_reason(life.end.reason),
        Report::Overflow(_) | Report::Refusal(_) | Report::PortFailure(_) => Some(BAD),
        Report::Reopen(_) => None,
        Report::Conflict(conflict) => match conflict.outcome {
            Outcome::Stuck => Some(BAD),
            Outcome::GaveUp | Outcome::Unknown => Some(CARE),
            Outcome::Recovered | Outcome::Reopened => None,
        },
    }
}

/// Ends that took something away, or that nobody can explain.
pub(super) fn of_reason(reason: Reason) -> Option<Style> {
    match reason {
        Reason::Reset | Reason::FinWait2Reset | Reason::Destroyed | Reason::Other => Some(CARE),
        Reason::Expired
        | Reason::FinWait2Timeout
        | Reason::SynReopened
        | Reason::ConnectReused
        | Reason::BoundReused
        | Reason::NetnsExit
        | Reason::Recycled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_text_is_as_it_is() {
        assert_eq!(Paint::NONE.on(BAD, "x"), "x");
        assert_eq!(Paint::new(true).on(CARE, "x"), "\x1b[33mx\x1b[0m");
        assert_eq!(Paint::new(true).count(BAD, 0, "0 failed"), "0 failed");
        assert_eq!(
            Paint::new(true).first(GOOD, "ok", "ok it is"),
            "\x1b[32mok\x1b[0m it is"
        );
        assert_eq!(Paint::new(true).first(GOOD, "ok", "it is"), "it is");
    }
}
