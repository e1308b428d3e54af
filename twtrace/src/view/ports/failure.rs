//! A call that got no port: who called, what holds the port, and what lets bind() in.

use std::net::SocketAddr;

use crate::event::{Call, PortFailure};
use crate::model::ports::{Failed, Holder, Holders, Row, Sight};
use crate::view::cell::Host;
use crate::view::line::Line;
use crate::view::paint::{BAD, Paint};
use crate::view::units::{count, thousands};

/// What is left of connections that were closed.
const CLOSED: &str = "in TIME_WAIT or FIN_WAIT2";

/// `!! 14:07:31 connect() to 10.0.0.30:5432 failed (EADDRNOTAVAIL) for pid 8123 (php-fpm): 28,232
/// candidates, 27,902 held by TIME_WAIT only`.
pub(in crate::view) fn failure(failed: &Failed, paint: Paint, host: &mut Host, out: &mut Line) {
    let PortFailure {
        at_ns,
        pid,
        command,
        errno,
        ..
    } = &failed.failure;
    write!(out, "{} ", paint.on(BAD, "!!"));
    out.slice(&host.clock.time(*at_ns));
    write!(out, " {} failed (", call(&failed.failure));
    match errno {
        98 => out.text("EADDRINUSE"),
        99 => out.text("EADDRNOTAVAIL"),
        other => write!(out, "errno {other}"),
    }
    write!(out, ") for pid {pid} (");
    out.text(&command.text());
    out.text("): ");
    why(failed, out);
    if failed.untold > 0 {
        write!(out, " (and {} more before)", thousands(failed.untold));
    }
    out.byte(b'\n');
}

/// `connect() to 10.0.0.30:5432`.
pub(in crate::view) fn call(failure: &PortFailure) -> String {
    let PortFailure {
        flow,
        call,
        port_given,
        ..
    } = failure;
    let to = match (call, port_given) {
        (Call::Connect, _) => SocketAddr::new(flow.raddr, flow.rport).to_string(),
        (Call::Bind, true) => SocketAddr::new(flow.laddr, flow.lport).to_string(),
        (Call::Bind, false) => flow.laddr.to_string(),
    };
    format!("{}() to {to}", call.name())
}

fn why(failed: &Failed, out: &mut Line) {
    let PortFailure {
        flow,
        call,
        port_given,
        time_wait,
        ..
    } = &failed.failure;
    match (call, port_given) {
        (Call::Connect, true) if *time_wait > 0 => write!(
            out,
            "port {} is taken by a TIME_WAIT without timestamps, and tcp_tw_reuse has no part in it",
            flow.lport
        ),
        (Call::Connect, true) => write!(
            out,
            "port {} is taken by a live connection to the same destination",
            flow.lport
        ),
        (Call::Connect, false) => write!(
            out,
            "{}, {} held by TIME_WAIT only",
            count(failed.candidates.into(), "candidate"),
            thousands((*time_wait).into())
        ),
        (Call::Bind, true) => {
            write!(out, "port {} is taken", flow.lport);
            if let Some(holders) = &failed.holders {
                out.text(": ");
                held(holders, flow.lport, out);
            }
        }
        (Call::Bind, false) => write!(
            out,
            "{} of {} are in use, and bind() takes a port for all destinations; \
             IP_BIND_ADDRESS_NO_PORT leaves the choice to connect()",
            thousands(failed.in_use.into()),
            count(failed.candidates.into(), "port")
        ),
    }
}

/// What holds a port, and what lets bind() in.
fn held(holders: &Holders, port: u16, out: &mut Line) {
    let holder = holders.holder();
    match holder {
        Holder::Gone => out.text(
            "nothing that the kernel lists holds it any more \
             (sockets that are only bound are listed from Linux 6.8 on)",
        ),
        Holder::Unknown(closed) => unknown(holders.sight, closed, port, out),
        _ => {
            write!(out, "held by {}; ", who(holder));
            way_in(holder, out);
        }
    }
    let by_chance = !matches!(
        holder,
        Holder::Listener | Holder::LiveAccepted(_) | Holder::Accepted(_) | Holder::Bound
    );
    if holders.chance && by_chance {
        write!(
            out,
            "; connect() may take this port again: add {port} to net.ipv4.ip_local_reserved_ports"
        );
    }
}

/// `3 sockets of earlier connections`.
pub(super) fn who(holder: Holder) -> String {
    let connections = |number: u32, kind: &str| match number {
        1 => format!("a {kind} connection"),
        _ => format!("{} {kind} connections", thousands(number.into())),
    };
    let closed = |number: u32, kind: &str| {
        let sockets = match number {
            1 => "a socket".to_owned(),
            _ => format!("{} sockets", thousands(number.into())),
        };
        format!("{sockets} {CLOSED}{kind}")
    };
    match holder {
        Holder::Listener => "a listener".into(),
        Holder::LiveOutgoing(number) => connections(number, "live outgoing"),
        Holder::LiveEither(number) => connections(number, "live"),
        Holder::LiveAccepted(number) => connections(number, "live accepted"),
        Holder::Bound => "a socket that is only bound".into(),
        Holder::Outgoing(number) => closed(number, ", of outgoing connections"),
        Holder::Either(number) => closed(number, ""),
        Holder::Accepted(number) => closed(number, ", of accepted connections"),
        Holder::Gone => "nothing any more".into(),
        Holder::Unknown(0) => "–".into(),
        Holder::Unknown(number) => format!("{}, perhaps others too", closed(number, "")),
    }
}

