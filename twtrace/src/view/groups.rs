//! Groups as a table for people, rows and objects for programs.

use super::cell::Host;
use super::cell::row;
use super::cell::{cut, endpoint, name_or_number, shortened};
use super::columns::{Before, CgroupFact, Value};
use super::csv;
use super::histogram::Scope;
use super::json;
use super::line::Line;
use super::owners;
use super::paint::{HEADING, Paint};
use super::units::{count, span, thousands, width};
use crate::event::Reason;
use crate::model::groups::{By, Key, Row, Table, Whose};
use crate::model::stats::Percentiles;

/// One fact of a row, for CSV, JSON and docs/output.md.
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) unit: &'static str,
    pub(super) doc: &'static str,
    get: for<'r> fn(&'r Row, &Table, Scope) -> Value<'r>,
}

macro_rules! columns {
    ($($key:ident, $unit:literal, $doc:literal, $get:expr;)*) => {
        pub(super) static COLUMNS: &[Column] = &[$(Column {
            key: stringify!($key),
            unit: $unit,
            doc: $doc,
            get: $get,
        }),*];
    };
}

columns! {
    scope, "", "`interval`: since the previous report; `total`: since the start", |_, _, scope| Value::Word(scope.name());
    from_ns, "ns", "start of that time, CLOCK_MONOTONIC", |_, table, _| Value::Number(table.from_ns);
    to_ns, "ns", "its end", |_, table, _| Value::Number(table.to_ns);
    by, "", "`peer`: remote address; `service`: address and port of the end with the lower port, because the other is nearly always ephemeral; `lport`: local port; `uid`, `cgroup`: owner of the full socket; `netns`: network namespace", |_, table, _| Value::Word(table.by.name());
    kind, "", "`group`; `before`: mini-sockets older than the trace, by `uid` and `cgroup`, because a mini-socket has no owner; `unknown`: other events that have no such key; `others`: groups that are not shown (`--top`) or not told apart any more; `not-grouped`: ends of which no record came (only of scope `total`)", |row, _, _| Value::Word(kind(row.whose));
    key, "", "what the group has in common: address, address:port, port, uid, cgroup id or inode number; null if it is no group", |row, _, _| key(row.whose);
    name, "", "its name: user, namespace, or for a cgroup the pod and container, unit, or path; null if it has none", |row, _, _| name(row.whose);
    cgroup_path, "", "by cgroup: its path below the mount of cgroup2; null if it is not known", |row, _, _| cgroup(row.whose, CgroupFact::Path);
    unit, "", "by cgroup: the innermost systemd unit in the path", |row, _, _| cgroup(row.whose, CgroupFact::Unit);
    container, "", "by cgroup: the innermost container, 12 digits of its id or its name", |row, _, _| cgroup(row.whose, CgroupFact::Container);
    pod, "", "by cgroup: uid of the Kubernetes pod", |row, _, _| cgroup(row.whose, CgroupFact::Pod);
    groups, "", "number of groups in this row; in `others` a group that returned counts again", |row, _, _| groups(row.whose);
    ends, "", "mini-sockets that ended", |row, _, _| Value::Number(row.ends);
    share, "‰", "of all ends, rounded; null if there are none", |row, _, _| known(row.share);
    reasons, "", "ends by reason; in CSV `reason:count` of those that happened; null if they are not known", |row, _, _| row.ended.as_ref().map_or(Value::Unknown, Value::Reasons);
    births, "", "mini-sockets created; null if births were not traced", |row, _, _| known(row.births);
    overflows, "", "mini-sockets that could not be made", |row, _, _| Value::Number(row.overflows);
    refusals, "", "segments refused; null if they were not traced", |row, _, _| known(row.refusals);
    port_failures, "", "calls that got no port; null if they were not traced", |row, _, _| known(row.port_failures);
    time_wait_n, "", "number of TIME_WAIT lifetimes that are known", |row, _, _| n(row.time_wait);
    time_wait_p50_ms, "ms", "their median", |row, _, _| span_of(row.time_wait, |one| one.p50_ns);
    time_wait_p90_ms, "ms", "90th percentile", |row, _, _| span_of(row.time_wait, |one| one.p90_ns);
    time_wait_p99_ms, "ms", "99th percentile", |row, _, _| span_of(row.time_wait, |one| one.p99_ns);
    time_wait_max_ms, "ms", "maximum", |row, _, _| span_of(row.time_wait, |one| one.max_ns);
    fin_wait_2_n, "", "number of FIN_WAIT2 times that are known", |row, _, _| n(row.fin_wait_2);
    fin_wait_2_p50_ms, "ms", "their median", |row, _, _| span_of(row.fin_wait_2, |one| one.p50_ns);
    fin_wait_2_p90_ms, "ms", "90th percentile", |row, _, _| span_of(row.fin_wait_2, |one| one.p90_ns);
    fin_wait_2_p99_ms, "ms", "99th percentile", |row, _, _| span_of(row.fin_wait_2, |one| one.p99_ns);
    fin_wait_2_max_ms, "ms", "maximum", |row, _, _| span_of(row.fin_wait_2, |one| one.max_ns);
    last_ns, "ns", "the last event, CLOCK_MONOTONIC", |row, _, _| known(row.last_ns);
    births_share, "‰", "of all births, rounded; null if there are none", |row, _, _| known(row.births_share);
    alive, "", "mini-sockets alive at `to_ns`, those from before the trace included; null if births were not traced, if records were lost, or, of an interval, for `others`", |row, _, _| known(row.alive);
}

