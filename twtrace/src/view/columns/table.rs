//! The rows of the table, and the walk over those of the schema.

use super::{Align, Column, Of, Show, Shown, Value};
use crate::event::{BornAs, Family, Flow};
use crate::model::{Life, Refused, Report};

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

        /// Shows what the schema has for one kind of event: which columns, is known when compiled.
        #[inline(always)]
        fn walk<const EVENT: u8>(report: &Report, show: &mut impl Show) {
            $(if const { in_schema($shown, $of, EVENT) } {
                let get: fn(&Report) -> Value<'_> = $get;
                show.show(concat!(",\"", stringify!($key), "\":"), get(report));
            })*
        }
    };
}

const fn in_schema(shown: Shown, of: Of, event: u8) -> bool {
    !matches!(shown, Shown::Text) && of.0 & event != 0
}

/// Shows what the schema has for this event.
#[inline(always)]
pub(in crate::view) fn each_of_schema(report: &Report, show: &mut impl Show) {
    match report {
        Report::End(_) => walk::<{ Of::END.0 }>(report, show),
        Report::Overflow(_) => walk_apart::<{ Of::OVERFLOW.0 }>(report, show),
        Report::Refusal(_) => walk_apart::<{ Of::REFUSAL.0 }>(report, show),
    }
}

/// Out of the way of the ends, which are many more.
#[inline(never)]
fn walk_apart<const EVENT: u8>(report: &Report, show: &mut impl Show) {
    walk::<EVENT>(report, show);
}

