//! Segments refused by something other than a mini-socket: by an established connection, and by one
//! in SYN_RECV.

use std::net::SocketAddr;
use std::time::Duration;

use etherparse::TcpOptionElement;
use socket2::Socket;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How, after_fin};
use crate::check::lab::segment::{Ear, Forger, Segment};
use crate::check::lab::sockets::{Sequence, bound, drop_all, loopback, vanish};
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Made, Window, now_ns};
use crate::check::work::forged::{answer_all, older, rst};
use crate::event::Rule;

/// Further behind than tcp_disordered_ack allows an ACK to be.
const BEHIND: u32 = 50_000;
/// An event may come a little after the counter.
const AFTER: Duration = Duration::from_millis(20);
/// Sequence number and TSval of the forged SYNs.
const ISN: u32 = 4_294_967_200;
const CLOCK: u32 = 7_000_000;

/// An old SYN, old data and an old ACK. Kernels differ in which of them get a duplicate ACK, a
/// challenge ACK or nothing, and their counters show which.
pub(in super::super) fn established(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let (mut group, open) = Group::deaf_established(lab, lab.connect_all()?)?;
    for segment in [old_syn, old_data, old_ack] {
        let before = tell_all(lab)?;
        let start = now_ns();
        group.send(lab, 0, segment)?;
        let how = how(lab, &before)?;
        let at = Window {
            from: start,
            to: now_ns() + u64::try_from(AFTER.as_nanos()).unwrap_or(0),
        };
        group.refused(how, at, segment);
    }
    for stream in open {
        vanish(stream).attempt("close a connection silently")?;
    }
    Ok(group.no_lives())
}

/// The counters that may move, and what each means.
const TELL: [(&str, How); 3] = [
    ("PAWSEstab", How::answered(Rule::Paws)),
    ("PAWSOldAck", How::ignored(Rule::Paws)),
    ("TCPSYNChallenge", How::challenged(Rule::Paws)),
];

fn tell_all(lab: &Lab<'_>) -> Step<Vec<u64>> {
    TELL.iter().map(|(name, _)| lab.counter(name)).collect()
}

/// How the segments were refused, according to the counter that counted all of them.
fn how(lab: &Lab<'_>, before: &[u64]) -> Step<How> {
    let mut found = None;
    lab.poll("a counter of refused segments to move", || {
        let now = tell_all(lab)?;
        let mut moved = now.iter().zip(before).map(|(now, before)| now - before);
        found = moved.position(|by| by == lab.count as u64);
        Ok(found.is_some())
    })?;
    let found = found.ok_or_else(|| Stop::Fail("no counter moved".into()))?;
    Ok(TELL[found].1)
}

fn old_syn(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: at.peer.wrapping_add(77),
        syn: true,
        timestamp: older(at, BEHIND),
        ..Segment::default()
    }
}

fn old_data(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: at.peer,
        data: b"x",
        ..old_ack(at)
    }
}

fn old_ack(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: at.peer.wrapping_sub(1),
        acknowledgement: Some(at.own.wrapping_sub(1)),
        timestamp: older(at, BEHIND),
        ..Segment::default()
    }
}

/// The last ACK of a handshake has an old timestamp or an old sequence number.
pub(in super::super) fn syn_recv(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let deaf = (0..lab.count).map(|_| deaf_listener(lab));
    let deaf = deaf.collect::<Step<Vec<_>>>()?;
    let opened = deaf.iter().map(|(_, remote)| open(lab, *remote));
    let mut group = Group::deaf_syn_recv(opened.collect::<Step<Vec<_>>>()?);
    group.forge_refused(lab, How::answered(Rule::Paws), |at| Segment {
        timestamp: older(at, 1),
        ..last_ack(at)
    })?;
    group.forge_refused(lab, How::answered(Rule::OldSequence), |at| Segment {
        sequence: at.peer.wrapping_sub(500),
        ..last_ack(at)
    })?;
    // Before the SYN-ACKs are retransmitted.
    group.forge(lab, |at| rst(after_fin(at)))?;
    Ok(group.no_lives())
}

fn last_ack(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: after_fin(at),
        acknowledgement: Some(at.own),
        timestamp: at.clock,
        ..Segment::default()
    }
}

/// Listens on a socket that drops everything, so that the kernel does not answer with a RST.
fn deaf_listener(lab: &Lab<'_>) -> Step<(Socket, SocketAddr)> {
    let listen = || {
        let socket = bound(lab.address(0))?;
        drop_all(&socket)?;
        socket.listen(1)?;
        let address = socket.local_addr()?.as_socket();
        Ok((socket, address.ok_or(std::io::ErrorKind::AddrNotAvailable)?))
    };
    listen().attempt("listen with a deaf socket")
}

/// Sends a SYN from `remote` and receives the SYN-ACK.
fn open(lab: &Lab<'_>, remote: SocketAddr) -> Step<(SocketAddr, SocketAddr, Sequence)> {
    let local = lab.listening()?;
    let ear = Ear::open(loopback(lab.family)).attempt("open a raw socket")?;
    let forger = Forger::open(loopback(lab.family)).attempt("open a raw socket")?;
    let syn = Segment {
        sequence: ISN,
        syn: true,
        timestamp: Some(CLOCK),
        ..Segment::default()
    };
    let sent = forger.send(remote, local, syn);
    sent.attempt("send a segment by a raw socket")?;
    let answer = ear.next(local, remote).attempt("hear a SYN-ACK")?;
    let echoed = answer
        .options_iterator()
        .any(|option| matches!(option, Ok(TcpOptionElement::Timestamp(_, echo)) if echo == CLOCK));
    if !(answer.syn && answer.ack && echoed) {
        return Err(Stop::Fail(format!("no SYN-ACK came: {answer:?}")));
    }
    let sequence = Sequence {
        own: answer.sequence_number.wrapping_add(1),
        peer: ISN,
        clock: Some(CLOCK),
    };
    Ok((local, remote, sequence))
}
