//! The one table of columns: text, CSV, JSON and docs/output.md are made from it.

use std::net::IpAddr;

use super::Unknown;
use crate::event::{BornAs, Family, Flow};
use crate::model::{Life, Report};

/// One fact of an event.
#[derive(Debug)]
pub struct Column {
    /// Its name in JSON, in CSV and for `--fields`.
    pub key: &'static str,
    /// Its name over a column of text.
    pub header: &'static str,
    /// Its width in text.
    pub width: usize,
    pub align: Align,
    /// Of numbers in JSON and CSV; empty if they have none.
    pub unit: &'static str,
    /// One line for docs/output.md.
    pub doc: &'static str,
    pub of: Of,
    pub shown: Shown,
    pub(super) get: fn(&Report) -> Value,
}

/// On which side of its column a cell of text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Which events have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    End,
    Overflow,
    Both,
}

/// Where it is shown when `--fields` does not choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In JSON and CSV.
    Data,
    Text,
    Everywhere,
}

/// A fact before it is written; each view has its own way with each kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Unknown,
    /// Needs no escaping anywhere.
    Word(&'static str),
    Flag(bool),
    Number(u64),
    /// A time span in ns: ms for machines, "60.97 s" for people.
    Duration(u64),
    Address(IpAddr),
    /// "address:port".
    Endpoint(IpAddr, u16),
    /// CLOCK_MONOTONIC ns as wall-clock time.
    Moment(u64),
    /// Inode number of a namespace, by name if it has one.
    Netns(u32),
    /// uid, by name if it has one.
    User(u32),
    /// What else is worth knowing, in words.
    Note(Note),
}

/// What the last column of text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) rearms: u32,
    pub(super) preexisting: Option<bool>,
    pub(super) overflow: bool,
}

impl Note {
    pub(super) const NONE: Self = Self {
        rearms: 0,
        preexisting: Some(false),
        overflow: false,
    };
}

