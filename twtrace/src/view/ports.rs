//! The use of ports and the population: blocks of a table for people, an object a row for
//! programs.

mod failure;

use std::net::SocketAddr;

use serde::Serialize;

pub(super) use self::failure::{call, failure};
use super::cell::Host;
use super::cell::name_or_number;
use super::cell::row as cells;
use super::json::{self, ms};
use super::line::Line;
use super::paint::{BAD, CARE, HEADING, Paint};
use super::units::{self, count, thousands};
use crate::event::found::{Listed, Lister};
use crate::model::population::{self, Alive};
use crate::model::ports::{Holder, Reuse, Row, Why};
use crate::text::Text;

/// Share of the limit from which on it is shown, in percent.
const NEAR_LIMIT: u64 = 50;

/// What a block of rows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The present state.
    Interval,
    /// Destinations that have come under pressure.
    Warning,
    /// At its fullest, over the whole trace.
    Total,
}

impl When {
    fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Warning => "warning",
            Self::Total => "total",
        }
    }
}

/// One look at all ports.
#[derive(Clone, Debug)]
pub struct Block {
    /// CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    pub when: When,
    pub rows: Vec<Row>,
    /// Destinations that are not among the rows.
    pub more: usize,
    pub population: Vec<population::Row>,
    pub alive: Alive,
    /// By how many port counts may be off in all, because of what the ring lost.
    pub uncertain: u64,
    /// Mini-sockets from before the trace are included.
    pub listed: bool,
}

const TITLES: [&str; 7] = [
    "SOURCE → DESTINATION",
    "NETNS",
    "IN USE / PORTS",
    "TIME_WAIT",
    "ARRIVALS",
    "FULL IN",
    "REUSE CAN HELP",
];

pub(super) fn text(block: &Block, paint: Paint, host: &mut Host, out: &mut Line) {
    population(block, paint, host, out);
    if block.rows.is_empty() {
        out.text("no ephemeral port is in use\n\n");
        return;
    }
    let [route, netns, used, time_wait, arrivals, full, reuse] = TITLES;
    let head = format!(
        "{route:<41} {netns:<10} {used:>17} {time_wait:>9} {arrivals:>9} {full:>8}  {reuse}"
    );
    writeln!(out, "{}", paint.on(HEADING, &head));
    for row in &block.rows {
        line(row, block.when, paint, host, out);
    }
    if block.more > 0 {
        let plural = if block.more == 1 { "" } else { "s" };
        writeln!(
            out,
            "{} more destination{plural}",
            thousands(block.more as u64)
        );
    }
    if block.uncertain > 0 {
        writeln!(
            out,
            "port counts may be off by up to {}: that many births and ends were lost",
            thousands(block.uncertain)
        );
    }
    out.byte(b'\n');
}

/// `14:07:31.000  18,214 TIME_WAIT and 37 FIN_WAIT2 in 3 netns`, and what is near its limit.
fn population(block: &Block, paint: Paint, host: &mut Host, out: &mut Line) {
    out.slice(&host.clock.time(block.at_ns));
    let Alive {
        time_wait,
        fin_wait_2,
    } = block.alive;
    let netns = block.population.iter().filter(|row| row.alive.all() > 0);
    write!(
        out,
        "  {} TIME_WAIT and {} FIN_WAIT2 in {} netns",
        thousands(time_wait),
        thousands(fin_wait_2),
        netns.count()
    );
    let uncertain: u64 = block.population.iter().map(|row| row.uncertain).sum();
    if uncertain > 0 {
        write!(out, ", may be off by up to {}", thousands(uncertain));
    }
    let over = block.when == When::Total;
    if !block.listed {
        out.text(", earlier ones not counted");
        out.text(if over { "" } else { " yet" });
    }
    if over {
        out.text("; each destination at its fullest:");
    }
    out.byte(b'\n');
    for row in &block.population {
        limit(row, paint, host, out);
    }
}