columns! {
    event {
        header: "EVENT",
        width: 8,
        align: Align::Left,
        unit: "",
        doc: "what happened; always there in JSON, after the schema version `v`",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Word(Of::of(report).name()),
    }
    reason {
        header: "END",
        width: 18,
        align: Align::Left,
        unit: "",
        doc: "why the mini-socket ended; in CSV `overflow` if there was none, `refused` if it goes on; in text `REFUSED SYN` and the like",
        of: Of::END,
        shown: Shown::Everywhere,
        get: |report| match report {
            Report::End(life) => Value::Word(life.end.reason.name()),
            Report::Overflow(_) => Value::Word("overflow"),
            Report::Refusal(refused) => Value::Said {
                person: what_was_refused(refused),
                machine: "refused",
            },
        },
    }
    stage {
        header: "STAGE",
        width: 11,
        align: Align::Left,
        unit: "",
        doc: "what refused the segment: `time-wait`, `fin-wait-2`, `syn-recv`, `established`, `syn-sent`; `recycle` is for kernels up to 4.11",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| Some(Value::Word(refused.refusal.stage.name()))),
    }
    rule {
        header: "RULE",
        width: 13,
        align: Align::Left,
        unit: "",
        doc: "why; see the list of rules",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| Some(Value::Word(refused.refusal.rule.name()))),
    }
    syn {
        header: "SYN",
        width: 3,
        align: Align::Left,
        unit: "",
        doc: "a SYN that opens a connection (no ACK)",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| Some(Value::Flag(refused.refusal.is_syn()))),
    }
    flags {
        header: "FLAGS",
        width: 11,
        align: Align::Left,
        unit: "",
        doc: "of the TCP header: `FIN`, `SYN`, `RST`, `PSH`, `ACK`, `URG`, `ECE`, `CWR`, joined by `|`",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| {
            of_refusal(report, |refused| Some(Value::TcpFlags(refused.refusal.tcp_flags)))
        },
    }
    family {
        header: "FAMILY",
        width: 11,
        align: Align::Left,
        unit: "",
        doc: "`ipv4`, `ipv6`, or `ipv4-mapped` for IPv4 on the wire and an IPv6 socket",
        of: Of::ALL,
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
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Address(flow(report).laddr),
    }
    lport {
        header: "LPORT",
        width: 5,
        align: Align::Right,
        unit: "",
        doc: "local port",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Number(flow(report).lport.into()),
    }
    raddr {
        header: "RADDR",
        width: 15,
        align: Align::Left,
        unit: "",
        doc: "remote address, as on the wire",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Address(flow(report).raddr),
    }
    rport {
        header: "RPORT",
        width: 5,
        align: Align::Right,
        unit: "",
        doc: "remote port",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Number(flow(report).rport.into()),
    }
    netns {
        header: "NETNS",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "network namespace: its inode number",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Number(flow(report).netns.into()),
    }
    uid {
        header: "UID",
        width: 6,
        align: Align::Right,
        unit: "",
        doc: "owner of the full socket",
        of: Of::END.and(Of::OVERFLOW),
        shown: Shown::Data,
        get: |report| number(flow(report).uid),
    }
    cgroup {
        header: "CGROUP",
        width: 8,
        align: Align::Right,
        unit: "",
        doc: "cgroup id of the full socket",
        of: Of::END.and(Of::OVERFLOW),
        shown: Shown::Data,
        get: |report| number(flow(report).cgroup),
    }
    born_as {
        header: "BORN AS",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "substate at birth: `fin-wait-2` or `time-wait`",
        of: Of::END,
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
        of: Of::END,
        shown: Shown::Data,
        get: |report| of_life(report, |life| life.end.born_ns.map(Value::Number)),
    }
    time_wait_ns {
        header: "PROMOTED",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "entry into TIME_WAIT, CLOCK_MONOTONIC",
        of: Of::END,
        shown: Shown::Data,
        get: |report| of_life(report, |life| life.end.time_wait_ns.map(Value::Number)),
    }
    ended_ns {
        header: "ENDED",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "end, CLOCK_MONOTONIC",
        of: Of::END,
        shown: Shown::Data,
        get: |report| of_life(report, |life| Some(Value::Number(life.end.ended_ns))),
    }
    at_ns {
        header: "AT",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "when it happened (of an end: `ended_ns`), CLOCK_MONOTONIC",
        of: Of::OVERFLOW.and(Of::REFUSAL),
        shown: Shown::Data,
        get: |report| match report {
            Report::End(_) => Value::Unknown,
            Report::Overflow(overflow) => Value::Number(overflow.at_ns),
            Report::Refusal(refused) => Value::Number(refused.refusal.at_ns),
        },
    }
    fin_wait_2_ms {
        header: "FW2",
        width: 8,
        align: Align::Right,
        unit: "ms",
        doc: "time in substate FIN_WAIT2; null also if it was born in TIME_WAIT",
        of: Of::END,
        shown: Shown::Everywhere,
        get: |report| of_life(report, |life| life.fin_wait_2_ns.map(Value::Duration)),
    }
    time_wait_ms {
        header: "TIME_WAIT",
        width: 9,
        align: Align::Right,
        unit: "ms",
        doc: "time in substate TIME_WAIT; null also if it ended in FIN_WAIT2; of a refusal, in text and CSV, so far",
        of: Of::END,
        shown: Shown::Everywhere,
        get: |report| {
            let time_wait_ns = match report {
                Report::End(life) => life.time_wait_ns,
                Report::Overflow(_) => None,
                Report::Refusal(refused) => refused.time_wait_ns,
            };
            time_wait_ns.map_or(Value::Unknown, Value::Duration)
        },
    }
    rearms {
        header: "REARMS",
        width: 6,
        align: Align::Right,
        unit: "",
        doc: "timer restarts in TIME_WAIT that were seen",
        of: Of::END,
        shown: Shown::Data,
        get: |report| of_life(report, |life| Some(Value::Number(life.end.rearms.into()))),
    }
    preexisting {
        header: "PREEXISTING",
        width: 11,
        align: Align::Left,
        unit: "",
        doc: "older than the trace; null if its birth may also have been lost",
        of: Of::END,
        shown: Shown::Data,
        get: |report| of_life(report, |life| life.preexisting.map(Value::Flag)),
    }
    tsval {
        header: "TSVAL",
        width: 10,
        align: Align::Right,
        unit: "ticks",
        doc: "timestamp of the segment; null if it had none. A tick is 1 ms on Linux, on others mostly 1 to 10 ms",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| refused.refusal.numbers.tsval.map(unsigned)),
    }
    ts_recent {
        header: "TS_RECENT",
        width: 10,
        align: Align::Right,
        unit: "ticks",
        doc: "last timestamp of the connection; null if it had none",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| refused.refusal.numbers.ts_recent.map(unsigned)),
    }
    gap {
        header: "GAP",
        width: 11,
        align: Align::Right,
        unit: "ticks",
        doc: "`tsval` - `ts_recent` on a circle of 2^32, so from -2147483648 to 2147483647: negative is behind",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| refused.gap.map(signed)),
    }
    ts_recent_age_ms {
        header: "TS_RECENT AGE",
        width: 13,
        align: Align::Right,
        unit: "ms",
        doc: "age of `ts_recent`: whole seconds, since the kernel keeps no more; null where it keeps none",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| refused.ts_recent_age_ms.map(Value::Number)),
    }
    seq_gap {
        header: "SEQ GAP",
        width: 11,
        align: Align::Right,
        unit: "bytes",
        doc: "sequence number (of a SYN: its ISN) - the one expected, on a circle of 2^32: negative is before it; null in `syn-sent`",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| refused.seq_gap.map(signed)),
    }
    ttl {
        header: "TTL",
        width: 3,
        align: Align::Right,
        unit: "",
        doc: "TTL or hop limit of the segment, 1 to 255; null if not known",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| refused.refusal.ttl.map(unsigned)),
    }
    window {
        header: "WINDOW",
        width: 6,
        align: Align::Right,
        unit: "",
        doc: "window in the TCP header, 0 to 65535: bytes of a SYN, to be scaled otherwise",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| Some(unsigned(refused.refusal.window))),
    }
    reply {
        header: "REPLY",
        width: 12,
        align: Align::Left,
        unit: "",
        doc: "what was sent back: `ack`, `rst`, `none`, or `rate-limited`: nothing, because an ACK was sent less than tcp_invalid_ratelimit ago; null if not known",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| {
            of_refusal(report, |refused| {
                refused.refusal.reply.map(|reply| Value::Word(reply.name()))
            })
        },
    }
    rearmed {
        header: "REARMED",
        width: 7,
        align: Align::Left,
        unit: "",
        doc: "it restarted the timer of the TIME_WAIT",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| of_refusal(report, |refused| Some(Value::Flag(refused.refusal.rearmed))),
    }
    time {
        header: "TIME",
        width: 12,
        align: Align::Left,
        unit: "",
        doc: "wall-clock time of the event; with date and zone in JSON and CSV",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| {
            Value::Moment(match report {
                Report::End(life) => life.end.ended_ns,
                Report::Overflow(overflow) => overflow.at_ns,
                Report::Refusal(refused) => refused.refusal.at_ns,
            })
        },
    }
    local {
        header: "LADDR:LPORT",
        width: 21,
        align: Align::Left,
        unit: "",
        doc: "local address and port",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Endpoint(flow(report).laddr, flow(report).lport),
    }
    remote {
        header: "RADDR:RPORT",
        width: 21,
        align: Align::Left,
        unit: "",
        doc: "remote address and port",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Endpoint(flow(report).raddr, flow(report).rport),
    }
    netns_name {
        header: "NETNS",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "network namespace: `host` for that of pid 1, its name in /run/netns, or its inode number",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Netns(flow(report).netns),
    }
    owner {
        header: "OWNER",
        width: 10,
        align: Align::Left,
        unit: "",
        doc: "owner of the full socket: user name, or uid if it has none",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| flow(report).uid.map_or(Value::Unknown, Value::User),
    }
    note {
        header: "NOTE",
        width: 4,
        align: Align::Left,
        unit: "",
        doc: "what else is worth knowing, in words: re-arms, an unseen birth, an overflow, the numbers of a refusal",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Note(report),
    }
}