/// Takes the columns of the schema one by one.
pub(super) trait Show {
    /// `before` is all that JSON has before the value: `,"key":`.
    fn show(&mut self, before: &'static str, value: Value);
}

/// Makes the table, and from the same rows the walk over the schema's columns: a loop over
/// function pointers would cost JSON as much again as the writing itself.
macro_rules! columns {
    ($($key:ident {
        header: $header:literal,
        width: $width:literal,
        align: $align:expr,
        unit: $unit:literal,
        doc: $doc:literal,
        of: $of:expr,
        shown: $shown:expr,
        get: $get:expr,
    })*) => {
        /// All columns, those of the JSON schema in its order first.
        pub static COLUMNS: &[Column] = &[$(Column {
            key: stringify!($key),
            header: $header,
            width: $width,
            align: $align,
            unit: $unit,
            doc: $doc,
            of: $of,
            shown: $shown,
            get: $get,
        }),*];

        /// Shows what the schema has for this event.
        #[inline(always)]
        pub(super) fn each_of_schema(report: &Report, show: &mut impl Show) {
            let of = match report {
                Report::End(_) => Of::End,
                Report::Overflow(_) => Of::Overflow,
            };
            $(if in_schema($shown, $of, of) {
                let get: fn(&Report) -> Value = $get;
                show.show(concat!(",\"", stringify!($key), "\":"), get(report));
            })*
        }
    };
}

#[inline(always)]
const fn in_schema(shown: Shown, of: Of, event: Of) -> bool {
    !matches!(shown, Shown::Text) && (matches!(of, Of::Both) || of as u8 == event as u8)
}

columns! {
    event {
        header: "EVENT",
        width: 8,
        align: Align::Left,
        unit: "",
        doc: "`end` or `overflow`; always there in JSON, after the schema version `v`",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| match report {
            Report::End(_) => Value::Word("end"),
            Report::Overflow(_) => Value::Word("overflow"),
        },
    }
    reason {
        header: "END",
        width: 18,
        align: Align::Left,
        unit: "",
        doc: "why the mini-socket ended; in text and CSV `overflow` if there was none",
        of: Of::End,
        shown: Shown::Everywhere,
        get: |report| match report {
            Report::End(life) => Value::Word(life.end.reason.name()),
            Report::Overflow(_) => Value::Word("overflow"),
        },
    }
    family {
        header: "FAMILY",
        width: 11,
        align: Align::Left,
        unit: "",
        doc: "`ipv4`, `ipv6`, or `ipv4-mapped` for IPv4 on the wire and an IPv6 socket",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| {
            Value::Word(match flow(report).family {
                Family::Ipv4 => "ipv4",
                Family::Ipv6 => "ipv6",
                Family::Ipv4Mapped => "ipv4-mapped",
            })
        },
    }
    laddr {
        header: "LADDR",
        width: 15,
        align: Align::Left,
        unit: "",
        doc: "local address, as on the wire",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| Value::Address(flow(report).laddr),
    }
    lport {
        header: "LPORT",
        width: 5,
        align: Align::Right,
        unit: "",
        doc: "local port",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| Value::Number(flow(report).lport.into()),
    }
    raddr {
        header: "RADDR",
        width: 15,
        align: Align::Left,
        unit: "",
        doc: "remote address, as on the wire",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| Value::Address(flow(report).raddr),
    }
    rport {
        header: "RPORT",
        width: 5,
        align: Align::Right,
        unit: "",
        doc: "remote port",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| Value::Number(flow(report).rport.into()),
    }
    netns {
        header: "NETNS",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "network namespace: its inode number",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| Value::Number(flow(report).netns.into()),
    }
    uid {
        header: "UID",
        width: 6,
        align: Align::Right,
        unit: "",
        doc: "owner of the full socket",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| number(flow(report).uid),
    }
    cgroup {
        header: "CGROUP",
        width: 8,
        align: Align::Right,
        unit: "",
        doc: "cgroup id of the full socket",
        of: Of::Both,
        shown: Shown::Data,
        get: |report| number(flow(report).cgroup),
    }
    born_as {
        header: "BORN AS",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "substate at birth: `fin-wait-2` or `time-wait`",
        of: Of::End,
        shown: Shown::Data,
        get: |report| {
            of_life(report, |life| {
                life.end.born_as.map(|substate| {
                    Value::Word(match substate {
                        BornAs::FinWait2 => "fin-wait-2",
                        BornAs::TimeWait => "time-wait",
                    })
                })
            })
        },
    }
    born_ns {
        header: "BORN",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "birth, CLOCK_MONOTONIC",
        of: Of::End,
        shown: Shown::Data,
        get: |report| of_life(report, |life| life.end.born_ns.map(Value::Number)),
    }
    time_wait_ns {
        header: "PROMOTED",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "entry into TIME_WAIT, CLOCK_MONOTONIC",
        of: Of::End,
        shown: Shown::Data,
        get: |report| of_life(report, |life| life.end.time_wait_ns.map(Value::Number)),
    }
    ended_ns {
        header: "ENDED",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "end, CLOCK_MONOTONIC",
        of: Of::End,
        shown: Shown::Data,
        get: |report| of_life(report, |life| Some(Value::Number(life.end.ended_ns))),
    }
    at_ns {
        header: "AT",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "when no mini-socket could be made, CLOCK_MONOTONIC",
        of: Of::Overflow,
        shown: Shown::Data,
        get: |report| match report {
            Report::End(_) => Value::Unknown,
            Report::Overflow(overflow) => Value::Number(overflow.at_ns),
        },
    }
    fin_wait_2_ms {
        header: "FW2",
        width: 8,
        align: Align::Right,
        unit: "ms",
        doc: "time in substate FIN_WAIT2; null also if it was born in TIME_WAIT",
        of: Of::End,
        shown: Shown::Everywhere,
        get: |report| of_life(report, |life| life.fin_wait_2_ns.map(Value::Duration)),
    }
    time_wait_ms {
        header: "TIME_WAIT",
        width: 9,
        align: Align::Right,
        unit: "ms",
        doc: "time in substate TIME_WAIT; null also if it ended in FIN_WAIT2",
        of: Of::End,
        shown: Shown::Everywhere,
        get: |report| of_life(report, |life| life.time_wait_ns.map(Value::Duration)),
    }
    rearms {
        header: "REARMS",
        width: 6,
        align: Align::Right,
        unit: "",
        doc: "timer restarts in TIME_WAIT that were seen",
        of: Of::End,
        shown: Shown::Data,
        get: |report| of_life(report, |life| Some(Value::Number(life.end.rearms.into()))),
    }
    preexisting {
        header: "PREEXISTING",
        width: 11,
        align: Align::Left,
        unit: "",
        doc: "older than the trace; null if its birth may also have been lost",
        of: Of::End,
        shown: Shown::Data,
        get: |report| of_life(report, |life| life.preexisting.map(Value::Flag)),
    }
    time {
        header: "TIME",
        width: 12,
        align: Align::Left,
        unit: "",
        doc: "wall-clock time of the event; with date and zone in JSON and CSV",
        of: Of::Both,
        shown: Shown::Text,
        get: |report| {
            Value::Moment(match report {
                Report::End(life) => life.end.ended_ns,
                Report::Overflow(overflow) => overflow.at_ns,
            })
        },
    }
    local {
        header: "LADDR:LPORT",
        width: 21,
        align: Align::Left,
        unit: "",
        doc: "local address and port",
        of: Of::Both,
        shown: Shown::Text,
        get: |report| Value::Endpoint(flow(report).laddr, flow(report).lport),
    }
    remote {
        header: "RADDR:RPORT",
        width: 21,
        align: Align::Left,
        unit: "",
        doc: "remote address and port",
        of: Of::Both,
        shown: Shown::Text,
        get: |report| Value::Endpoint(flow(report).raddr, flow(report).rport),
    }
    netns_name {
        header: "NETNS",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "network namespace: `host` for that of pid 1, its name in /run/netns, or its inode number",
        of: Of::Both,
        shown: Shown::Text,
        get: |report| Value::Netns(flow(report).netns),
    }
    owner {
        header: "OWNER",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "owner of the full socket: user name, or uid if it has none",
        of: Of::Both,
        shown: Shown::Text,
        get: |report| flow(report).uid.map_or(Value::Unknown, Value::User),
    }
    note {
        header: "NOTE",
        width: 4,
        align: Align::Left,
        unit: "",
        doc: "re-arms, an unseen birth, an overflow, in words",
        of: Of::Both,
        shown: Shown::Text,
        get: |report| Value::Note(note(report)),
    }
}

/// What a line of text has, from left to right.
const TEXT: [&str; 9] = [
    "time",
    "local",
    "remote",
    "netns_name",
    "owner",
    "fin_wait_2_ms",
    "time_wait_ms",
    "reason",
    "note",
];

/// The columns of text.
pub(super) fn text() -> Vec<&'static Column> {
    TEXT.iter().filter_map(|key| find(key)).collect()
}