fn kind(whose: Whose) -> &'static str {
    match whose {
        Whose::Group(Key::Before) => "before",
        Whose::Group(Key::Unknown) => "unknown",
        Whose::Group(_) => "group",
        Whose::Others { .. } => "others",
        Whose::NotGrouped => "not-grouped",
    }
}

fn key(whose: Whose) -> Value<'static> {
    match whose {
        Whose::Group(key) => match key {
            Key::Peer(address) => Value::Address(address),
            Key::Service(address, port) => Value::Endpoint(address, port),
            Key::Lport(port) => Value::Number(port.into()),
            Key::Uid(uid) => Value::Number(uid.into()),
            Key::Cgroup(id) => Value::Number(id),
            Key::Netns(inode) => Value::Number(inode.into()),
            Key::Before | Key::Unknown => Value::Unknown,
        },
        Whose::Others { .. } | Whose::NotGrouped => Value::Unknown,
    }
}

fn name(whose: Whose) -> Value<'static> {
    match whose {
        Whose::Group(Key::Uid(uid)) => Value::UserName(uid),
        Whose::Group(Key::Netns(inode)) => Value::NetnsName(inode),
        _ => cgroup(whose, CgroupFact::Name),
    }
}

fn cgroup(whose: Whose, fact: CgroupFact) -> Value<'static> {
    match whose {
        Whose::Group(Key::Cgroup(id)) => Value::Cgroup(id, fact),
        _ => Value::Unknown,
    }
}

fn groups(whose: Whose) -> Value<'static> {
    match whose {
        Whose::Group(Key::Before | Key::Unknown) | Whose::NotGrouped => Value::Unknown,
        Whose::Group(_) => Value::Number(1),
        Whose::Others { groups } => Value::Number(groups),
    }
}

fn known(number: Option<u64>) -> Value<'static> {
    number.map_or(Value::Unknown, Value::Number)
}

/// The number known is 0 if there are none, while percentiles are then unknown.
fn n(times: Option<Percentiles>) -> Value<'static> {
    Value::Number(times.map_or(0, |times| times.n))
}

fn span_of(times: Option<Percentiles>, get: fn(Percentiles) -> u64) -> Value<'static> {
    times.map_or(Value::Unknown, |times| Value::Duration(get(times)))
}

pub(super) fn csv_header(out: &mut Line) {
    row(COLUMNS.iter().map(|column| column.key), out);
}

pub(super) fn csv(table: &Table, scope: Scope, host: &mut Host, out: &mut Line) {
    let mut scratch = Line::new();
    for row in &table.rows {
        for (index, column) in COLUMNS.iter().enumerate() {
            if index > 0 {
                out.byte(b',');
            }
            csv::cell((column.get)(row, table, scope), host, &mut scratch, out);
        }
        out.byte(b'\n');
    }
}

pub(super) fn json(table: &Table, scope: Scope, host: &mut Host, out: &mut Line) {
    for row in &table.rows {
        json::write_version(out);
        out.text(",\"event\":\"group\"");
        for column in COLUMNS {
            write!(out, ",\"{}\":", column.key);
            json::value(Before::NOTHING, (column.get)(row, table, scope), host, out);
        }
        out.text("}\n");
    }
}

/// Width of the group's name.
const NAME: usize = 32;
/// Reasons that are named, the most frequent ones.
const REASONS_NAMED: usize = 3;

