//! The last column of text: what else is worth knowing about an event, in words.

use std::net::SocketAddr;

use super::line::Line;
use super::units::{self, count, thousands};
use crate::event::found::LiveConnection;
use crate::event::{Call, Overflow, PortFailure, Refusal, Reply, Room, Rule, Stage};
use crate::model::conflicts::{Outcome, StuckBy};
use crate::model::{Conflict, Life, Refused, Report};

/// Writes nothing if there is nothing to add.
pub(super) fn put(report: &Report, out: &mut Line) {
    match report {
        Report::End(life) => of_life(life, out),
        Report::Overflow(overflow) => of_overflow(overflow, out),
        Report::Refusal(refused) => {
            of_refusal(refused, out);
            answer(&refused.refusal, out);
        }
        Report::PortFailure(failure) => of_port_failure(failure, out),
        Report::Reopen(reopen) => of_life(&reopen.life, out),
        Report::Conflict(conflict) => of_conflict(conflict, out),
    }
}

fn of_overflow(overflow: &Overflow, out: &mut Line) {
    let Some(Room { alive, limit }) = overflow.room else {
        return out.text("closed without TIME_WAIT: tcp_max_tw_buckets reached, or no memory");
    };
    let [there, may_be] = [alive, limit].map(|number| thousands(number.into()));
    if alive < limit {
        write!(
            out,
            "closed without TIME_WAIT: {there} of {may_be} (tcp_max_tw_buckets) in use, so no memory, or one has just ended"
        );
    } else {
        write!(
            out,
            "closed without TIME_WAIT: limit reached (tcp_max_tw_buckets = {may_be})"
        );
    }
}

fn of_life(life: &Life, out: &mut Line) {
    const SEPARATOR: &str = ", ";
    let start = out.length();
    if let Some(gap) = life.gap() {
        let plural = if gap.unsigned_abs() == 1 { "" } else { "s" };
        write!(out, "TSval {} tick{plural}{SEPARATOR}", signed(gap));
    }
    if life.end.refused > 0 {
        write!(
            out,
            "after {}",
            count(life.end.refused.into(), "refused SYN")
        );
        if let Some(ns) = life.refusing_ns() {
            out.text(", the first ");
            units::duration(ns, out);
            out.text(" earlier");
        }
        out.text(SEPARATOR);
    }
    match life.end.rearms {
        0 => {}
        1 => write!(out, "re-armed once{SEPARATOR}"),
        n => write!(out, "re-armed {n} times{SEPARATOR}"),
    }
    match life.preexisting {
        Some(false) => {}
        Some(true) => write!(out, "older than the trace{SEPARATOR}"),
        None => write!(out, "birth not seen{SEPARATOR}"),
    }
    if out.length() > start {
        out.truncate(out.length() - SEPARATOR.len());
    }
}

fn of_refusal(refused: &Refused, out: &mut Line) {
    let refusal = &refused.refusal;
    match refusal.stage {
        Stage::TimeWait | Stage::Recycle => {}
        Stage::FinWait2 => out.text("in FIN_WAIT2: "),
        Stage::SynRecv => out.text("in SYN_RECV: "),
        Stage::Established => on_a_live_connection(refused, out),
        Stage::SynSent => out.text("in SYN_SENT: "),
    }
    match refusal.rule {
        Rule::Paws => behind(refused, out),
        Rule::OldSequence => old_sequence(refused, out),
        Rule::OutOfWindow => {
            out.text("outside the window");
            if let Some(bytes) = refused.seq_gap {
                write!(out, ", {} bytes from rcv_nxt", signed(bytes));
            }
        }
        Rule::Rfc1337 => out.text("RST ignored because of tcp_rfc1337"),
        Rule::Unexpected => out.text(if refusal.is_syn() {
            "a new SYN while waiting for the FIN"
        } else {
            "data that nobody can read any more"
        }),
        Rule::Challenge => out.text("a SYN is challenged whatever its numbers"),
        Rule::Echo => out.text("it echoes a timestamp that was never sent"),
    }
}

/// `on a live connection (CLOSE_WAIT, uid 33): `.
fn on_a_live_connection(refused: &Refused, out: &mut Line) {
    out.text("on a live connection");
    match refused.live {
        None => {}
        Some(LiveConnection {
            state,
            uid: Some(uid),
        }) => write!(out, " ({state}, uid {uid})"),
        Some(LiveConnection { state, uid: None }) => write!(out, " ({state}, held by no process)"),
    }
    out.text(": ");
}