/// `web-7: 251,000 of 262,144 (tcp_max_tw_buckets), 11,144 left · 12 overflows, last of www-data`.
fn limit(row: &population::Row, paint: Paint, host: &mut Host, out: &mut Line) {
    let near = row
        .limit
        .is_some_and(|limit| row.alive.all() * 100 >= limit * NEAR_LIMIT);
    if !near && row.overflows == 0 {
        return;
    }
    out.text("  ");
    name_or_number(host.names.netns(row.netns), row.netns, out);
    write!(out, ": {}", thousands(row.alive.all()));
    if let (Some(limit), Some(left)) = (row.limit, row.left()) {
        write!(
            out,
            " of {} (tcp_max_tw_buckets), {} left",
            thousands(limit),
            thousands(left)
        );
    }
    if row.overflows > 0 {
        let overflows = count(row.overflows, "overflow");
        write!(out, " · {}", paint.on(BAD, &overflows));
    }
    if let Some(last) = &row.last_overflow {
        let flow = &last.flow;
        write!(
            out,
            ", the last {}:{} → {}:{}",
            flow.laddr, flow.lport, flow.raddr, flow.rport
        );
        if let Some(uid) = flow.uid {
            out.text(" of ");
            name_or_number(host.names.user(uid), uid, out);
        }
    }
    out.byte(b'\n');
}

fn line(row: &Row, when: When, paint: Paint, host: &mut Host, out: &mut Line) {
    let mut netns = Line::new();
    name_or_number(host.names.netns(row.key.netns), row.key.netns, &mut netns);
    let used = if when == When::Total {
        row.peak
    } else {
        row.in_use()
    };
    let used = format!(
        "{} / {}",
        thousands(used.into()),
        thousands(row.candidates.into())
    );
    let full = row.full_in_ns.map_or("–".to_owned(), left);
    write!(
        out,
        "{:<41} {:<10} {used:>17} {:>9} {:>7}/s {full:>8}  ",
        route(row),
        String::from_utf8_lossy(netns.as_bytes()),
        thousands(row.time_wait.into()),
        thousands(row.arrivals.round() as u64),
    );
    reuse(row, out);
    if row.failures > 0 {
        let failed = format!("{} failed", thousands(row.failures));
        write!(out, "; {}", paint.on(BAD, &failed));
    }
    out.byte(b'\n');
}

/// `10.0.0.5 → 10.0.0.30:5432`, `10.0.0.5 → any (bind)`, or `0.0.0.0:80 → –` where a port was named.
pub(super) fn route(row: &Row) -> String {
    let key = &row.key;
    let local = match key.lport {
        0 => key.laddr.to_string(),
        port => SocketAddr::new(key.laddr, port).to_string(),
    };
    match (key.rport, key.lport) {
        (0, 0) => format!("{local} → any (bind)"),
        (0, _) => format!("{local} → –"),
        (port, _) => format!("{local} → {}", SocketAddr::new(key.raddr, port)),
    }
}

/// Whole seconds, since no forecast is more precise; long times in minutes or hours.
fn left(ns: u64) -> String {
    match ns / 1_000_000_000 {
        seconds @ 0..=999 => format!("{seconds} s"),
        seconds @ 1_000..=59_999 => format!("{} min", seconds / 60),
        seconds => format!("{} h", thousands(seconds / 3_600)),
    }
}

fn reuse(row: &Row, out: &mut Line) {
    match row.reuse {
        Reuse::No(why) => no(why, row, out),
        Reuse::On { delay_ms } => {
            out.text("on: a TIME_WAIT blocks its port for ");
            after(delay_ms, out);
        }
        Reuse::Would { now: 2, delay_ms } => {
            out.text("yes: timestamps on, tcp_tw_reuse=2 is for loopback; 1 frees a port after ");
            after(delay_ms, out);
        }
        Reuse::Would { now, delay_ms } => {
            write!(
                out,
                "yes: timestamps on, tcp_tw_reuse={now}; 1 frees a port after "
            );
            after(delay_ms, out);
        }
        Reuse::NoTimestamps => out.text("no: tcp_timestamps=0"),
        Reuse::Unknown => out.text("–"),
    }
}

/// Why tcp_tw_reuse has no part in it, and what has.
fn no(why: Why, row: &Row, out: &mut Line) {
    match why {
        Why::PortNamed => {
            out.text("no: the caller names the port");
            let holder = row.holders.map(|holders| holders.holder());
            if let Some(holder) = holder.filter(|one| *one != Holder::Unknown(0)) {
                write!(out, "; held by {}", failure::who(holder));
            }
        }
        Why::Bind if row.key.is_source() => out.text(
            "no: bind() takes a port for all destinations; IP_BIND_ADDRESS_NO_PORT leaves it to connect()",
        ),
        Why::Bind => write!(out, "no: bind() takes the ports, see {} → any", row.key.laddr),
        Why::Live => out.text("no: live connections hold most"),
        Why::FinWait2 => out.text("no: FIN_WAIT2 holds most"),
    }
}

