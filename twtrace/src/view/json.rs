//! Events and the summary as JSON, one object a line. `v` is the version of the schema.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use twtrace_common::REASONS;
use twtrace_common::ports::CALLS;
use twtrace_common::refusal::{CLASSES, Class as RefusalClass};

use super::cell::Host;
use super::cell::whole_endpoint;
use super::columns::{Before, Column, Of, Show, Value, each_of_schema};
use super::evidence::CauseObject;
use super::line::Line;
use super::note;
use super::owners::{cgroup, most_telling};
use super::units::{self, tcp_flags};
use crate::event::{Call, Reason};
use crate::model::books::{Class, Doubt, Lost, Row, Unread};
use crate::model::{Report, Summary};
use crate::text::Text;

/// Version of the schema of every object.
pub(super) const VERSION: u32 = 1;

/// What to write for each event.
#[derive(Debug)]
pub(super) enum Json {
    /// What the schema says.
    Schema,
    /// What `--fields` says; `v` and `event` are always there.
    Picked(Vec<&'static Column>),
}

impl Json {
    pub(super) fn event(&self, report: &Report, host: &mut Host, out: &mut Line) {
        write_version(out);
        match self {
            Self::Schema => each_of_schema(report, &mut Object { host, out }),
            Self::Picked(columns) => {
                out.text(",\"event\":");
                quoted(out, |out| out.text(Of::kind(report).name()));
                for column in columns.iter().filter(|column| column.key != "event") {
                    write!(out, ",\"{}\":", column.key);
                    value(Before::NOTHING, (column.get)(report), host, out);
                }
            }
        }
        out.text("}\n");
    }
}

pub(super) fn write_version(out: &mut Line) {
    const { assert!(VERSION < 10) };
    out.text("{\"v\":");
    out.byte(b'0' + VERSION as u8);
}

/// An object being written.
struct Object<'a> {
    host: &'a mut Host,
    out: &'a mut Line,
}

impl Show for Object<'_> {
    #[inline(always)]
    fn show(&mut self, before: Before, field: Value<'_>) {
        value(before, field, self.host, self.out);
    }
}

#[inline(always)]
pub(super) fn value(before: Before, value: Value<'_>, host: &mut Host, out: &mut Line) {
    match value {
        Value::Unknown => out.put(before.value, b"null", 4),
        Value::Flag(true) => out.put(before.value, b"true", 4),
        Value::Flag(false) => out.put(before.value, b"false", 5),
        Value::Number(number) => host.texts.number(before.value, number, out),
        Value::Duration(ns) => units::milliseconds(before.value, ns, &mut host.texts, out),
        Value::Word(word) | Value::Said { machine: word, .. } => {
            out.text(before.quoted);
            out.text(word);
            out.byte(b'"');
        }
        Value::Address(address) => {
            host.texts.address(before.quoted, address, out);
            out.byte(b'"');
        }
        seldom => {
            out.text(before.value);
            on_its_own(seldom, host, out);
        }
    }
}

/// What ends do not have in JSON.
fn on_its_own(value: Value<'_>, host: &mut Host, out: &mut Line) {
    match value {
        Value::Signed(number) => out.signed(number),
        Value::TcpFlags(flags) => quoted(out, |out| tcp_flags(flags, out)),
        Value::Command(name) => put(&name.text(), out),
        Value::Endpoint(address, port) => {
            quoted(out, |out| whole_endpoint(address, port, host, out));
        }
        Value::Moment(ns) => quoted(out, |out| out.text(&host.clock.timestamp(ns))),
        Value::Netns(inode) => name(host.names.netns(inode), inode, out),
        Value::Owner(uid, cgroup) => {
            most_telling(uid, cgroup, &mut host.names, |telling| {
                match (telling, uid) {
                    (telling, Some(uid)) => name(telling, uid, out),
                    (telling, None) => put(&telling, out),
                }
            });
        }
        Value::UserName(uid) => put(&host.names.user(uid), out),
        Value::NetnsName(inode) => put(&host.names.netns(inode), out),
        Value::Cgroup(id, fact) => put(&cgroup(id, fact, &mut host.names), out),
        Value::Reasons(ended) => put(&Totals(ended), out),
        Value::Gaps(gaps) => put(gaps, out),
        Value::Causes(causes) => put(&CauseObject::all(causes), out),
        Value::Note(report) => {
            let mut text = Line::new();
            note::put(report, &mut text);
            put(&String::from_utf8_lossy(text.as_bytes()), out);
        }
        Value::Unknown
        | Value::Flag(_)
        | Value::Number(_)
        | Value::Duration(_)
        | Value::Word(_)
        | Value::Said { .. }
        | Value::Address(_) => {}
    }
}

/// For what is not on the hot path: a closure may end up as a call.
#[inline]
fn quoted(out: &mut Line, write: impl FnOnce(&mut Line)) {
    out.byte(b'"');
    write(out);
    out.byte(b'"');
}

