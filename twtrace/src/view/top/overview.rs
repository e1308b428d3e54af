//! The lines that are always there: what this is, how many, how fast, what is wrong; and the keys.

use ratatui::text::{Line, Span};

use super::grid::rate_text;
use super::keys::Look;
use super::theme::Theme;
use super::{Playing, words};
use crate::host::{Names, WallClock};
use crate::model::dashboard::{Figures, Pace};
use crate::view::units::{count, span, thousands};

/// What the first line is about.
pub(super) struct Said<'a> {
    pub(super) figures: &'a Figures,
    pub(super) look: &'a Look,
    pub(super) playing: Option<Playing>,
    pub(super) about: &'a str,
}

pub(super) fn title(said: &Said<'_>, clock: &mut WallClock, theme: &Theme) -> Line<'static> {
    let figures = said.figures;
    let time = clock.time(figures.at_ns);
    // Whole seconds: the figures are not newer than that.
    let time = String::from_utf8_lossy(&time[..8]).into_owned();
    let since = figures.at_ns.saturating_sub(figures.started_ns);
    let mut text = String::from(" twtrace top");
    if let Some(Playing { speed, over }) = said.playing {
        text += &if over {
            " · [END OF RECORDING]".to_owned()
        } else {
            format!(" · [RECORDING ×{speed}]")
        };
    }
    if said.look.paused() {
        text += " · [PAUSED]";
    }
    // What may be cut comes last.
    text += &format!(" · {time} · {} · {}", span(since), said.about);
    Line::from(text).style(theme.frame())
}

pub(super) fn facts(figures: &Figures, names: &mut Names, theme: &Theme) -> Vec<Line<'static>> {
    let _ = names;
    vec![rates(figures, theme), troubles(figures, theme)]
}

fn rates(figures: &Figures, theme: &Theme) -> Line<'static> {
    let figure = |name: &str, pace: Pace| Span::styled(of(name, pace), theme.figure());
    words([
        figure("births", figures.births),
        figure("promotions", figures.promotions),
        figure("ends", figures.ends),
    ])
}

fn troubles(figures: &Figures, theme: &Theme) -> Line<'static> {
    let refused = match figures.refused_syns {
        Some(pace) => alarm(pace.total > 0, of("refused SYNs", pace), theme),
        None => "refused SYNs are not seen".into(),
    };
    let stuck = figures.conflicts.stuck;
    let overflows = figures.overflows;
    let lost = figures.lost.total() + figures.limited + figures.undecoded;
    words([
        refused,
        alarm(stuck > 0, count(stuck, "client") + " stuck", theme),
        alarm(overflows.total > 0, of("overflows", overflows), theme),
        alarm(lost > 0, format!("lost {}", thousands(lost)), theme),
    ])
}

/// `births 18,122 (461/s)`.
fn of(name: &str, pace: Pace) -> String {
    let total = thousands(pace.total);
    match pace.per_s {
        Some(rate) => format!("{name} {total} ({}/s)", rate_text(rate)),
        None => format!("{name} {total}"),
    }
}

fn alarm(is: bool, text: String, theme: &Theme) -> Span<'static> {
    if is {
        Span::styled(format!("!! {text}"), theme.alarm())
    } else {
        text.into()
    }
}

/// The keys, or the filter; without keys nothing.
pub(super) fn footer(look: &Look, replay: bool, theme: &Theme) -> Line<'static> {
    if !look.has_keys() {
        return Line::default();
    }
    let text = match look.filter() {
        (filter, true) => format!(" only rows with: {filter}▏"),
        (filter, false) => {
            let speed = if replay { "  +/- speed" } else { "" };
            let only = if filter.is_empty() {
                String::new()
            } else {
                format!("  [ONLY \"{filter}\"]")
            };
            format!(" q quit  ? help  p pause  tab panel  z zoom  s sort  / filter{speed}{only}")
        }
    };
    Line::from(text).style(theme.frame())
}
