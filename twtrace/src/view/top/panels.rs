//! The panels: what rows each has, and where it stands.

use ratatui::layout::{Constraint, Layout, Rect};

use super::grid::{Cell, Grid, Row, pace};
use crate::host::Names;
use crate::model::conflicts::Outcome;
use crate::model::dashboard::{Ended, Figures, InNetns, Refusing};
use crate::view::histogram::{bar, edge};
use crate::view::text::name_of;

/// A part of the screen that keys can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    Ends,
    Lifetimes,
    Namespaces,
    Conflicts,
}

impl Panel {
    /// In the order in which the tab key goes through them.
    pub const ALL: [Self; 4] = [
        Self::Ends,
        Self::Lifetimes,
        Self::Namespaces,
        Self::Conflicts,
    ];

    /// How many columns its rows can be sorted by.
    pub(super) fn columns(self) -> usize {
        self.heads().len()
    }

    fn heads(self) -> &'static [&'static str] {
        match self {
            Self::Ends => &[
                "ENDS BY REASON",
                "TOTAL",
                "/s",
                "p50",
                "p99",
                "max",
                "FIN_WAIT2 p50",
                "max",
            ],
            Self::Lifetimes => &["TIME IN TIME_WAIT", "N"],
            Self::Namespaces => &[
                "NETNS",
                "BIRTHS",
                "/s",
                "ENDS",
                "/s",
                "REFUSED",
                "OVERFLOWS",
            ],
            Self::Conflicts => &[
                "REFUSED PEERS",
                "SYNS",
                "STUCK",
                "REOPENED",
                "RECOVERED",
                "NETNS",
                "DELAY p50",
                "max",
            ],
        }
    }

    fn empty(self) -> &'static str {
        match self {
            Self::Ends => "nothing has ended yet",
            Self::Lifetimes => "no TIME_WAIT has ended yet",
            Self::Namespaces => "nothing has happened yet",
            Self::Conflicts => "no SYN was refused",
        }
    }
}

/// Where each panel stands.
pub(super) fn places(figures: &Figures, area: Rect) -> Vec<(Panel, Rect)> {
    let spare = Layout::vertical([
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(2),
    ])
    .spacing(1);
    let [first, second, third] = spare.areas(area);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2])
        .spacing(2)
        .areas(first);
    let _ = figures;
    vec![
        (Panel::Ends, left),
        (Panel::Lifetimes, right),
        (Panel::Namespaces, second),
        (Panel::Conflicts, third),
    ]
}

/// The rows of a panel.
pub(super) fn grid(panel: Panel, figures: &Figures, names: &mut Names) -> Grid {
    let rows = match panel {
        Panel::Ends => figures.reasons.iter().map(ended).collect(),
        Panel::Lifetimes => lifetimes(figures),
        Panel::Namespaces => each(&figures.namespaces, names, namespace),
        Panel::Conflicts => each(&figures.peers, names, refusing),
    };
    Grid {
        heads: panel.heads().to_vec(),
        rows,
        empty: panel.empty(),
    }
}

fn each<T>(all: &[T], names: &mut Names, row: fn(&T, &mut Names) -> Row) -> Vec<Row> {
    all.iter().map(|one| row(one, names)).collect()
}

fn ended(one: &Ended) -> Row {
    let time_wait = |get: fn(&crate::model::stats::Percentiles) -> u64| {
        Cell::Time(one.time_wait.as_ref().map(get))
    };
    let [total, per_s] = pace(one.ends);
    plain(vec![
        Cell::Name(one.reason.name().into()),
        total,
        per_s,
        time_wait(|times| times.p50_ns),
        time_wait(|times| times.p99_ns),
        time_wait(|times| times.max_ns),
        Cell::Time(one.fin_wait_2.map(|times| times.p50_ns)),
        Cell::Time(one.fin_wait_2.map(|times| times.max_ns)),
    ])
}

fn lifetimes(figures: &Figures) -> Vec<Row> {
    let most = figures.bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    let row = |one: &crate::model::stats::Bar| {
        let span = format!("{:>6} – {:<6}", edge(one.from_ns), edge(one.to_ns));
        plain(vec![
            Cell::Name(format!("{span} {}", bar(one.count, most))),
            Cell::Count(one.count),
        ])
    };
    figures.bars.iter().map(row).collect()
}

fn namespace(one: &InNetns, names: &mut Names) -> Row {
    let [births, births_per_s] = pace(one.births);
    let [ends, ends_per_s] = pace(one.ends);
    Row {
        cells: vec![
            Cell::Name(name_of(names.netns(one.netns), one.netns)),
            births,
            births_per_s,
            ends,
            ends_per_s,
            Cell::Count(one.refused_syns.total),
            Cell::Count(one.overflows.total),
        ],
        alarm: one.overflows.total > 0,
    }
}

fn refusing(one: &Refusing, names: &mut Names) -> Row {
    let outcome = |outcome: Outcome| Cell::Count(one.counts.outcomes[outcome as usize]);
    Row {
        cells: vec![
            Cell::Name(one.peer.raddr.to_string()),
            Cell::Count(one.counts.refused),
            Cell::Count(one.counts.stuck),
            outcome(Outcome::Reopened),
            outcome(Outcome::Recovered),
            Cell::Word(name_of(names.netns(one.peer.netns), one.peer.netns)),
            Cell::Time(one.delays.map(|delays| delays.p50_ns)),
            Cell::Time(one.delays.map(|delays| delays.max_ns)),
        ],
        alarm: one.counts.stuck > 0,
    }
}

fn plain(cells: Vec<Cell>) -> Row {
    Row {
        cells,
        alarm: false,
    }
}