fn after(delay_ms: Option<u32>, out: &mut Line) {
    match delay_ms {
        Some(ms) => write!(out, "{}", units::span(u64::from(ms) * 1_000_000)),
        None => out.text("at most 1 s"),
    }
}

/// `! 14:07:21 10.0.0.5 → 10.0.0.30:5432 runs out of ports in 9 s: 24,102 of 28,232 in use`.
pub(super) fn warnings(block: &Block, paint: Paint, host: &mut Host, out: &mut Line) {
    for row in &block.rows {
        write!(out, "{} ", paint.on(CARE, "!"));
        out.slice(&host.clock.time(block.at_ns));
        write!(out, " {}", route(row));
        let used = row.in_use();
        match row.full_in_ns {
            _ if used >= row.candidates => out.text(" has run out of ports"),
            Some(ns) => write!(out, " runs out of ports in {}", left(ns)),
            None => out.text(" is short of ports"),
        }
        write!(
            out,
            ": {} of {} in use, {} by TIME_WAIT, netns ",
            thousands(used.into()),
            thousands(row.candidates.into()),
            thousands(row.time_wait.into())
        );
        name_or_number(host.names.netns(row.key.netns), row.key.netns, out);
        out.byte(b'\n');
    }
}

/// A row as it is written; docs/output.md describes each field.
#[derive(Serialize)]
struct Pressure {
    v: u32,
    event: &'static str,
    scope: &'static str,
    at_ns: u64,
    netns: u32,
    laddr: String,
    raddr: Option<String>,
    rport: Option<u16>,
    in_use: u32,
    candidates: u32,
    time_wait: u32,
    others: u32,
    peak: u32,
    arrivals: f64,
    growth: f64,
    full_in_ms: Option<f64>,
    reuse: &'static str,
    reuse_delay_ms: Option<u32>,
    failures: u64,
    last_pid: Option<u32>,
    last_command: Option<Text>,
    lport: Option<u16>,
    held_by: Option<&'static str>,
}

impl Pressure {
    fn new(row: &Row, block: &Block) -> Self {
        let key = row.key;
        let (reuse, reuse_delay_ms) = match row.reuse {
            Reuse::On { delay_ms } => ("on", delay_ms),
            Reuse::Would { delay_ms, .. } => ("would-help", delay_ms),
            Reuse::NoTimestamps => ("no-timestamps", None),
            Reuse::No(Why::PortNamed) => ("port-named", None),
            Reuse::No(Why::Bind) => ("bind", None),
            Reuse::No(Why::Live) => ("live", None),
            Reuse::No(Why::FinWait2) => ("fin-wait-2", None),
            Reuse::Unknown => ("unknown", None),
        };
        let last = row.last_failure.as_ref();
        let tenth = |rate: f64| (rate * 10.0).round() / 10.0;
        Self {
            v: json::VERSION,
            event: "port-pressure",
            scope: block.when.name(),
            at_ns: block.at_ns,
            netns: key.netns,
            laddr: key.laddr.to_string(),
            raddr: (key.rport != 0).then(|| key.raddr.to_string()),
            rport: (key.rport != 0).then_some(key.rport),
            in_use: row.in_use(),
            candidates: row.candidates,
            time_wait: row.time_wait,
            others: row.others,
            peak: row.peak,
            arrivals: tenth(row.arrivals),
            growth: tenth(row.growth),
            full_in_ms: row.full_in_ns.map(ms),
            reuse,
            reuse_delay_ms,
            failures: row.failures,
            last_pid: last.map(|failure| failure.pid),
            last_command: last.map(|failure| failure.command.text()),
            lport: (key.lport != 0).then_some(key.lport),
            held_by: (key.lport != 0).then(|| failure::held_by(row)),
        }
    }
}

/// A namespace as it is written.
#[derive(Serialize)]
struct PopulationObject {
    v: u32,
    event: &'static str,
    scope: &'static str,
    at_ns: u64,
    netns: u32,
    time_wait: u64,
    fin_wait_2: u64,
    uncertain: u64,
    substate_uncertain: u64,
    listed: bool,
    limit: Option<u64>,
    left: Option<u64>,
    overflows: u64,
}