/// `TSval is 552,395,288 ticks behind ts_recent (0 s old)`.
fn behind(refused: &Refused, out: &mut Line) {
    match refused.gap {
        Some(gap) => write!(
            out,
            "TSval is {} behind ts_recent",
            count(gap.unsigned_abs().into(), "tick")
        ),
        None => out.text("TSval is behind ts_recent"),
    }
    if let Some(seconds) = refused.refusal.ts_recent_age_s {
        write!(out, " ({} s old)", thousands(seconds.into()));
    }
}

/// `ISN is 12,345 bytes before rcv_nxt, no newer TSval`.
fn old_sequence(refused: &Refused, out: &mut Line) {
    let syn = refused.refusal.is_syn();
    let what = if syn { "ISN" } else { "sequence number" };
    match refused.seq_gap {
        Some(0) => write!(out, "{what} is rcv_nxt itself, not beyond it"),
        Some(bytes) if bytes < 0 => write!(
            out,
            "{what} is {} before rcv_nxt",
            count(bytes.unsigned_abs().into(), "byte")
        ),
        _ => write!(out, "{what} is not beyond rcv_nxt"),
    }
    if syn {
        out.text(match refused.refusal.numbers.tsval {
            Some(_) => ", no newer TSval",
            None => ", no timestamp",
        });
    }
}

fn of_conflict(conflict: &Conflict, out: &mut Line) {
    match (conflict.outcome, conflict.delay_ns) {
        (Outcome::Recovered, Some(ns)) => write!(
            out,
            "after {} and {}: the client's RST ended the {}, its next SYN can pass",
            units::span(ns),
            count(conflict.syns.into(), "SYN"),
            substate(conflict.stage)
        ),
        (Outcome::Reopened, Some(ns)) => write!(
            out,
            "accepted after {} and {}",
            units::span(ns),
            count(conflict.syns.into(), "refused SYN")
        ),
        (Outcome::Stuck, _) => {
            write!(out, "{} refused over ", count(conflict.syns.into(), "SYN"));
            units::duration(conflict.span_ns, out);
            out.text(match conflict.stuck_by {
                Some(StuckBy::Rfc1337) => ": the client's RST is ignored because of tcp_rfc1337",
                Some(StuckBy::WrongRst) => ": a RST came, but with the wrong numbers",
                Some(StuckBy::NoRst) => {
                    ": no RST answered the ACKs; a firewall or NAT drops the ACK or the RST"
                }
                None => "",
            });
        }
        (Outcome::GaveUp, _) if conflict.turned_away => write!(
            out,
            "{} refused, the last with a RST: its client was told that nobody listens, and the {} ended",
            count(conflict.syns.into(), "SYN"),
            substate(conflict.stage)
        ),
        (Outcome::GaveUp, _) => write!(
            out,
            "{} refused, then no more until the {} ended",
            count(conflict.syns.into(), "SYN"),
            substate(conflict.stage)
        ),
        (_, _) => write!(
            out,
            "{} refused; the outcome was not seen",
            count(conflict.syns.into(), "SYN")
        ),
    }
}

/// Of a mini-socket.
fn substate(stage: Stage) -> &'static str {
    match stage {
        Stage::FinWait2 => "FIN_WAIT2",
        _ => "TIME_WAIT",
    }
}

/// `connect() of php-fpm (8123): no port free for 10.0.0.30:5432; 27,902 candidates held by
/// TIME_WAIT only`.
fn of_port_failure(failure: &PortFailure, out: &mut Line) {
    write!(out, "{}() of ", failure.call.name());
    out.text(&failure.command.text());
    write!(out, " ({}): ", failure.pid);
    let flow = &failure.flow;
    if failure.port_given {
        write!(out, "port {} is taken", flow.lport);
    } else {
        out.text("no port free");
    }
    if failure.call == Call::Bind {
        return;
    }
    write!(out, " for {}", SocketAddr::new(flow.raddr, flow.rport));
    if failure.port_given && failure.time_wait > 0 {
        out.text(", by TIME_WAIT");
    } else if !failure.port_given {
        write!(
            out,
            "; {} held by TIME_WAIT only",
            count(failure.time_wait.into(), "candidate")
        );
    }
}

/// ` → ACK, re-armed`.
fn answer(refusal: &Refusal, out: &mut Line) {
    match refusal.reply {
        Some(Reply::None) => out.text(" → nothing"),
        Some(Reply::Ack) => out.text(" → ACK"),
        Some(Reply::RateLimited) => out.text(" → nothing (rate limit)"),
        Some(Reply::Rst) => out.text(" → RST"),
        None => {}
    }
    if refusal.rearmed {
        out.text(", re-armed");
    }
}

/// `+2,113`, `−5`.
pub(super) fn signed(value: i32) -> String {
    let sign = if value < 0 { '−' } else { '+' };
    format!("{sign}{}", thousands(value.unsigned_abs().into()))
}
