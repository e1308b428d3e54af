//! What a sysctl does and what a counter counts, in a sentence.

use crate::event::TsOffset;
use crate::event::facts::{Setting, Value};
use crate::model::doctor::{Counts, Effect, ReuseAge};
use crate::view::units::count;

/// From when on a TIME_WAIT may be taken over.
pub(super) fn age(age: ReuseAge) -> String {
    match age {
        ReuseAge::NextSecond => "from the next full second on".to_owned(),
        ReuseAge::Ms(ms) if ms % 1000 == 0 => format!("older than {} s", ms / 1000),
        ReuseAge::Ms(ms) => format!("older than {ms} ms"),
    }
}

/// `1000 ms`, `32768-60999`, `none`.
pub(super) fn value(value: &Value, unit: &str) -> String {
    match value {
        Value::Number(number) if unit.is_empty() => number.to_string(),
        Value::Number(number) => format!("{number} {unit}"),
        Value::Ports(ports) if ports.is_empty() => "none".to_owned(),
        Value::Ports(ports) => {
            let range = |&(low, high): &(u16, u16)| {
                if low == high {
                    low.to_string()
                } else {
                    format!("{low}-{high}")
                }
            };
            ports.iter().map(range).collect::<Vec<_>>().join(",")
        }
    }
}

/// The default, if it is another than the value.
pub(super) fn other_default(setting: &Setting) -> Option<String> {
    let default = setting.default.as_ref()?;
    (*default != setting.value).then(|| value(default, &setting.unit))
}

pub(super) fn effect(effect: Effect) -> String {
    match effect {
        Effect::ReuseOff => "connect() does not reuse TIME_WAIT sockets".to_owned(),
        Effect::ReuseAll(from) => format!(
            "connect() may reuse a TIME_WAIT socket {} (needs timestamps); no effect on incoming connections",
            age(from)
        ),
        Effect::ReuseLoopback(from) => format!(
            "connect() may reuse a TIME_WAIT socket {} (loopback only; needs timestamps)",
            age(from)
        ),
        Effect::ReuseNeedsTimestamps => "does nothing, because timestamps are off".to_owned(),
        Effect::ReuseDelay(ms) => {
            format!("tcp_tw_reuse leaves a TIME_WAIT alone for its first {ms} ms")
        }
        Effect::ReuseDelayUnused => "does nothing, because tcp_tw_reuse has no effect".to_owned(),
        Effect::ReuseDelayAbsent => {
            "not on this kernel: tcp_tw_reuse counts full seconds".to_owned()
        }
        Effect::RecycleOn => {
            "drops SYNs of hosts behind a NAT whose clocks differ".to_owned()
        }
        Effect::RecycleOff => "off; leave it so".to_owned(),
        Effect::RecycleAbsent => "not on this kernel (removed in Linux 4.12)".to_owned(),
        Effect::TimestampsOff => "off: no tcp_tw_reuse, no protection from old segments".to_owned(),
        Effect::TimestampsOn(Some(TsOffset::Ports)) => {
            "on; a clock per connection, so that behind a NAT that rewrites ports this host's SYNs may look old to a server".to_owned()
        }
        Effect::TimestampsOn(Some(TsOffset::Addresses)) => {
            "on; one clock per pair of hosts, whatever the ports".to_owned()
        }
        Effect::TimestampsOn(None) => "on; what is hashed into the clock is not known".to_owned(),
        Effect::TimestampsWithoutOffset => {
            "on, with one clock for all peers; it tells them the uptime".to_owned()
        }
        Effect::Limit => {
            "limit of TIME_WAIT and FIN_WAIT2 sockets in this namespace".to_owned()
        }
        Effect::FinTimeout => "how long a closed socket waits in FIN_WAIT2 for the peer's close; not TIME_WAIT".to_owned(),
        Effect::FinTimeoutLong => {
            "how long a closed socket waits in FIN_WAIT2 for the peer's close, beyond 60 s as a full socket; not TIME_WAIT".to_owned()
        }
        Effect::RstEndsTimeWait => "a RST with the exact sequence number ends a TIME_WAIT".to_owned(),
        Effect::RstIgnored => "a RST does not end a TIME_WAIT: refused clients stay out".to_owned(),
        Effect::AnswerEvery(ms) => {
            format!("a refused SYN gets an answer at most every {ms} ms per connection")
        }
        Effect::AnswerAll => "every refused SYN gets an answer".to_owned(),
        Effect::Range(usable) => format!(
            "connect() has {} for each source address, destination address and port",
            count(usable.into(), "port")
        ),
        Effect::NoneReserved => "no ports are reserved".to_owned(),
        Effect::Reserved => "connect() does not use these ports".to_owned(),
        Effect::StepAbsent => "not on this kernel".to_owned(),
        Effect::StepOff => {
            "off: connect() goes through the ports in order, every second one first".to_owned()
        }
        Effect::StepOn => {
            "connect() steps through the ports by a random amount up to this; it tries all of them".to_owned()
        }
        Effect::AutobindOff => "bind() to port 0 gives out free ports only".to_owned(),
        Effect::AutobindOn => "bind() to port 0 with SO_REUSEADDR may share a port".to_owned(),
        Effect::CookiesOff => "off: a full queue of SYNs drops new ones".to_owned(),
        Effect::CookiesWhenFull => "a full queue of SYNs is answered by cookies".to_owned(),
        Effect::CookiesAlways => "every SYN is answered by a cookie".to_owned(),
    }
}

