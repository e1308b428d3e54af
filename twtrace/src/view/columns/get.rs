//! Facts of an event, whichever kind it is.

use twtrace_common::tcp::{ACK, FIN, PSH, RST, SYN};

use super::{CgroupFact, Value};
use crate::event::{Call, Family, Flow, Numbers, PortFailure, Room, Stage};
use crate::model::conflicts::Outcome;
use crate::model::{Conflict, Life, Refused, Report};

impl Value<'_> {
    pub(super) fn number(value: impl Into<u64>) -> Self {
        Self::Number(value.into())
    }
}

/// A value, or unknown.
#[inline(always)]
pub(super) fn known<'r, T>(fact: Option<T>, value: impl FnOnce(T) -> Value<'r>) -> Value<'r> {
    fact.map_or(Value::Unknown, value)
}

#[inline(always)]
pub(super) fn flow(report: &Report) -> &Flow {
    match report {
        Report::End(life) => &life.end.flow,
        Report::Overflow(overflow) => &overflow.flow,
        Report::Refusal(refused) => &refused.refusal.flow,
        Report::PortFailure(failure) => &failure.flow,
        Report::Reopen(reopen) => &reopen.life.end.flow,
        Report::Conflict(conflict) => &conflict.flow,
    }
}

#[inline(always)]
pub(super) fn family(report: &Report) -> &'static str {
    match flow(report).family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
        Family::Ipv4Mapped => "ipv4-mapped",
    }
}

pub(super) fn owner(report: &Report) -> Value<'_> {
    match flow(report) {
        Flow {
            uid: None,
            cgroup: None,
            ..
        } => Value::Unknown,
        flow => Value::Owner(flow.uid, flow.cgroup),
    }
}

pub(super) fn cgroup(report: &Report, fact: CgroupFact) -> Value<'_> {
    known(flow(report).cgroup, |id| Value::Cgroup(id, fact))
}

#[inline(always)]
pub(super) fn end(report: &Report) -> Option<&Life> {
    match report {
        Report::End(life) => Some(life),
        _ => None,
    }
}

pub(super) fn refusal(report: &Report) -> Option<&Refused> {
    match report {
        Report::Refusal(refused) => Some(refused),
        _ => None,
    }
}

pub(super) fn port_failure(report: &Report) -> Option<&PortFailure> {
    match report {
        Report::PortFailure(failure) => Some(failure),
        _ => None,
    }
}

/// The local port; a call that found none has none.
#[inline(always)]
pub(super) fn lport(report: &Report) -> Option<u16> {
    match report {
        Report::PortFailure(failure) if !failure.port_given => None,
        other => Some(flow(other).lport),
    }
}

/// The flow if it has a remote end; that of a bind() has none.
#[inline(always)]
pub(super) fn connected(report: &Report) -> Option<&Flow> {
    match report {
        Report::PortFailure(failure) if failure.call == Call::Bind => None,
        other => Some(flow(other)),
    }
}

pub(super) fn errno(failure: &PortFailure) -> Value<'_> {
    match failure.errno {
        EADDRINUSE => Value::Word("EADDRINUSE"),
        EADDRNOTAVAIL => Value::Word("EADDRNOTAVAIL"),
        _ => Value::Unknown,
    }
}

// As on every architecture of Linux but three old ones; recordings do not depend on who reads.
const EADDRINUSE: u32 = 98;
const EADDRNOTAVAIL: u32 = 99;

pub(super) fn conflict(report: &Report) -> Option<&Conflict> {
    match report {
        Report::Conflict(conflict) => Some(conflict),
        _ => None,
    }
}

pub(super) fn stage(report: &Report) -> Option<Stage> {
    match report {
        Report::Refusal(refused) => Some(refused.refusal.stage),
        Report::Conflict(conflict) => Some(conflict.stage),
        _ => None,
    }
}

/// When it happened.
#[inline(always)]
pub(super) fn at_ns(report: &Report) -> u64 {
    match report {
        Report::End(life) => life.end.ended_ns,
        Report::Overflow(overflow) => overflow.at_ns,
        Report::Refusal(refused) => refused.refusal.at_ns,
        Report::PortFailure(failure) => failure.at_ns,
        Report::Reopen(reopen) => reopen.life.end.ended_ns,
        Report::Conflict(conflict) => conflict.at_ns,
    }
}

#[inline(always)]
pub(super) fn time_wait_ns(report: &Report) -> Option<u64> {
    match report {
        Report::End(life) => life.time_wait_ns,
        Report::Refusal(refused) => refused.time_wait_ns,
        Report::Reopen(reopen) => reopen.life.time_wait_ns,
        Report::Overflow(_) | Report::PortFailure(_) | Report::Conflict(_) => None,
    }
}

pub(super) fn room(report: &Report) -> Option<&Room> {
    match report {
        Report::Overflow(overflow) => overflow.room.as_ref(),
        _ => None,
    }
}

/// Of the segment that was refused, or of the SYN that was accepted.
pub(super) fn numbers(report: &Report) -> Option<&Numbers> {
    match report {
        Report::Refusal(refused) => Some(&refused.refusal.numbers),
        Report::Reopen(reopen) => reopen.life.end.accepted.as_ref(),
        _ => None,
    }
}

pub(super) fn gap(report: &Report) -> Option<i32> {
    match report {
        Report::Refusal(refused) => refused.gap,
        Report::Reopen(reopen) => reopen.life.gap(),
        _ => None,
    }
}

pub(super) fn seq_gap(report: &Report) -> Option<i32> {
    match report {
        Report::Refusal(refused) => refused.seq_gap,
        Report::Reopen(reopen) => reopen.seq_gap,
        _ => None,
    }
}

pub(super) fn delay_ns(report: &Report) -> Option<u64> {
    match report {
        Report::Reopen(reopen) => reopen.life.refusing_ns(),
        Report::Conflict(conflict) => conflict.delay_ns,
        _ => None,
    }
}

/// The word for what happened.
#[inline(always)]
pub(super) fn what(report: &Report) -> Value<'_> {
    match report {
        Report::End(life) => Value::Word(life.end.reason.name()),
        Report::Overflow(_) => Value::Word("overflow"),
        Report::Refusal(refused) => Value::Said {
            person: refused_segment(refused),
            machine: "refused",
        },
        Report::PortFailure(_) => Value::Said {
            person: "NO PORT",
            machine: "no-port",
        },
        Report::Reopen(_) => Value::Said {
            person: "accepted SYN",
            machine: "syn-reopened",
        },
        Report::Conflict(conflict) => Value::Said {
            person: match conflict.outcome {
                Outcome::Stuck => "STUCK",
                Outcome::GaveUp => "gave up",
                outcome => outcome.name(),
            },
            machine: conflict.outcome.name(),
        },
    }
}

/// By the flag that matters most. Whether an ACK carries data is not known; it mostly does if it
/// is pushed.
fn refused_segment(refused: &Refused) -> &'static str {
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
