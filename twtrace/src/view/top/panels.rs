//! The panels: what rows each has.

use super::grid::{Cell, Grid, Row, pace};
use crate::host::Names;
use crate::model::conflicts::Outcome;
use crate::model::dashboard::{Ended, Figures, InNetns, Ranked, Refusing};
use crate::model::ports::{self, Reuse, Why};
use crate::model::stats::{Bar, Percentiles};
use crate::view::cell::Host;
use crate::view::cell::name_of;
use crate::view::groups::whose;
use crate::view::histogram::edge;
use crate::view::line::Line;
use crate::view::ports::route;
use crate::view::units::thousands;

/// A part of the screen that keys can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    Ends,
    Lifetimes,
    Owners,
    Destinations,
    Ports,
    Conflicts,
    Namespaces,
}

/// Columns of owners and destinations.
const RANKED: &[&str] = &[
    "ALIVE",
    "ENDS",
    "/s",
    "SHARE",
    "REFUSED",
    "OVERFLOWS",
    "p50",
    "p99",
];

impl Panel {
    /// In the order in which the tab key goes through them.
    pub const ALL: [Self; 7] = [
        Self::Ends,
        Self::Lifetimes,
        Self::Owners,
        Self::Destinations,
        Self::Ports,
        Self::Conflicts,
        Self::Namespaces,
    ];

    /// The heads of its columns but the first, those that matter most before the others.
    pub(super) fn heads(self) -> &'static [&'static str] {
        match self {
            Self::Ends => &["TOTAL", "/s", "p50", "p99", "max", "FW2 p50", "FW2 max"],
            Self::Lifetimes => &["N"],
            Self::Owners | Self::Destinations => RANKED,
            Self::Ports => &[
                "IN USE",
                "OF",
                "%",
                "FULL IN",
                "FAILED",
                "NETNS",
                "NEW/s",
                "TIME_WAIT",
                "TW_REUSE",
            ],
            Self::Conflicts => &[
                "SYNS", "STUCK", "LET IN", "GAVE UP", "p50", "max", "NETNS", "ACCEPTED",
            ],
            Self::Namespaces => &[
                "TIME_WAIT",
                "FIN_WAIT2",
                "LIMIT",
                "%",
                "BIRTHS/s",
                "ENDS/s",
                "REFUSED",
                "OVERFLOWS",
            ],
        }
    }

    fn title(self, figures: &Figures) -> String {
        match self {
            Self::Ends => "ENDS BY REASON".into(),
            Self::Lifetimes => "TIME IN TIME_WAIT".into(),
            Self::Owners => format!("OWNERS BY {}", figures.owners.by.name()),
            Self::Destinations => format!("ENDS BY {}", figures.destinations.by.name()),
            Self::Ports => "LOCAL PORTS".into(),
            Self::Conflicts => "REFUSED PEERS".into(),
            Self::Namespaces => "NAMESPACES".into(),
        }
    }

    /// Room for the longest reason of an end, two IPv4 addresses, one of IPv6.
    fn least(self) -> usize {
        match self {
            Self::Ends | Self::Lifetimes | Self::Owners | Self::Destinations => 18,
            Self::Ports => 40,
            Self::Conflicts | Self::Namespaces => 28,
        }
    }

    fn empty(self) -> &'static str {
        match self {
            Self::Ends | Self::Owners | Self::Destinations => "nothing has ended yet",
            Self::Lifetimes => "no TIME_WAIT has ended yet",
            Self::Ports => "no port of the ephemeral range is in use",
            Self::Conflicts => "no SYN refused by TIME_WAIT or FIN_WAIT2",
            Self::Namespaces => "no TIME_WAIT or FIN_WAIT2 sockets",
        }
    }
}

/// The rows of a panel.
pub(super) fn grid(panel: Panel, figures: &Figures, host: &mut Host) -> Grid {
    let names = &mut host.names;
    let rows = match panel {
        Panel::Ends => figures.reasons.iter().map(ended).collect(),
        Panel::Lifetimes => lifetimes(&figures.bars),
        Panel::Owners => ranked(&figures.owners.rows, host),
        Panel::Destinations => ranked(&figures.destinations.rows, host),
        Panel::Ports => each(&figures.ports, names, destination),
        Panel::Conflicts => each(&figures.peers, names, refusing),
        Panel::Namespaces => each(&figures.namespaces, names, namespace),
    };
    Grid {
        title: panel.title(figures),
        least: panel.least(),
        heads: panel.heads(),
        rows,
        filtered: !matches!(panel, Panel::Ends | Panel::Lifetimes),
        empty: panel.empty(),
    }
}

fn each<T>(all: &[T], names: &mut Names, row: fn(&T, &mut Names) -> Row) -> Vec<Row> {
    all.iter().map(|one| row(one, names)).collect()
}

