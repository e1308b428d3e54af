//! Calls without a port, and births.

use super::*;
use crate::check::life::PortFailed;
use crate::event::{Birth, Call, CommandName, PortFailure};

const EADDRINUSE: u32 = 98;
const EADDRNOTAVAIL: u32 = 99;

/// A connect() and a bind() that got no port, beside the honest case.
fn without_a_port() -> Case {
    let mut case = Case::honest();
    case.made.port_failures = vec![
        PortFailed {
            call: Call::Connect,
            local: address(0),
            remote: Some(address(443)),
            errno: EADDRNOTAVAIL,
            at: window(5, 6),
            time_wait: Some(14),
        },
        PortFailed {
            call: Call::Bind,
            local: address(80),
            remote: None,
            errno: EADDRINUSE,
            at: window(7, 8),
            time_wait: None,
        },
    ];
    case.events.push(Event::PortFailure(connect()));
    case.events.push(Event::PortFailure(bind()));
    case.counters.port_failures = [1, 1];
    case
}

fn connect() -> PortFailure {
    let mut command = [0; 16];
    command[..COMMAND.len()].copy_from_slice(COMMAND.as_bytes());
    let command = CommandName::new(command);
    PortFailure {
        flow: Flow {
            uid: Some(0),
            ..flow(0)
        },
        at_ns: 5 * SECOND,
        call: Call::Connect,
        pid: std::process::id(),
        command,
        errno: EADDRNOTAVAIL,
        port_given: false,
        time_wait: 14,
    }
}

fn bind() -> PortFailure {
    let connect = connect();
    PortFailure {
        flow: Flow {
            lport: 80,
            raddr: std::net::Ipv4Addr::UNSPECIFIED.into(),
            rport: 0,
            ..connect.flow
        },
        at_ns: 7 * SECOND,
        call: Call::Bind,
        errno: EADDRINUSE,
        port_given: true,
        time_wait: 0,
        ..connect
    }
}

#[test]
fn honest_failures_pass() {
    assert_eq!(without_a_port().judge(), Vec::<String>::new());
}

#[test]
fn every_lie_about_a_port_failure_is_found() {
    let lies: &[Lie<PortFailure>] = &[
        ("call", |failure| failure.call = Call::Bind),
        ("errno", |failure| failure.errno = EADDRINUSE),
        ("too early", |failure| failure.at_ns = 4 * SECOND),
        ("held by TIME_WAIT", |failure| failure.time_wait = 13),
        ("held by TIME_WAIT", |failure| failure.time_wait = 28),
        ("pid", |failure| failure.pid += 1),
        ("command", |failure| {
            failure.command = CommandName::new([b'X'; 16]);
        }),
        ("port given", |failure| failure.port_given = true),
        ("port", |failure| failure.flow.lport = 1),
        ("address", |failure| {
            failure.flow.laddr = [127, 0, 0, 2].into();
        }),
        ("to 127.0.0.2", |failure| {
            failure.flow.raddr = [127, 0, 0, 2].into();
        }),
        ("to port", |failure| failure.flow.rport = 80),
        ("netns", |failure| failure.flow.netns += 1),
        ("family", |failure| failure.flow.family = Family::Ipv4Mapped),
        ("uid", |failure| failure.flow.uid = None),
    ];
    for (what, lie) in lies {
        let mut case = without_a_port();
        let mut failure = connect();
        lie(&mut failure);
        let at = case.events.len() - 2;
        case.events[at] = Event::PortFailure(failure);
        case.complains(what);
    }
    let mut case = without_a_port();
    let mut failure = bind();
    failure.flow.raddr = address(0).ip();
    case.events.pop();
    case.events.push(Event::PortFailure(failure));
    case.complains("to 127.0.0.1");
}

#[test]
fn a_failure_is_reported_once_and_counted_once() {
    let lies: &[Lie<Case>] = &[
        ("port failures reported: 1", |case| {
            case.events.truncate(case.events.len() - 1);
        }),
        ("port failures reported: 3", |case| {
            case.events.push(Event::PortFailure(bind()));
        }),
        ("port failures reported: 2, expected 1", |case| {
            case.made.port_failures.truncate(1);
        }),
        ("connect() calls without a port: 2", |case| {
            case.counters.port_failures = [2, 1];
        }),
        ("bind() calls without a port: 0", |case| {
            case.counters.port_failures = [1, 0];
        }),
        ("port failures lost", |case| {
            case.counters.port_failure_ring_full = 1;
        }),
        ("port failures beyond", |case| {
            case.counters.port_failure_limited = 1;
        }),
    ];
    for (what, lie) in lies {
        let mut case = without_a_port();
        lie(&mut case);
        case.complains(what);
    }
}

#[test]
fn a_birth_tells_what_its_end_tells() {
    let lies: &[Lie<Birth>] = &[
        ("births reported of what ended", |birth| birth.at_ns += 1),
        ("births reported of what ended", |birth| {
            birth.flow.lport += 1;
        }),
        ("births in TIME_WAIT reported: 1", |birth| {
            birth.born_as = BornAs::TimeWait;
        }),
    ];
    for (what, lie) in lies {
        let mut case = Case::honest();
        for event in &mut case.events {
            if let Event::Birth(birth) = event {
                lie(birth);
            }
        }
        case.complains(what);
    }
    let mut case = Case::honest();
    case.events
        .retain(|event| !matches!(event, Event::Birth(_)));
    case.complains("births in FIN_WAIT2 reported: 0, expected 1");
}
