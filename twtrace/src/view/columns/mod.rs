//! The one table of columns: text, CSV, JSON and docs/output.md are made from it.

mod get;
mod rows;
mod schema;
mod table;

use std::net::IpAddr;

use twtrace_common::REASONS;

use super::unknown::Unknown;
use crate::event::CommandName;
use crate::model::Report;
use crate::model::conflicts::causes::Hypothesis;

pub(super) use schema::each_of_schema;
pub use table::COLUMNS;

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
    /// The events whose JSON has it. In CSV and text, others may have it too.
    pub of: Of,
    pub shown: Shown,
    pub(super) get: for<'r> fn(&'r Report) -> Value<'r>,
}

/// Alignment of a cell of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of(u8);

impl Of {
    pub const END: Self = Self(1 << 0);
    pub const OVERFLOW: Self = Self(1 << 1);
    pub const REFUSAL: Self = Self(1 << 2);
    pub const REOPEN: Self = Self(1 << 3);
    pub const CONFLICT: Self = Self(1 << 4);
    pub const PORT_FAILURE: Self = Self(1 << 5);
    pub const ALL: Self = Self::TRACE.and(Self::CONFLICTS);
    /// What `ports` shows beside its table.
    pub const PORTS: Self = Self::OVERFLOW.and(Self::PORT_FAILURE);
    /// What `trace` and `report` show.
    pub const TRACE: Self = Self::END
        .and(Self::OVERFLOW)
        .and(Self::REFUSAL)
        .and(Self::PORT_FAILURE);
    /// What `conflicts` shows.
    pub const CONFLICTS: Self = Self::REFUSAL.and(Self::REOPEN).and(Self::CONFLICT);

    const EACH: [Self; 6] = [
        Self::END,
        Self::OVERFLOW,
        Self::REFUSAL,
        Self::PORT_FAILURE,
        Self::REOPEN,
        Self::CONFLICT,
    ];

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kind of this event.
    #[inline(always)]
    pub(super) fn kind(report: &Report) -> Self {
        match report {
            Report::End(_) => Self::END,
            Report::Overflow(_) => Self::OVERFLOW,
            Report::Refusal(_) => Self::REFUSAL,
            Report::PortFailure(_) => Self::PORT_FAILURE,
            Report::Reopen(_) => Self::REOPEN,
            Report::Conflict(_) => Self::CONFLICT,
        }
    }

    /// The name of one kind in JSON and CSV.
    #[inline(always)]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::END => "end",
            Self::OVERFLOW => "overflow",
            Self::REFUSAL => "refusal",
            Self::PORT_FAILURE => "port-failure",
            Self::REOPEN => "reopen",
            _ => "conflict",
        }
    }

    const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of its kinds.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let each = Self::EACH.into_iter();
        each.filter(move |one| self.overlaps(*one)).map(Self::name)
    }
}

/// Where it is shown when `--fields` does not choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In JSON and CSV.
    Data,
    Text,
    Everywhere,
    /// Nowhere.
    Asked,
}

impl Shown {
    /// In JSON and CSV, unasked.
    const fn in_data(self) -> bool {
        matches!(self, Self::Data | Self::Everywhere)
    }
}

/// A fact before it is written; each view has its own way with each kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'r> {
    Unknown,
    /// Needs no escaping anywhere.
    Word(&'static str),
    /// A word for text, another for JSON and CSV.
    Said {
        person: &'static str,
        machine: &'static str,
    },
    Flag(bool),
    Number(u64),
    Signed(i32),
    /// Byte 13 of a TCP header.
    TcpFlags(u8),
    /// A time span in ns: ms for machines, "60.97 s" for people.
    Duration(u64),
    Address(IpAddr),
    /// May hold anything.
    Command(&'r CommandName),
    /// "address:port", or "address:*" if there is no port.
    Endpoint(IpAddr, u16),
    /// CLOCK_MONOTONIC ns as wall-clock time.
    Moment(u64),
    /// Inode number of a namespace, by name if it has one.
    Netns(u32),
    /// uid and cgroup id: the most telling of pod, container, unit, user name, uid.
    Owner(Option<u32>, Option<u64>),
    /// The name of the user with this uid.
    UserName(u32),
    /// The name of the namespace with this inode number.
    NetnsName(u32),
    /// What is known of the cgroup with this id.
    Cgroup(u64, CgroupFact),
    /// Ends by reason.
    Reasons(&'r [u64; REASONS]),
    Gaps(&'r [i32]),
    Causes(&'r [Hypothesis]),
    /// What else is worth knowing of this event, in words.
    Note(&'r Report),
}

/// What a cgroup's path tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum CgroupFact {
    Path,
    Unit,
    Container,
    Pod,
    /// The long name: pod, container or unit, else its path.
    Name,
}

/// Takes the columns of the schema one by one.
pub(super) trait Show {
    fn show(&mut self, before: Before, value: Value<'_>);
}

/// What JSON has before a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// `,"key":`
    pub(super) value: &'static str,
    /// The same with the quote that opens a text: known when compiled, it costs nothing more.
    pub(super) quoted: &'static str,
}

impl Before {
    /// Nothing, but for the quote of a text.
    pub(super) const NOTHING: Self = Self {
        value: "",
        quoted: "\"",
    };
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

/// The same where only conflicts are shown.
const CONFLICTS_TEXT: [&str; 7] = [
    "time",
    "local",
    "remote",
    "netns_name",
    "time_wait_ms",
    "what",
    "note",
];

/// The columns of text for these events.
pub(super) fn text(events: Of) -> Vec<&'static Column> {
    let keys = match events {
        Of::CONFLICTS => &CONFLICTS_TEXT[..],
        _ => &TEXT,
    };
    keys.iter().filter_map(|key| find(key)).collect()
}

/// The columns of CSV for these events.
pub(super) fn data(events: Of) -> Vec<&'static Column> {
    COLUMNS
        .iter()
        .filter(|column| column.shown.in_data() && column.of.overlaps(events))
        .collect()
}

/// What `--fields` takes to list the columns.
pub const HELP: &str = "help";

/// All columns with their units and meanings, a line each.
#[must_use]
pub fn list() -> String {
    let widest = |get: fn(&Column) -> &str| COLUMNS.iter().map(|one| get(one).len()).max();
    let key = widest(|column| column.key).unwrap_or_default();
    let unit = widest(|column| column.unit).unwrap_or_default();
    let line = |column: &Column| {
        let Column {
            key: name,
            unit: of,
            doc,
            ..
        } = column;
        format!("{name:key$}  {of:unit$}  {}\n", doc.replace('`', ""))
    };
    COLUMNS.iter().map(line).collect()
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
            .filter(|column| matches!(column.shown, Shown::Text | Shown::Everywhere))
            .map(|column| column.key)
            .collect();
        let mut text = [&TEXT[..], &CONFLICTS_TEXT].concat();
        shown.sort_unstable();
        text.sort_unstable();
        text.dedup();
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

    #[test]
    fn a_mistyped_field_is_answered_with_the_nearest_and_all_can_be_listed() {
        assert_eq!(pick("reasn").unwrap_err().hint(), "did you mean reason?");
        let list = list();
        assert_eq!(list.lines().count(), COLUMNS.len());
        for (line, column) in list.lines().zip(COLUMNS) {
            assert!(line.starts_with(column.key), "{line}");
        }
    }
}