/// What a counter of refused segments counts, whatever the kernel.
pub(super) fn counted(name: &str) -> &'static str {
    let counted = match name {
        "TCPACKSkippedTimeWait" => Counts::UnansweredTimeWait,
        "TCPACKSkippedFinWait2" => Counts::UnansweredFinWait2,
        "TCPACKSkippedPAWS" => Counts::UnansweredAlive,
        "TCPSYNChallenge" => Counts::SynsOnAlive,
        "PAWSTimewait" => Counts::RefusedInTimeWait,
        _ => return "segments refused for an older timestamp",
    };
    counts(counted)
}

pub(super) fn counts(counts: Counts) -> &'static str {
    match counts {
        Counts::Births => "closed connections that began to wait (FIN_WAIT2 or TIME_WAIT)",
        Counts::Expiries => {
            "closed connections whose wait ran out: this kernel counts them at the end"
        }
        Counts::BirthsOrExpiries => {
            "closed connections that wait, counted at the beginning or at the end"
        }
        Counts::ShortBirths => "closed connections that began to wait for no more than 4 s",
        Counts::ShortExpiries => "closed connections whose wait of no more than 4 s ran out",
        Counts::Short => "closed connections that wait no more than 4 s",
        Counts::TakenOver => "TIME_WAIT sockets that connect() took over",
        Counts::Overflows => "connections that ended without TIME_WAIT, for lack of room or memory",
        Counts::RefusedInTimeWait => "segments refused in TIME_WAIT for an older timestamp",
        Counts::RefusedAnywhere => {
            "segments refused for an older timestamp, in TIME_WAIT and on live connections"
        }
        Counts::RefusedAlive => {
            "segments refused for an older timestamp on live or opening connections"
        }
        Counts::OldAcks => "old ACKs without data, dropped without an answer; harmless",
        Counts::WrongEcho => "answers to our SYNs that echoed a timestamp never sent",
        Counts::OddEcho => "last ACKs of a handshake that echoed a timestamp never sent",
        Counts::RefusedByRecycle => "SYNs that tcp_tw_recycle dropped without an answer",
        Counts::UnansweredTimeWait => {
            "refused segments that TIME_WAIT did not answer (tcp_invalid_ratelimit)"
        }
        Counts::UnansweredFinWait2 => {
            "refused segments that FIN_WAIT2 did not answer (tcp_invalid_ratelimit)"
        }
        Counts::UnansweredAlive => {
            "segments refused by timestamp on live connections and not answered"
        }
        Counts::UnansweredSynRecv => {
            "segments that opening connections did not answer, repeated SYNs included"
        }
        Counts::SynsOnAlive => "SYNs on live connections; answered by a challenge ACK",
        Counts::SynsAgain => "SYNs and SYN-ACKs that had to be sent again",
        Counts::ListenDrops => "connection attempts that a listener dropped",
        Counts::ListenOverflows => {
            "connection attempts dropped because a queue for accept() was full"
        }
        Counts::QueueDrops => "SYNs dropped because the queue of SYNs was full",
        Counts::ClosedByReset => {
            "connections closed by a reset: SO_LINGER 0, or data after close()"
        }
        Counts::ActiveOpens => "connections opened from this side",
        Counts::PassiveOpens => "connections accepted",
    }
}