/// A row per group: ends, lifetimes, why they ended, and what else happened.
pub(super) fn text(table: &Table, scope: Scope, paint: Paint, host: &mut Host, out: &mut Line) {
    if scope == Scope::Interval {
        out.slice(&host.clock.time(table.to_ns));
        out.byte(b'\n');
    }
    if table.rows.is_empty() {
        write!(out, "no sockets by {}\n\n", table.by.name());
        return;
    }
    let births = table.rows.iter().any(|row| row.births.is_some());
    let made = match births {
        true => format!(
            "{:>9} {:>7} {:>8} {:>8}",
            "births", "share", "alive", "ends"
        ),
        false => format!("{:>10} {:>6}", "ends", "share"),
    };
    let head = format!(
        "{:<NAME$}{made} {:>9} {:>9} {:>9} {:>9} {:>9} ENDS",
        title(table.by),
        "p50",
        "p90",
        "p99",
        "max",
        "FW2 p50"
    );
    writeln!(out, "{}", paint.on(HEADING, &head));
    for row in &table.rows {
        text_row(row, births, host, out);
    }
    out.byte(b'\n');
}

fn title(by: By) -> &'static str {
    match by {
        By::Peer => "time in TIME_WAIT, by peer",
        By::Service => "time in TIME_WAIT, by service",
        By::Lport => "time in TIME_WAIT, by local port",
        By::Uid => "time in TIME_WAIT, by user",
        By::Cgroup => "time in TIME_WAIT, by cgroup",
        By::Netns => "time in TIME_WAIT, by netns",
    }
}

/// `births`: they are traced, so the share is of them.
fn text_row(row: &Row, births: bool, host: &mut Host, out: &mut Line) {
    let start = out.length();
    whose(row.whose, host, out);
    let taken = width(&out.as_bytes()[start..]);
    write!(out, "{:1$}", "", NAME.saturating_sub(taken));
    let ends = thousands(row.ends);
    if births {
        let number = |number: Option<u64>| number.map_or("–".to_owned(), thousands);
        let share = percent(row.births_share);
        let (born, alive) = (number(row.births), number(row.alive));
        write!(out, "{born:>9} {share:>7} {alive:>8} {ends:>8}");
    } else {
        write!(out, "{ends:>10} {:>6}", percent(row.share));
    }
    let waited = |get: fn(Percentiles) -> u64| row.time_wait.map(get);
    for ns in [
        waited(|one| one.p50_ns),
        waited(|one| one.p90_ns),
        waited(|one| one.p99_ns),
        waited(|one| one.max_ns),
        row.fin_wait_2.map(|one| one.p50_ns),
    ] {
        write!(out, " {:>9}", ns.map_or("–".to_owned(), span));
    }
    let ends = happened(row);
    if !ends.is_empty() {
        write!(out, " {ends}");
    }
    out.byte(b'\n');
}

/// The name of a group, or what stands in its place.
pub(super) fn whose(whose: Whose, host: &mut Host, out: &mut Line) {
    match whose {
        Whose::Group(Key::Peer(address)) => shortened(address, NAME, host, out),
        Whose::Group(Key::Service(address, port)) => endpoint(address, port, NAME, host, out),
        Whose::Group(Key::Lport(port)) => out.number(port.into()),
        Whose::Group(Key::Uid(uid)) => name_or_number(host.names.user(uid), uid, out),
        Whose::Group(Key::Netns(inode)) => name_or_number(host.names.netns(inode), inode, out),
        Whose::Group(Key::Cgroup(id)) => {
            match owners::cgroup(id, CgroupFact::Name, &mut host.names) {
                Some(name) => cut(name, NAME, out),
                None => write!(out, "unknown (cgroup {id})"),
            }
        }
        Whose::Group(Key::Before) => out.text("from before the trace"),
        Whose::Group(Key::Unknown) => out.text("unknown"),
        Whose::Others { groups } => write!(out, "others ({})", count(groups, "group")),
        Whose::NotGrouped => out.text("not grouped: no record"),
    }
}

/// `84.2 %`.
pub(super) fn percent(share: Option<u64>) -> String {
    match share {
        None => "–".to_owned(),
        Some(thousandths) => format!("{}.{} %", thousandths / 10, thousandths % 10),
    }
}

/// `expired 12 · reset 3 · 5 overflows`.
fn happened(row: &Row) -> String {
    let mut reasons: Vec<_> = Reason::ALL
        .into_iter()
        .zip(row.ended.unwrap_or_default())
        .filter(|one| one.1 > 0)
        .collect();
    reasons.sort_by_key(|one| std::cmp::Reverse(one.1));
    let more = reasons.len() > REASONS_NAMED;
    let named = reasons.iter().take(REASONS_NAMED);
    let mut parts: Vec<_> = named
        .map(|(reason, count)| format!("{} {}", reason.name(), thousands(*count)))
        .collect();
    parts.extend(more.then(|| "…".to_owned()));
    let counted = [
        (Some(row.overflows), "overflow"),
        (row.refusals, "refusal"),
        (row.port_failures, "port failure"),
    ];
    let counted = counted.into_iter().filter(|one| one.0 > Some(0));
    parts.extend(counted.map(|(number, what)| count(number.unwrap_or(0), what)));
    parts.join(" · ")
}