/// The columns of CSV.
pub(super) fn data() -> Vec<&'static Column> {
    COLUMNS
        .iter()
        .filter(|column| column.shown != Shown::Text)
        .collect()
}

/// The columns that `--fields` names, in its order.
pub fn pick(fields: &str) -> Result<Vec<&'static Column>, Unknown> {
    fields
        .split(',')
        .map(str::trim)
        .map(|key| find(key).ok_or_else(|| no_such_field(key)))
        .collect()
}

fn find(key: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.key == key)
}

fn no_such_field(key: &str) -> Unknown {
    Unknown {
        what: "field",
        name: key.to_owned(),
        known: COLUMNS.iter().map(|column| column.key).collect(),
    }
}

fn flow(report: &Report) -> &Flow {
    match report {
        Report::End(life) => &life.end.flow,
        Report::Overflow(overflow) => &overflow.flow,
    }
}

fn number(value: Option<impl Into<u64>>) -> Value {
    value.map_or(Value::Unknown, |value| Value::Number(value.into()))
}

fn of_life(report: &Report, get: impl FnOnce(&Life) -> Option<Value>) -> Value {
    match report {
        Report::End(life) => get(life).unwrap_or(Value::Unknown),
        Report::Overflow(_) => Value::Unknown,
    }
}

fn note(report: &Report) -> Note {
    match report {
        Report::End(life) => Note {
            rearms: life.end.rearms,
            preexisting: life.preexisting,
            overflow: false,
        },
        Report::Overflow(_) => Note {
            overflow: true,
            ..Note::NONE
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique() {
        for (index, column) in COLUMNS.iter().enumerate() {
            assert!(COLUMNS[..index].iter().all(|other| other.key != column.key));
        }
    }

    #[test]
    fn text_shows_exactly_the_columns_marked_so() {
        let mut shown: Vec<_> = COLUMNS
            .iter()
            .filter(|column| column.shown != Shown::Data)
            .map(|column| column.key)
            .collect();
        let mut text = TEXT.to_vec();
        shown.sort_unstable();
        text.sort_unstable();
        assert_eq!(text, shown);
    }

    #[test]
    fn a_header_fits_its_column() {
        for column in COLUMNS {
            assert!(column.header.len() <= column.width, "{}", column.key);
        }
    }

    #[test]
    fn fields_are_picked_in_the_order_asked_for() {
        let keys: Vec<_> = pick("reason, lport,time")
            .unwrap()
            .iter()
            .map(|column| column.key)
            .collect();
        assert_eq!(keys, ["reason", "lport", "time"]);
    }

    #[test]
    fn an_unknown_field_is_named_and_the_valid_ones_are_listed() {
        let error = pick("reason,colour").unwrap_err();
        assert_eq!(error.to_string(), "there is no field \"colour\"");
        let hint = error.hint();
        assert!(COLUMNS.iter().all(|column| hint.contains(column.key)));
        assert!(pick("").is_err());
    }
}
