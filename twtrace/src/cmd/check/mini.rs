//! Groups of mini-sockets that a scenario brings to life and to their end together.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use super::lab::{Attempt, Lab, Step, Stop};
use super::life::{Life, Made, Rejection, Said, Window, now_ns};
use super::net::field::clock;
use super::segment::{Forger, Segment};
use super::socket_table::SocketTable;
use super::sockets::{Pair, Sequence, deafen, loopback, sequence, vanish};
use crate::event::{BornAs, Numbers, Reason, Reply, Rule, Stage};
use crate::kernel::sock_diag::Substate;

const ANY: Range<Duration> = Duration::ZERO..Duration::MAX;
/// TTL of what the kernel sends, and of a forged FIN.
const USUAL_TTL: u8 = 64;
const FIN_TTL: u8 = 57;
/// The clock that forged segments go by is so far ahead of the peer's own, in ms: the kernel takes
/// it for the last timestamp whatever the peer has said before.
const AHEAD: u32 = 100_000;

/// One mini-socket.
#[derive(Debug)]
pub(super) struct Mini {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) sequence: Sequence,
    /// The other end, if it is still open.
    peer: Option<TcpStream>,
    accepted: Option<Numbers>,
}

/// Mini-sockets of one age.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) all: Vec<Mini>,
    /// Who refuses: a mini-socket by its substate, or a socket that never became one.
    stage: Stage,
    born_as: BornAs,
    born: Window,
    time_wait: Option<Window>,
    preexisting: bool,
    promoted: bool,
    rearms: u32,
    fin_wait_2_lasts: Range<Duration>,
    time_wait_lasts: Range<Duration>,
    /// The peers are deaf: all that was said in their name since is ours.
    deaf: bool,
    /// TTL of the FINs that were seen to begin TIME_WAIT.
    owner_ttl: Option<u8>,
    /// SYNs that each refused, and when the first.
    refused: u32,
    first_refused: Option<Window>,
    rejections: Vec<Rejection>,
}

/// How a segment is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    rule: Rule,
    /// `None` if the tracer cannot know.
    reply: Option<Reply>,
    rearmed: bool,
}

impl How {
    /// An ACK goes back.
    pub(super) const fn answered(rule: Rule) -> Self {
        Self {
            rule,
            reply: Some(Reply::Ack),
            rearmed: false,
        }
    }

    /// No ACK goes back, because one did before.
    pub(super) const fn rate_limited(rule: Rule) -> Self {
        Self {
            reply: Some(Reply::RateLimited),
            ..Self::answered(rule)
        }
    }

    /// Nothing goes back.
    pub(super) const fn ignored(rule: Rule) -> Self {
        Self {
            reply: Some(Reply::None),
            ..Self::answered(rule)
        }
    }

    /// A RST goes back, and the mini-socket ends.
    pub(super) const fn reset(rule: Rule) -> Self {
        Self {
            reply: Some(Reply::Rst),
            ..Self::answered(rule)
        }
    }

    /// A challenge ACK goes back, or not: that has a limit of its own.
    pub(super) const fn challenged(rule: Rule) -> Self {
        Self {
            reply: None,
            ..Self::answered(rule)
        }
    }

    /// It restarts the timer.
    pub(super) const fn rearming(self) -> Self {
        Self {
            rearmed: true,
            ..self
        }
    }
}

impl Group {
    /// Closes the active ends, and waits for a mini-socket in FIN_WAIT2 for each.
    pub(super) fn fin_wait_2(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let start = now_ns();
        let mut group = Self::closed(pairs)?;
        group.await_substate(lab, Substate::FinWait2)?;
        group.born = Window::since(start);
        Ok(group)
    }

