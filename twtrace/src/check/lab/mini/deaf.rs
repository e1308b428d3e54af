//! Groups whose peers are deaf sockets: all their segments are forged, so every number is known.

use std::net::{Shutdown, SocketAddr, TcpStream};

use super::{Group, Mini};
use crate::check::lab::Lab;
use crate::check::lab::segment::Segment;
use crate::check::lab::sockets::{Pair, Sequence, deafen, has_timestamps};
use crate::check::lab::step::{Attempt, Step};
use crate::check::life::{Window, now_ns};
use crate::check::net::field::clock;
use crate::event::{BornAs, Stage};
use crate::kernel::sock_diag::Substate;

/// TTL of a forged FIN.
const FIN_TTL: u8 = 57;
/// How far the clock of forged segments is ahead of the peer's own, in ms: enough for the kernel to
/// take it as ts_recent, whatever the peer sent before.
const AHEAD: u32 = 100_000;
/// An offset that no other clock here has, and that still is ahead.
const FAR_AHEAD: u32 = 1 << 30;

impl Group {
    /// Mini-sockets in FIN_WAIT2 whose peers are deaf. The last timestamp of each is known.
    pub(in crate::check) fn deaf_fin_wait_2(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        Self::closed_to_deaf(lab, Self::deaf(pairs, AHEAD)?)
    }

    /// The same in TIME_WAIT.
    pub(in crate::check) fn deaf_time_wait(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        Self::deaf_fin_wait_2(lab, pairs)?.deaf_promoted(lab)
    }

    /// The same with timestamps far from those of other groups.
    pub(in crate::check) fn deaf_time_wait_far_ahead(
        lab: &Lab<'_>,
        pairs: Vec<Pair>,
    ) -> Step<Self> {
        Self::closed_to_deaf(lab, Self::deaf(pairs, FAR_AHEAD)?)?.deaf_promoted(lab)
    }

    fn closed_to_deaf(lab: &Lab<'_>, pairs: Vec<(Mini, TcpStream)>) -> Step<Self> {
        let start = now_ns();
        let (all, open): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        drop(open);
        let mut group = Self::of(all, BornAs::FinWait2);
        group.deaf = true;
        group.forge(lab, acknowledge)?;
        group.await_substate(lab, Substate::FinWait2)?;
        group.born = Window::since(start);
        Ok(group)
    }

    fn deaf_promoted(mut self, lab: &Lab<'_>) -> Step<Self> {
        let start = now_ns();
        self.send(lab, 1, |at| Segment {
            fin: true,
            ttl: FIN_TTL,
            ..acknowledge(at)
        })?;
        self.await_substate(lab, Substate::TimeWait)?;
        self.stage = Stage::TimeWait;
        self.time_wait = Some(Window::since(start));
        self.promoted = true;
        self.owner_ttl = Some(FIN_TTL);
        Ok(self)
    }

    /// Mini-sockets born in TIME_WAIT by what deaf peers send after close().
    pub(in crate::check) fn deaf_born_in_time_wait(
        lab: &Lab<'_>,
        pairs: Vec<Pair>,
        said: &[fn(Sequence) -> Segment<'static>],
    ) -> Step<Self> {
        let start = now_ns();
        let (all, open): (Vec<_>, Vec<_>) = Self::deaf(pairs, AHEAD)?.into_iter().unzip();
        drop(open);
        let mut group = Self::of(all, BornAs::TimeWait);
        group.deaf = true;
        for segment in said {
            group.forge(lab, segment)?;
        }
        group.await_substate(lab, Substate::TimeWait)?;
        group.born = Window::since(start);
        group.time_wait = Some(group.born);
        Ok(group)
    }

    /// Mini-sockets in FIN_WAIT2 that were in FIN_WAIT2 as full sockets before close().
    pub(in crate::check) fn deaf_shut_down(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let start = now_ns();
        let (all, open): (Vec<_>, Vec<_>) = Self::deaf(pairs, AHEAD)?.into_iter().unzip();
        for stream in &open {
            stream
                .shutdown(Shutdown::Write)
                .attempt("shut down a connection")?;
        }
        let mut group = Self::of(all, BornAs::FinWait2);
        group.deaf = true;
        group.forge(lab, acknowledge)?;
        drop(open);
        group.await_substate(lab, Substate::FinWait2)?;
        group.born = Window::since(start);
        Ok(group)
    }

    /// Established connections whose peers are deaf; the last timestamp of each is known. The
    /// caller must make the returned ends vanish.
    pub(in crate::check) fn deaf_established(
        lab: &Lab<'_>,
        pairs: Vec<Pair>,
    ) -> Step<(Self, Vec<TcpStream>)> {
        let (all, open): (Vec<_>, Vec<_>) = Self::deaf(pairs, AHEAD)?.into_iter().unzip();
        let mut group = Self::of(all, BornAs::TimeWait);
        group.stage = Stage::Established;
        group.deaf = true;
        group.forge(lab, |at| Segment {
            acknowledgement: Some(at.own.wrapping_sub(1)),
            ..acknowledge(at)
        })?;
        Ok((group, open))
    }

    /// Connections in SYN_RECV whose peers are deaf; `all` has local address, remote address and
    /// sequence numbers.
    pub(in crate::check) fn deaf_syn_recv(all: Vec<(SocketAddr, SocketAddr, Sequence)>) -> Self {
        let mini = |(local, remote, sequence)| Mini {
            local,
            remote,
            sequence,
            peer: None,
            accepted: None,
        };
        let mut group = Self::of(all.into_iter().map(mini).collect(), BornAs::TimeWait);
        group.stage = Stage::SynRecv;
        group.deaf = true;
        group
    }

    /// Makes the passive ends deaf, with clocks this far ahead of their own; returns the active
    /// ends, too.
    fn deaf(pairs: Vec<Pair>, ahead: u32) -> Step<Vec<(Mini, TcpStream)>> {
        let deaf = |pair: Pair| {
            let timestamps = has_timestamps(&pair.passive).attempt("read TCP_INFO")?;
            let now = clock(&pair.passive).attempt("read a connection's clock")?;
            deafen(&pair.passive).attempt("make a socket deaf")?;
            let (mut mini, active) = Mini::new(pair)?;
            mini.sequence.clock = timestamps.then(|| now.wrapping_add(ahead));
            Ok((mini, active))
        };
        pairs.into_iter().map(deaf).collect()
    }
}

/// The ACK of the active closer's FIN.
pub(in crate::check) fn acknowledge(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: at.peer,
        acknowledgement: Some(at.own),
        timestamp: at.clock,
        ..Segment::default()
    }
}