pub(super) fn json(block: &Block, out: &mut Line) {
    if block.when != When::Warning {
        for row in &block.population {
            let object = PopulationObject {
                v: json::VERSION,
                event: "population",
                scope: block.when.name(),
                at_ns: block.at_ns,
                netns: row.netns,
                time_wait: row.alive.time_wait,
                fin_wait_2: row.alive.fin_wait_2,
                uncertain: row.uncertain,
                substate_uncertain: row.substate_uncertain,
                listed: block.listed && !row.partial,
                limit: row.limit,
                left: row.left(),
                overflows: row.overflows,
            };
            json::put(&object, out);
            out.byte(b'\n');
        }
    }
    for row in &block.rows {
        json::put(&Pressure::new(row, block), out);
        out.byte(b'\n');
    }
}

const CSV: [&str; 18] = [
    "scope",
    "at_ns",
    "netns",
    "laddr",
    "raddr",
    "rport",
    "in_use",
    "candidates",
    "time_wait",
    "others",
    "peak",
    "arrivals",
    "growth",
    "full_in_ms",
    "reuse",
    "failures",
    "lport",
    "held_by",
];

pub(super) fn csv_header(out: &mut Line) {
    cells(CSV, out);
}

pub(super) fn csv(block: &Block, out: &mut Line) {
    let text = |value: Option<String>| value.unwrap_or_default();
    for row in &block.rows {
        let one = Pressure::new(row, block);
        let cell = [
            one.scope.to_owned(),
            one.at_ns.to_string(),
            one.netns.to_string(),
            one.laddr,
            text(one.raddr),
            text(one.rport.map(|port| port.to_string())),
            one.in_use.to_string(),
            one.candidates.to_string(),
            one.time_wait.to_string(),
            one.others.to_string(),
            one.peak.to_string(),
            one.arrivals.to_string(),
            one.growth.to_string(),
            text(one.full_in_ms.map(|ms| ms.to_string())),
            one.reuse.to_owned(),
            one.failures.to_string(),
            text(one.lport.map(|port| port.to_string())),
            text(one.held_by.map(str::to_owned)),
        ];
        cells(cell.iter().map(String::as_str), out);
    }
}

/// `18,214 TIME_WAIT and 37 FIN_WAIT2 sockets existed at the start, in 3 network namespaces`.
#[must_use]
pub fn already_there(listed: &[Listed]) -> String {
    let sum = |get: fn(&Listed) -> u64| thousands(listed.iter().map(get).sum());
    let count = |which: &dyn Fn(&&Listed) -> bool| listed.iter().filter(which).count();
    let netns = count(&|one| one.time_wait + one.fin_wait_2 > 0);
    let mut text = match netns {
        0 => "no TIME_WAIT or FIN_WAIT2 sockets existed at the start".to_owned(),
        _ => format!(
            "{} TIME_WAIT and {} FIN_WAIT2 sockets existed at the start, in {}",
            sum(|one| one.time_wait),
            sum(|one| one.fin_wait_2),
            units::count(netns as u64, "network namespace")
        ),
    };
    let unread = count(&|one| one.by == Lister::Nothing || one.interrupted);
    if unread > 0 {
        text += &format!(
            "; {} could not be listed completely",
            units::count(unread as u64, "network namespace")
        );
    }
    if count(&|one| one.by == Lister::Proc) > 0 {
        text += "; sock_diag is missing (module tcp_diag), so they were read from /proc/net/tcp";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(time_wait: u64, by: Lister) -> Listed {
        Listed {
            netns: 1,
            time_wait,
            fin_wait_2: 0,
            by,
            interrupted: false,
        }
    }

    #[test]
    fn what_is_there_is_said_with_what_is_not_known() {
        let all = [
            listed(18_214, Lister::SockDiag),
            listed(0, Lister::SockDiag),
            listed(0, Lister::Nothing),
        ];
        assert_eq!(
            already_there(&all[..2]),
            "18,214 TIME_WAIT and 0 FIN_WAIT2 sockets existed at the start, in 1 network namespace"
        );
        assert!(
            already_there(&all).ends_with("; 1 network namespace could not be listed completely")
        );
        assert!(already_there(&[listed(1, Lister::Proc)]).contains("tcp_diag"));
    }

    #[test]
    fn time_left_is_rounded_down() {
        let s = 1_000_000_000;
        let texts = [0, s - 1, 59 * s, 1_000 * s, 90_000 * s].map(left);
        assert_eq!(texts, ["0 s", "0 s", "59 s", "16 min", "25 h"]);
    }
}