fn flow(report: &Report) -> &Flow {
    match report {
        Report::End(life) => &life.end.flow,
        Report::Overflow(overflow) => &overflow.flow,
        Report::Refusal(refused) => &refused.refusal.flow,
    }
}

fn number(value: Option<impl Into<u64>>) -> Value<'static> {
    value.map_or(Value::Unknown, unsigned)
}

fn unsigned(value: impl Into<u64>) -> Value<'static> {
    Value::Number(value.into())
}

fn signed(value: i32) -> Value<'static> {
    Value::Signed(value)
}

fn of_life<'r>(report: &'r Report, get: impl FnOnce(&'r Life) -> Option<Value<'r>>) -> Value<'r> {
    match report {
        Report::End(life) => get(life).unwrap_or(Value::Unknown),
        Report::Overflow(_) | Report::Refusal(_) => Value::Unknown,
    }
}

fn of_refusal<'r>(
    report: &'r Report,
    get: impl FnOnce(&'r Refused) -> Option<Value<'r>>,
) -> Value<'r> {
    match report {
        Report::Refusal(refused) => get(refused).unwrap_or(Value::Unknown),
        Report::End(_) | Report::Overflow(_) => Value::Unknown,
    }
}

/// By the flag that matters most. Whether an ACK carries data is not known; it mostly does if it
/// is pushed.
fn what_was_refused(refused: &Refused) -> &'static str {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const PSH: u8 = 8;
    const ACK: u8 = 16;
    match refused.refusal.tcp_flags {
        flags if flags & RST != 0 => "REFUSED RST",
        flags if flags & (SYN | ACK) == SYN | ACK => "REFUSED SYN-ACK",
        flags if flags & SYN != 0 => "REFUSED SYN",
        flags if flags & FIN != 0 => "REFUSED FIN",
        flags if flags & PSH != 0 => "REFUSED data",
        flags if flags & ACK != 0 => "REFUSED ACK",
        _ => "REFUSED segment",
    }
}