    /// Closes the active ends, and waits for a mini-socket to come and go for each: its time is too
    /// short to be sure to see it.
    pub(super) fn short_lived(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Made> {
        let start = now_ns();
        let mut group = Self::closed(pairs)?;
        lab.await_counters(&["TW", "TWKilled"], group.all.len())?;
        group.await_gone(lab)?;
        group.born = Window::since(start);
        let ended = group.born;
        Ok(group.ended(Reason::FinWait2Timeout, ended))
    }

    fn closed(pairs: Vec<Pair>) -> Step<Self> {
        let mut all = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (mini, active) = Mini::new(pair)?;
            drop(active);
            all.push(mini);
        }
        Ok(Self::of(all, BornAs::FinWait2))
    }

    /// Mini-sockets in TIME_WAIT that were in FIN_WAIT2 before, as most are.
    pub(super) fn time_wait(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let mut group = Self::fin_wait_2(lab, pairs)?;
        group.promote(lab)?;
        Ok(group)
    }

    /// Mini-sockets that are born in TIME_WAIT: the peer's FIN finds a full socket in FIN_WAIT2.
    pub(super) fn born_in_time_wait(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let start = now_ns();
        let mut all = Vec::with_capacity(pairs.len());
        let mut still_open = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (mut mini, active) = Mini::new(pair)?;
            active
                .shutdown(Shutdown::Write)
                .attempt("shut down a connection")?;
            mini.await_fin()?;
            mini.peer = None;
            still_open.push(active);
            all.push(mini);
        }
        let mut group = Self::of(all, BornAs::TimeWait);
        group.await_substate(lab, Substate::TimeWait)?;
        group.born = Window::since(start);
        group.time_wait = Some(group.born);
        lab.settle()?;
        Ok(group)
    }

    /// Mini-sockets in FIN_WAIT2 whose peers are deaf. The last timestamp of each is known.
    pub(super) fn deaf_fin_wait_2(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let start = now_ns();
        let (all, open): (Vec<_>, Vec<_>) = Self::deaf(lab, pairs)?.into_iter().unzip();
        drop(open);
        let mut group = Self::of(all, BornAs::FinWait2);
        group.deaf = true;
        group.forge(lab, acknowledge)?;
        group.await_substate(lab, Substate::FinWait2)?;
        group.born = Window::since(start);
        Ok(group)
    }

    /// The same in TIME_WAIT.
    pub(super) fn deaf_time_wait(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let mut group = Self::deaf_fin_wait_2(lab, pairs)?;
        let start = now_ns();
        group.send(lab, 1, |at| Segment {
            fin: true,
            ttl: FIN_TTL,
            ..acknowledge(at)
        })?;
        group.await_substate(lab, Substate::TimeWait)?;
        group.stage = Stage::TimeWait;
        group.time_wait = Some(Window::since(start));
        group.promoted = true;
        group.owner_ttl = Some(FIN_TTL);
        Ok(group)
    }

    /// Connections that live, whose peers are deaf; the last timestamp of each is known. The other
    /// ends must be made to vanish.
    pub(super) fn deaf_established(
        lab: &Lab<'_>,
        pairs: Vec<Pair>,
    ) -> Step<(Self, Vec<TcpStream>)> {
        let (all, open): (Vec<_>, Vec<_>) = Self::deaf(lab, pairs)?.into_iter().unzip();
        let mut group = Self::of(all, BornAs::TimeWait);
        group.stage = Stage::Established;
        group.deaf = true;
        group.forge(lab, |at| Segment {
            acknowledgement: Some(at.own.wrapping_sub(1)),
            ..acknowledge(at)
        })?;
        Ok((group, open))
    }

    /// Connections of which only a SYN has come, from deaf peers; `all` has local and remote
    /// address and the numbers.
    pub(super) fn deaf_syn_recv(all: Vec<(SocketAddr, SocketAddr, Sequence)>) -> Self {
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

    /// Makes the passive ends deaf; the active ends are handed back.
    fn deaf(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Vec<(Mini, TcpStream)>> {
        let timestamps = lab.sysctl_value("tcp_timestamps") != Some(0);
        let deaf = |pair: Pair| {
            let now = clock(&pair.passive).attempt("read a connection's clock")?;
            deafen(&pair.passive).attempt("make a socket deaf")?;
            let (mut mini, active) = Mini::new(pair)?;
            mini.sequence.clock = timestamps.then(|| now.wrapping_add(AHEAD));
            Ok((mini, active))
        };
        pairs.into_iter().map(deaf).collect()
    }

    fn of(all: Vec<Mini>, born_as: BornAs) -> Self {
        Self {
            all,
            stage: match born_as {
                BornAs::FinWait2 => Stage::FinWait2,
                BornAs::TimeWait => Stage::TimeWait,
            },
            born_as,
            born: Window::from_now(),
            time_wait: None,
            preexisting: false,
            promoted: false,
            rearms: 0,
            fin_wait_2_lasts: ANY,
            time_wait_lasts: ANY,
            deaf: false,
            owner_ttl: None,
            refused: 0,
            first_refused: None,
            rejections: Vec::new(),
        }
    }

    /// Closes the passive ends: FIN_WAIT2 becomes TIME_WAIT.
    pub(super) fn promote(&mut self, lab: &Lab<'_>) -> Step<()> {
        let start = now_ns();
        self.close_peers();
        self.await_substate(lab, Substate::TimeWait)?;
        self.stage = Stage::TimeWait;
        self.time_wait = Some(Window::since(start));
        self.promoted = true;
        self.owner_ttl = Some(USUAL_TTL);
        // Nobody is left who could retransmit.
        lab.settle()
    }

    /// Closes the passive ends.
    pub(super) fn close_peers(&mut self) {
        self.all.iter_mut().for_each(|mini| mini.peer = None);
    }

    /// Takes the passive ends away without a word.
    pub(super) fn lose_peers(&mut self) -> Step<()> {
        for peer in self.all.iter_mut().filter_map(|mini| mini.peer.take()) {
            vanish(peer).attempt("close a connection silently")?;
        }
        Ok(())
    }

    /// The passive ends that are still open.
    pub(super) fn peers(&self) -> impl Iterator<Item = &TcpStream> {
        self.all.iter().filter_map(|mini| mini.peer.as_ref())
    }

    /// Sends a segment to each in its peer's name, and waits until TCP has seen them.
    pub(super) fn forge(
        &self,
        lab: &Lab<'_>,
        make: impl Fn(Sequence) -> Segment<'static>,
    ) -> Step<()> {
        self.send(lab, 0, make).map(drop)
    }

    /// The same with a SYN that is accepted.
    pub(super) fn forge_accepted(
        &mut self,
        lab: &Lab<'_>,
        make: impl Fn(Sequence) -> Segment<'static>,
    ) -> Step<()> {
        let accepted: Vec<_> = self
            .all
            .iter()
            .map(|mini| self.numbers(mini, &make(mini.sequence)))
            .collect();
        for (mini, numbers) in self.all.iter_mut().zip(accepted) {
            mini.accepted = Some(numbers);
        }
        self.send(lab, 0, make).map(drop)
    }

    /// The same with a segment that is refused.
    pub(super) fn forge_refused(
        &mut self,
        lab: &Lab<'_>,
        how: How,
        make: impl Fn(Sequence) -> Segment<'static>,
    ) -> Step<()> {
        let answers = matches!(how.reply, Some(Reply::Ack | Reply::Rst));
        let at = self.send(lab, usize::from(answers), &make)?;
        self.refused(how, at, make);
        Ok(())
    }

    /// Each refused such a segment.
    pub(super) fn refused(
        &mut self,
        how: How,
        at: Window,
        make: impl Fn(Sequence) -> Segment<'static>,
    ) {
        let by_mini_socket = matches!(self.stage, Stage::TimeWait | Stage::FinWait2);
        if by_mini_socket && make(Sequence::default()).opens() {
            self.refused += 1;
            self.first_refused = self.first_refused.or(Some(at));
        }
        self.rearms += u32::from(how.rearmed);
        for mini in &self.all {
            let said = self.said(mini, &make(mini.sequence));
            let said = self.deaf.then_some(said);
            self.rejections.push(self.rejection(mini, how, at, said));
        }
    }

    fn said(&self, mini: &Mini, segment: &Segment<'_>) -> Said {
        Said {
            numbers: self.numbers(mini, segment),
            tcp_flags: segment.flags(),
            window: segment.window,
            ttl: segment.ttl,
            owner_ttl: self.owner_ttl,
        }
    }

    fn rejection(&self, mini: &Mini, how: How, at: Window, said: Option<Said>) -> Rejection {
        Rejection {
            local: mini.local,
            remote: mini.remote,
            at,
            stage: self.stage,
            rule: how.rule,
            reply: how.reply,
            rearmed: how.rearmed,
            refused: self.refused,
            said,
        }
    }

    /// A segment's numbers beside those of the mini-socket.
    fn numbers(&self, mini: &Mini, segment: &Segment<'_>) -> Numbers {
        let at = mini.sequence;
        Numbers {
            tsval: segment.timestamp,
            ts_recent: at.clock,
            seq: segment.sequence,
            rcv_nxt: match self.stage {
                // A FIN, or a SYN, took one.
                Stage::TimeWait | Stage::SynRecv => after_fin(at),
                _ => at.peer,
            },
        }
    }

    /// Sends, and waits until TCP has seen each segment and so many answers to each.
    pub(super) fn send(
        &self,
        lab: &Lab<'_>,
        answers: usize,
        make: impl Fn(Sequence) -> Segment<'static>,
    ) -> Step<Window> {
        let forger = Forger::open(loopback(lab.family)).attempt("open a raw socket")?;
        let before = lab.received()?;
        let start = now_ns();
        for mini in &self.all {
            let sent = forger.send(mini.remote, mini.local, make(mini.sequence));
            sent.attempt("send a segment by a raw socket")?;
        }
        lab.await_received(before, self.all.len() * (1 + answers))?;
        Ok(Window::since(start))
    }

    /// When the timer of each runs out, no earlier than `.from` and no later than `.to`.
    pub(super) fn timers(&self, lab: &Lab<'_>) -> Step<Vec<Window>> {
        let from = now_ns();
        let table = lab.table()?;
        let read = Window::since(from);
        let timer = |mini: &Mini| {
            let found = table.mini_sockets.get(&mini.key()).ok_or_else(|| {
                Stop::Fail(format!("{} left the socket table by itself", mini.local))
            })?;
            let remaining = u64::try_from(found.remaining.as_nanos()).unwrap_or(u64::MAX);
            Ok(Window {
                from: read.from + remaining,
                to: read.to + remaining,
            })
        };
        self.all.iter().map(timer).collect()
    }

    /// Waits until the timer of each runs out later than it did.
    pub(super) fn await_restart(&self, lab: &Lab<'_>, before: &[Window]) -> Step<()> {
        lab.poll("the timers to be restarted", || {
            let now = self.timers(lab)?;
            Ok(now
                .iter()
                .zip(before)
                .all(|(now, before)| now.from > before.to))
        })
    }

    /// Waits until none is left.
    pub(super) fn await_gone(&self, lab: &Lab<'_>) -> Step<()> {
        let gone = |table: &SocketTable| {
            !self
                .all
                .iter()
                .any(|mini| table.mini_sockets.contains_key(&mini.key()))
        };
        lab.await_table("the mini-sockets to end", gone).map(drop)
    }

    /// Checks that all are there, and no other.
    pub(super) fn await_substate(&self, lab: &Lab<'_>, substate: Substate) -> Step<()> {
        let there = |table: &SocketTable| {
            self.all.iter().all(|mini| {
                table
                    .mini_sockets
                    .get(&mini.key())
                    .is_some_and(|found| found.substate == substate)
            })
        };
        let wanted = format!("{} mini-sockets in {substate:?}", self.all.len());
        lab.await_table(&wanted, there)
    }

    /// They were there before the tracer.
    pub(super) fn preexisting(mut self) -> Self {
        self.preexisting = true;
        self.promoted = false;
        self.owner_ttl = None;
        self
    }

    /// The timers were restarted by segments that were not refused.
    pub(super) fn rearmed(mut self, times: u32) -> Self {
        self.rearms += times;
        self
    }

    pub(super) fn fin_wait_2_lasts(mut self, lasts: Range<Duration>) -> Self {
        self.fin_wait_2_lasts = lasts;
        self
    }

    pub(super) fn time_wait_lasts(mut self, lasts: Range<Duration>) -> Self {
        self.time_wait_lasts = lasts;
        self
    }

    /// All ended within this window, for this reason.
    pub(super) fn ended(self, reason: Reason, ended: Window) -> Made {
        let life = |mini: &Mini| Life {
            local: mini.local,
            remote: mini.remote,
            born_as: self.born_as,
            born: self.born,
            preexisting: self.preexisting,
            promoted: self.promoted,
            time_wait: self.time_wait,
            reason,
            ended,
            rearms: self.rearms,
            fin_wait_2_lasts: self.fin_wait_2_lasts.clone(),
            time_wait_lasts: self.time_wait_lasts.clone(),
            refused: self.refused,
            first_refused: self.first_refused,
            accepted: mini.accepted,
        };
        Made {
            lives: self.all.iter().map(life).collect(),
            rejections: self.rejections,
            ..Made::default()
        }
    }

    /// They were no mini-sockets, and leave none.
    pub(super) fn no_lives(self) -> Made {
        Made {
            rejections: self.rejections,
            ..Made::default()
        }
    }

    /// All are left to end by their timer; waits for it.
    pub(super) fn expire(self, lab: &Lab<'_>) -> Step<Made> {
        let start = now_ns();
        // None can end before, and looking costs the kernel a walk through all its sockets.
        let due = self.timers(lab)?.iter().map(|timer| timer.from).min();
        lab.sleep_until(due.unwrap_or(start));
        self.await_gone(lab)?;
        Ok(self.ended(Reason::Expired, Window::since(start)))
    }

    /// All are left to end with their namespace.
    pub(super) fn left(self) -> Made {
        self.ended(Reason::NetnsExit, Window::from_now())
    }
}

impl Mini {
    /// What the active end will leave, and the active end itself.
    fn new(pair: Pair) -> Step<(Self, TcpStream)> {
        let Pair { active, passive } = pair;
        let mini = Self {
            local: active.local_addr().attempt("ask for a socket's address")?,
            remote: active.peer_addr().attempt("ask for a socket's peer")?,
            sequence: sequence(&passive).attempt("read a connection's sequence numbers")?,
            peer: Some(passive),
            accepted: None,
        };
        Ok((mini, active))
    }

    /// Waits until the peer has seen our FIN; if it closed before, both ends would be active.
    fn await_fin(&self) -> Step<()> {
        let Some(mut peer) = self.peer.as_ref() else {
            return Ok(());
        };
        match peer.read(&mut [0]).attempt("wait for a FIN")? {
            0 => Ok(()),
            _ => Err(Stop::Fail("data came where none was sent".into())),
        }
    }

    pub(super) fn key(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.remote)
    }
}

/// What TIME_WAIT expects next: the FIN took one number.
pub(super) fn after_fin(at: Sequence) -> u32 {
    at.peer.wrapping_add(1)
}

/// What acknowledges the active closer's FIN.
fn acknowledge(at: Sequence) -> Segment<'static> {
    Segment {
        sequence: at.peer,
        acknowledgement: Some(at.own),
        timestamp: at.clock,
        ..Segment::default()
    }
}