/// A name may hold anything, so it is escaped.
fn name(name: Option<&Text>, number: u32, out: &mut Line) {
    match name {
        Some(name) => put(name, out),
        None => quoted(out, |out| out.number(number.into())),
    }
}

/// Serializes what cannot fail: maps here have string keys, and numbers are finite.
pub(super) fn put(value: &(impl Serialize + ?Sized), out: &mut Line) {
    out.text(&serde_json::to_string(value).unwrap_or_default());
}

/// A ratio of whole µs, so that times look the same in all objects.
pub(super) fn ms(ns: u64) -> f64 {
    ((ns + 500) / 1_000) as f64 / 1e3
}

/// The last line.
pub(super) fn summary(summary: &Summary, out: &mut Line) {
    put(&SummaryObject::new(summary), out);
    out.byte(b'\n');
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
    overflows: Overflows,
    refusals: Option<Refusals>,
    port_failures: Option<PortFailures>,
    unasked: u64,
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
    reported: Option<u64>,
    lost: Option<RingObject>,
}

#[derive(Serialize)]
struct PortFailures {
    seen: u64,
    reported: u64,
    limited: u64,
    lost: MissedObject,
    calls: Calls,
}

#[derive(Serialize)]
struct Overflows {
    seen: u64,
    reported: u64,
    lost: MissedObject,
}

#[derive(Serialize)]
struct Refusals {
    seen: u64,
    reported: u64,
    limited: u64,
    lost: RingObject,
    syns: u64,
    classes: Classes,
    verdict_differs: u64,
}

/// What each class alone can lose; losses in common are given with the ends.
#[derive(Serialize)]
struct RingObject {
    ring: u64,
}

/// For classes whose programs may be skipped without casting doubt on the others.
#[derive(Serialize)]
struct MissedObject {
    ring: u64,
    missed: u64,
}

#[derive(Serialize)]
struct LostObject {
    ring: u64,
    map: u64,
    mark_lost: u64,
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
            refused,
            refused_syns,
            port_failures,
            verdict_differs,
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
            counters: Counters(books.kernel.as_ref().map_or(&[], |kernel| &kernel.rows)),
            agree: books.agrees(),
            complete: summary.complete(),
            overflows: books.overflows.into(),
            refusals: books.refusals.map(|class| Refusals {
                seen: class.seen,
                reported: class.reported,
                limited: class.limited,
                lost: RingObject::of(class),
                syns: *refused_syns,
                classes: Classes(*refused),
                verdict_differs: *verdict_differs,
            }),
            port_failures: books.port_failures.map(|class| PortFailures {
                seen: class.seen,
                reported: class.reported,
                limited: class.limited,
                lost: MissedObject::of(class),
                calls: Calls(*port_failures),
            }),
            unasked: books.ends.unasked,
            births: Births {
                fin_wait_2: *born_fin_wait_2,
                time_wait: *born_time_wait,
                reported: books.births.map(|class| class.reported),
                lost: books.births.map(RingObject::of),
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

impl From<Class> for Overflows {
    fn from(class: Class) -> Self {
        Self {
            seen: class.seen,
            reported: class.reported,
            lost: MissedObject::of(class),
        }
    }
}

impl MissedObject {
    fn of(class: Class) -> Self {
        Self {
            ring: class.lost.ring,
            missed: class.lost.missed.unwrap_or(0),
        }
    }
}

impl RingObject {
    fn of(class: Class) -> Self {
        Self {
            ring: class.lost.ring,
        }
    }
}

impl From<Lost> for LostObject {
    fn from(lost: Lost) -> Self {
        let Lost {
            ring,
            map,
            marks,
            missed,
        } = lost;
        Self {
            ring,
            map,
            mark_lost: marks,
            missed,
        }
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

/// `{"time-wait by paws": 12, …}` with every class.
struct Classes([u64; CLASSES]);

impl Serialize for Classes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let each = RefusalClass::ALL.into_iter().zip(self.0);
        serializer.collect_map(each.map(|(class, count)| (class.name(), count)))
    }
}

/// `{"connect": 12, "bind": 0}`.
struct Calls([u64; CALLS]);

impl Serialize for Calls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let each = Call::ALL.into_iter().zip(self.0);
        serializer.collect_map(each.map(|(call, count)| (call.name(), count)))
    }
}

/// The rows of the comparison.
struct Counters<'a>(&'a [Row]);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object {
            netns: u32,
            name: &'static str,
            kernel: Option<u64>,
            expected: u64,
            agree: Option<bool>,
            why: Option<&'static str>,
        }
        serializer.collect_seq(self.0.iter().map(|row| {
            Object {
                netns: row.netns,
                name: row.counter.name(),
                kernel: row.kernel.ok(),
                expected: row.expected,
                agree: row.agree,
                why: row
                    .kernel
                    .err()
                    .map(Unread::name)
                    .or(row.doubt.map(Doubt::name)),
            }
        }))
    }
}
