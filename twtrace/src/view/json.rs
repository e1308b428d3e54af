//! Events and the summary as JSON, one object a line. `v` is the version of the schema.

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use twtrace_common::REASONS;

use super::columns::{COLUMNS, Column, Of, Shown, Value};
use super::csv::endpoint;
use super::render::Host;
use super::text::name_or_number;
use super::units;
use crate::event::Reason;
use crate::model::books::{Class, Lost, Row};
use crate::model::{Report, Summary};

/// Version of the schema of every object.
pub(super) const VERSION: u32 = 1;

/// What to write for each event.
#[derive(Debug)]
pub(super) struct Json {
    end: Vec<Field>,
    overflow: Vec<Field>,
}

/// A column and all that stands before its value.
#[derive(Debug)]
struct Field {
    before: String,
    get: fn(&Report) -> Value,
}

impl Json {
    /// With the columns of the schema, or with those picked. `v` and `event` are always there.
    pub(super) fn new(picked: Option<&[&'static Column]>) -> Self {
        let fields = |of: Of, event: &str| {
            let mut start = format!("{{\"v\":{VERSION},\"event\":\"{event}\"");
            let has = |column: &&Column| match picked {
                Some(_) => true,
                None => column.shown != Shown::Text && (column.of == of || column.of == Of::Both),
            };
            let all: Vec<&Column> = match picked {
                Some(picked) => picked.to_vec(),
                None => COLUMNS.iter().collect(),
            };
            let mut fields: Vec<Field> = all
                .into_iter()
                .filter(|column| column.key != "event")
                .filter(has)
                .map(|column| Field {
                    before: format!("{},\"{}\":", std::mem::take(&mut start), column.key),
                    get: column.get,
                })
                .collect();
            if fields.is_empty() {
                // Only "event" was picked: the value that must follow is the version itself.
                fields.push(Field {
                    before: format!("{{\"event\":\"{event}\",\"v\":"),
                    get: |_| Value::Number(VERSION as u64),
                });
            }
            fields
        };
        Self {
            end: fields(Of::End, "end"),
            overflow: fields(Of::Overflow, "overflow"),
        }
    }

    pub(super) fn event(&self, report: &Report, host: &mut Host, out: &mut Vec<u8>) {
        let fields = match report {
            Report::End(_) => &self.end,
            Report::Overflow(_) => &self.overflow,
        };
        for field in fields {
            out.extend_from_slice(field.before.as_bytes());
            value((field.get)(report), host, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

fn value(value: Value, host: &mut Host, out: &mut Vec<u8>) {
    match value {
        Value::Unknown => out.extend_from_slice(b"null"),
        Value::Flag(true) => out.extend_from_slice(b"true"),
        Value::Flag(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => units::number(number, out),
        Value::Duration(ns) => units::milliseconds(ns, out),
        Value::Word(word) => quoted(out, |out| out.extend_from_slice(word.as_bytes())),
        Value::Address(address) => quoted(out, |out| host.addresses.put(address, out)),
        Value::Endpoint(address, port) => quoted(out, |out| endpoint(address, port, host, out)),
        Value::Moment(ns) => quoted(out, |out| host.clock.timestamp(ns, out)),
        Value::Netns(inode) => escaped(out, |out| {
            name_or_number(host.names.netns(inode), inode, out);
        }),
        Value::User(uid) => escaped(out, |out| name_or_number(host.names.user(uid), uid, out)),
        Value::Note(note) => quoted(out, |out| note.put(out)),
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// For names, which may hold anything.
fn escaped(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut name = Vec::new();
    write(&mut name);
    put(&String::from_utf8_lossy(&name), out);
}

/// Serializes into a `Vec`, which takes everything: maps here have string keys, numbers are finite.
pub(super) fn put(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    drop(serde_json::to_writer(out, value));
}

/// A ratio of whole µs, so that times look the same in all objects.
pub(super) fn ms(ns: u64) -> f64 {
    ((ns + 500) / 1_000) as f64 / 1e3
}

/// The last line.
pub(super) fn summary(summary: &Summary, out: &mut Vec<u8>) {
    put(&SummaryObject::new(summary), out);
    out.push(b'\n');
}

/// The summary as it is written; docs/output.md describes each field.
#[derive(Serialize)]
struct SummaryObject<'a> {
    v: u32,
    event: &'static str,
    kernel: &'a str,
    duration_ms: f64,
    seen: u64,
    reported: u64,
    lost: LostObject,
    totals: Totals<'a>,
    counters: Counters<'a>,
    agree: Option<bool>,
    complete: bool,
    overflows: ClassObject,
    births: Births,
    promoted: u64,
    rearmed: Option<u64>,
    untracked: u64,
    filtered: u64,
    undecoded: u64,
    cut: bool,
    attach: &'a str,
}

#[derive(Serialize)]
struct Births {
    #[serde(rename = "fin-wait-2")]
    fin_wait_2: u64,
    #[serde(rename = "time-wait")]
    time_wait: u64,
}

#[derive(Serialize)]
struct ClassObject {
    seen: u64,
    reported: u64,
    lost: LostObject,
}

#[derive(Serialize)]
struct LostObject {
    ring: u64,
    map: u64,
    missed: Option<u64>,
}

impl<'a> SummaryObject<'a> {
    fn new(summary: &'a Summary) -> Self {
        let Summary {
            kernel,
            attach,
            duration_ns,
            born_fin_wait_2,
            born_time_wait,
            promoted,
            rearmed,
            untracked,
            filtered,
            ended,
            books,
            cut,
        } = summary;
        Self {
            v: VERSION,
            event: "summary",
            kernel,
            duration_ms: ms(*duration_ns),
            seen: books.ends.seen,
            reported: books.ends.reported,
            lost: books.ends.lost.into(),
            totals: Totals(ended),
            counters: Counters(books.kernel.as_ref().map(|kernel| kernel.rows.as_slice())),
            agree: books.agrees(),
            complete: summary.complete(),
            overflows: books.overflows.into(),
            births: Births {
                fin_wait_2: *born_fin_wait_2,
                time_wait: *born_time_wait,
            },
            promoted: *promoted,
            rearmed: *rearmed,
            untracked: *untracked,
            filtered: *filtered,
            undecoded: books.undecoded,
            cut: *cut,
            attach,
        }
    }
}

impl From<Class> for ClassObject {
    fn from(class: Class) -> Self {
        Self {
            seen: class.seen,
            reported: class.reported,
            lost: class.lost.into(),
        }
    }
}

impl From<Lost> for LostObject {
    fn from(lost: Lost) -> Self {
        let Lost { ring, map, missed } = lost;
        Self { ring, map, missed }
    }
}

/// `{"expired": 12, …}` with every reason.
struct Totals<'a>(&'a [u64; REASONS]);

impl Serialize for Totals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(REASONS))?;
        for (reason, count) in Reason::ALL.into_iter().zip(self.0) {
            map.serialize_entry(reason.name(), count)?;
        }
        map.end()
    }
}

/// The rows of the comparison; null if a filter forbids it.
struct Counters<'a>(Option<&'a [Row]>);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object {
            netns: u32,
            name: &'static str,
            kernel: Option<u64>,
            expected: u64,
            agree: Option<bool>,
        }
        let Some(rows) = self.0 else {
            return serializer.serialize_none();
        };
        let mut sequence = serializer.serialize_seq(Some(rows.len()))?;
        for row in rows {
            sequence.serialize_element(&Object {
                netns: row.netns,
                name: row.counter.name(),
                kernel: row.kernel.ok(),
                expected: row.expected,
                agree: row.agree,
            })?;
        }
        sequence.end()
    }
}
