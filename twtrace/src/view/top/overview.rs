//! The lines that are always there: what this is, how many, how fast, what is wrong; and the keys.

use std::net::SocketAddr;

use ratatui::text::{Line, Span};

use super::Playing;
use super::grid::rate_text;
use super::keys::Look;
use super::theme::Theme;
use crate::event::{Overflow, PortFailure};
use crate::host::{Names, WallClock};
use crate::model::dashboard::{Figures, InNetns, Pace};
use crate::model::population::Alive;
use crate::view::cell::Host;
use crate::view::cell::name_of;
use crate::view::ports::call;
use crate::view::units::{span, thousands};

/// Namespaces that are named.
const NAMED: usize = 3;

/// What the first line is about.
pub(super) struct Said<'a> {
    pub(super) figures: &'a Figures,
    pub(super) look: &'a Look,
    pub(super) playing: Option<Playing>,
    pub(super) about: &'a str,
}

pub(super) fn title(said: &Said<'_>, clock: &mut WallClock, theme: &Theme) -> Line<'static> {
    let figures = said.figures;
    let time = second(figures.at_ns, clock);
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

/// What an incident needs to know first, in lines of this width. The last of them are there only
/// if there is something to tell.
pub(super) fn facts(
    figures: &Figures,
    host: &mut Host,
    theme: &Theme,
    width: u16,
) -> Vec<Line<'static>> {
    let mut lines = flow(population(figures, theme), width);
    lines.extend(flow(namespaces(figures, &mut host.names, theme), width));
    lines.extend(flow(troubles(figures, theme), width));
    lines.extend(figures.last_failure.map(|one| failure(&one, host, theme)));
    lines.extend(figures.last_overflow.map(|one| overflow(&one, host, theme)));
    lines
}

/// Facts in as few lines as they fit in.
fn flow(facts: Vec<Span<'static>>, width: u16) -> Vec<Line<'static>> {
    const BETWEEN: &str = "  ";
    let mut lines: Vec<Line<'static>> = Vec::new();
    for fact in facts {
        match lines.last_mut() {
            Some(line) if line.width() + BETWEEN.len() + fact.width() <= width.into() => {
                line.push_span(BETWEEN);
                line.push_span(fact);
            }
            _ => lines.push(fact.into()),
        }
    }
    lines
}

fn population(figures: &Figures, theme: &Theme) -> Vec<Span<'static>> {
    let Alive {
        time_wait,
        fin_wait_2,
    } = figures.alive;
    let at_least = if figures.partial { "≥" } else { "" };
    let within = match figures.uncertain {
        0 => String::new(),
        uncertain => format!(" ±{}", thousands(uncertain)),
    };
    let figure = |text: String| Span::styled(text, theme.figure());
    // ss counts them as FIN_WAIT2, too.
    let held = match figures.held_fin_wait_2 {
        None | Some(0) => String::new(),
        Some(held) => format!(" + {} held by processes", thousands(held)),
    };
    vec![
        figure(format!(
            "TIME_WAIT {at_least}{}{within}",
            thousands(time_wait)
        )),
        figure(format!(
            "FIN_WAIT2 {at_least}{}{held}",
            thousands(fin_wait_2)
        )),
        of("births", figures.births).into(),
        of("ends", figures.ends).into(),
    ]
}

/// The fullest, and the one that is nearest to its limit.
fn namespaces(figures: &Figures, names: &mut Names, theme: &Theme) -> Vec<Span<'static>> {
    let mut name = |one: &InNetns| {
        let netns = one.population.netns;
        name_of(names.netns(netns), netns)
    };
    let limit = match figures.nearest_to_limit() {
        None => "limit not known".into(),
        Some(one) => {
            let text = format!(
                "limit {} in {}: {} % taken, {} left",
                thousands(one.population.limit.unwrap_or(0)),
                name(one),
                one.percent.unwrap_or(0),
                thousands(one.population.left().unwrap_or(0))
            );
            alarm(one.near_limit(), text, theme)
        }
    };
    let shown = figures.namespaces.iter().take(NAMED);
    let shown = shown.map(|one| {
        let alive = thousands(one.population.alive.all());
        Span::from(format!("{} {alive}", name(one)))
    });
    let shown: Vec<_> = shown.collect();
    let rest = figures.namespaces.len().saturating_sub(NAMED);
    let rest = (rest > 0).then(|| Span::from(format!("+{rest} netns")));
    std::iter::once(limit).chain(shown).chain(rest).collect()
}

fn troubles(figures: &Figures, theme: &Theme) -> Vec<Span<'static>> {
    let refused = match figures.refused_syns {
        Some(pace) => alarm(pace.total > 0, of("refused SYNs", pace), theme),
        None => "refused SYNs not seen".into(),
    };
    let stuck = figures.conflicts.stuck;
    let overflows = figures.overflows.total;
    let failures = match figures.port_failures {
        Some(failures) => alarm(
            failures > 0,
            format!("no port {}", thousands(failures)),
            theme,
        ),
        None => "port failures not seen".into(),
    };
    let lost = figures.lost.total() + figures.limited + figures.undecoded;
    vec![
        refused,
        alarm(stuck > 0, format!("stuck {}", thousands(stuck)), theme),
        alarm(
            overflows > 0,
            format!("overflows {}", thousands(overflows)),
            theme,
        ),
        failures,
        alarm(lost > 0, format!("lost {}", thousands(lost)), theme),
    ]
}

/// The last call that got no port.
fn failure(failure: &PortFailure, host: &mut Host, theme: &Theme) -> Line<'static> {
    let PortFailure {
        at_ns,
        pid,
        command,
        time_wait,
        ..
    } = failure;
    let blocked = match time_wait {
        0 => String::new(),
        ports => format!(", {} held by TIME_WAIT only", thousands(u64::from(*ports))),
    };
    let text = format!(
        "{} {} got no port: pid {pid} ({}){blocked}",
        second(*at_ns, &mut host.clock),
        call(failure),
        command.text()
    );
    alarm(true, text, theme).into()
}

/// The last connection that got no TIME_WAIT.
fn overflow(overflow: &Overflow, host: &mut Host, theme: &Theme) -> Line<'static> {
    // The limit is in the line of the namespace.
    let Overflow { flow, at_ns, .. } = overflow;
    let text = format!(
        "{} no TIME_WAIT for {} → {} in {}",
        second(*at_ns, &mut host.clock),
        SocketAddr::new(flow.laddr, flow.lport),
        SocketAddr::new(flow.raddr, flow.rport),
        name_of(host.names.netns(flow.netns), flow.netns)
    );
    alarm(true, text, theme).into()
}

/// `14:02:11`.
fn second(ns: u64, clock: &mut WallClock) -> String {
    String::from_utf8_lossy(&clock.time(ns)[..8]).into_owned()
}

/// `births 461/s (18,122)`.
fn of(name: &str, pace: Pace) -> String {
    let total = thousands(pace.total);
    match pace.per_s {
        Some(rate) => format!("{name} {}/s ({total})", rate_text(rate)),
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