fn way_in(holder: Holder, out: &mut Line) {
    out.text(match holder {
        Holder::Listener => "SO_REUSEADDR does not help while it listens: stop it first",
        Holder::LiveOutgoing(_) | Holder::Outgoing(_) => {
            "the kernel chose this port for connect(), and SO_REUSEADDR helps only if that socket set it, too"
        }
        Holder::LiveAccepted(_) | Holder::Accepted(_) => {
            "SO_REUSEADDR on their listener and on this socket lets bind() in"
        }
        Holder::LiveEither(_) | Holder::Either(_) => {
            "SO_REUSEADDR on the socket that made them, or on their listener, and on this one lets \
             bind() in"
        }
        Holder::Bound => "SO_REUSEADDR on both lets bind() in",
        Holder::Gone | Holder::Unknown(_) => "",
    });
}

/// Where live sockets were not looked at.
fn unknown(sight: Sight, closed: u32, port: u16, out: &mut Line) {
    match (sight, closed) {
        (Sight::Kept, _) => {
            out.text("a listener or a socket that is only bound had it when last looked");
        }
        (Sight::MiniSockets, 0) => write!(
            out,
            "nothing {CLOSED} is on it, so a live socket is: ss -tanp 'sport = :{port}' shows which"
        ),
        (_, 0) => out.text("what holds it is not known"),
        (_, closed) => write!(
            out,
            "{} {CLOSED} on it; whether a live socket is, too, is not known",
            match closed {
                1 => "a socket is".to_owned(),
                closed => format!("{} sockets are", thousands(closed.into())),
            }
        ),
    }
}

/// The same in a word, for programs.
pub(super) fn held_by(row: &Row) -> &'static str {
    let Some(holders) = row.holders else {
        return match row.time_wait {
            0 => "unknown",
            _ => "time-wait",
        };
    };
    match holders.holder() {
        Holder::Listener => "listener",
        Holder::LiveOutgoing(_) => "live-outgoing",
        Holder::LiveEither(_) => "live",
        Holder::LiveAccepted(_) => "live-accepted",
        Holder::Bound => "bound",
        Holder::Outgoing(_) => "time-wait-outgoing",
        Holder::Either(_) => "time-wait",
        Holder::Accepted(_) => "time-wait-accepted",
        Holder::Gone => "gone",
        Holder::Unknown(_) => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ports::Sides;
    use crate::view::line::text;

    fn said(holders: Holders) -> String {
        text(|line| held(&holders, 40_080, line))
    }

    fn seen() -> Holders {
        Holders {
            sight: Sight::All,
            ..Holders::default()
        }
    }

    fn accepted(accepted: u32) -> Sides {
        Sides {
            accepted,
            ..Sides::default()
        }
    }

    fn outgoing(outgoing: u32) -> Sides {
        Sides {
            outgoing,
            ..Sides::default()
        }
    }

    #[test]
    fn each_holder_of_a_port_has_its_own_words() {
        let mini_sockets = outgoing(1);
        let live = outgoing(1);
        for (holders, expected) in [
            (
                Holders {
                    listeners: 1,
                    mini_sockets,
                    ..seen()
                },
                "held by a listener; SO_REUSEADDR does not help while it listens: stop it first",
            ),
            (
                Holders {
                    mini_sockets: accepted(3),
                    ..seen()
                },
                "held by 3 sockets in TIME_WAIT or FIN_WAIT2, of accepted connections; \
                 SO_REUSEADDR on their listener and on this socket lets bind() in",
            ),
            (
                Holders {
                    live: accepted(1),
                    ..seen()
                },
                "held by a live accepted connection; SO_REUSEADDR on their listener and on \
                 this socket lets bind() in",
            ),
            (
                Holders {
                    live,
                    chance: true,
                    ..seen()
                },
                "held by a live outgoing connection; the kernel chose this port for connect(), \
                 and SO_REUSEADDR helps only if that socket set it, too; connect() may take this port again: add 40080 to \
                 net.ipv4.ip_local_reserved_ports",
            ),
            (
                Holders {
                    mini_sockets,
                    ..seen()
                },
                "held by a socket in TIME_WAIT or FIN_WAIT2, of outgoing connections; the kernel \
                 chose this port for connect(), and SO_REUSEADDR helps only if that socket set it, too",
            ),
        ] {
            assert_eq!(said(holders), expected);
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_guessed() {
        let mini_sockets = accepted(2);
        let sight = Sight::MiniSockets;
        for (holders, expected) in [
            (Holders::default(), "what holds it is not known"),
            (
                Holders {
                    mini_sockets,
                    sight,
                    ..Holders::default()
                },
                "2 sockets are in TIME_WAIT or FIN_WAIT2 on it; whether a live socket is, too, is \
                 not known",
            ),
            (
                Holders {
                    sight,
                    ..Holders::default()
                },
                "nothing in TIME_WAIT or FIN_WAIT2 is on it, so a live socket is: \
                 ss -tanp 'sport = :40080' shows which",
            ),
        ] {
            assert_eq!(said(holders), expected);
        }
    }
}