fn time(times: Option<Percentiles>, get: fn(Percentiles) -> u64) -> Cell {
    Cell::Time(times.map(get))
}

fn ended(one: &Ended) -> Row {
    let [total, per_s] = pace(one.ends);
    plain(vec![
        Cell::Name(one.reason.name().into()),
        total,
        per_s,
        time(one.time_wait, |times| times.p50_ns),
        time(one.time_wait, |times| times.p99_ns),
        time(one.time_wait, |times| times.max_ns),
        time(one.fin_wait_2, |times| times.p50_ns),
        time(one.fin_wait_2, |times| times.max_ns),
    ])
}

fn lifetimes(bars: &[Bar]) -> Vec<Row> {
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    let row = |one: &Bar| {
        let count = one.count;
        let name = format!("{:>6} – {:<6}", edge(one.from_ns), edge(one.to_ns));
        plain(vec![Cell::Bar { name, count, most }, Cell::Count(count)])
    };
    // Log time: a gap is seen from the figures, and room is short.
    bars.iter().filter(|bar| bar.count > 0).map(row).collect()
}

fn ranked(rows: &[Ranked], host: &mut Host) -> Vec<Row> {
    let mut row = |one: &Ranked| {
        let mut name = Line::new();
        whose(one.whose, host, &mut name);
        let [total, per_s] = pace(one.ends);
        plain(vec![
            Cell::Name(String::from_utf8_lossy(name.as_bytes()).into_owned()),
            Cell::Maybe(one.alive),
            total,
            per_s,
            Cell::Thousandths(one.share),
            Cell::Maybe(one.refusals),
            Cell::Count(one.overflows),
            time(one.time_wait, |times| times.p50_ns),
            time(one.time_wait, |times| times.p99_ns),
        ])
    };
    rows.iter().map(&mut row).collect()
}

fn destination(one: &ports::Row, names: &mut Names) -> Row {
    let netns = one.key.netns;
    Row {
        cells: vec![
            Cell::Name(route(one)),
            Cell::Count(one.in_use().into()),
            Cell::Count(one.candidates.into()),
            Cell::Count(one.percent()),
            Cell::Time(one.full_in_ns),
            Cell::Count(one.failures),
            Cell::Word(name_of(names.netns(netns), netns)),
            Cell::Rate(Some(one.arrivals)),
            Cell::Count(one.time_wait.into()),
            Cell::Word(reuse(one.reuse)),
        ],
        alarm: one.failures > 0 || one.under_pressure(),
    }
}

fn reuse(reuse: Reuse) -> String {
    match reuse {
        Reuse::On { .. } => "on".into(),
        Reuse::Would { now, .. } => format!("{now}: 1 would help"),
        Reuse::NoTimestamps => "no timestamps".into(),
        Reuse::No(Why::PortNamed) => "no: port named".into(),
        Reuse::No(Why::Bind) => "no: bind()".into(),
        Reuse::No(Why::Live) => "no: live".into(),
        Reuse::No(Why::FinWait2) => "no: FIN_WAIT2".into(),
        Reuse::Unknown => "–".into(),
    }
}

fn refusing(one: &Refusing, names: &mut Names) -> Row {
    let outcome = |outcome: Outcome| one.counts.outcomes[outcome as usize];
    let let_in = outcome(Outcome::Recovered) + outcome(Outcome::Reopened);
    let netns = one.peer.netns;
    Row {
        cells: vec![
            Cell::Name(one.peer.raddr.to_string()),
            Cell::Count(one.counts.refused),
            Cell::Count(one.counts.stuck),
            Cell::Count(let_in),
            Cell::Count(outcome(Outcome::GaveUp)),
            time(one.delays, |delays| delays.p50_ns),
            time(one.delays, |delays| delays.max_ns),
            Cell::Word(name_of(names.netns(netns), netns)),
            Cell::Count(one.counts.accepted),
        ],
        alarm: one.counts.stuck > 0,
    }
}

fn namespace(one: &InNetns, names: &mut Names) -> Row {
    let population = &one.population;
    let netns = population.netns;
    let limit = population.limit.map_or("–".into(), thousands);
    Row {
        cells: vec![
            Cell::Name(name_of(names.netns(netns), netns)),
            Cell::Count(population.alive.time_wait),
            Cell::Count(population.alive.fin_wait_2),
            Cell::Word(limit),
            Cell::Maybe(one.percent),
            Cell::Rate(one.births.per_s),
            Cell::Rate(one.ends.per_s),
            Cell::Count(one.refused_syns.total),
            Cell::Count(population.overflows),
        ],
        alarm: population.overflows > 0 || one.near_limit(),
    }
}

fn plain(cells: Vec<Cell>) -> Row {
    Row {
        cells,
        alarm: false,
    }
}
