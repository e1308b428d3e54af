//! Groups of mini-sockets that a scenario creates and ends together.

mod deaf;
mod forge;

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use super::socket_table::SocketTable;
use super::sockets::{Pair, Sequence, sequence, vanish};
use crate::check::lab::Lab;
use crate::check::lab::step::{Attempt, Step, Stop};
use crate::check::life::{Life, Made, Rejection, TICK, Window, now_ns};
use crate::event::{BornAs, Numbers, Reason, Stage};
use crate::kernel::sock_diag::Substate;
pub(in crate::check) use deaf::acknowledge;
pub(in crate::check) use forge::How;

const ANY: Range<Duration> = Duration::ZERO..Duration::MAX;
/// TTL of segments that the kernel sends.
const USUAL_TTL: u8 = 64;

/// One mini-socket.
#[derive(Debug)]
pub(in crate::check) struct Mini {
    pub(in crate::check) local: SocketAddr,
    pub(in crate::check) remote: SocketAddr,
    pub(in crate::check) sequence: Sequence,
    /// The other end, if it is still open.
    peer: Option<TcpStream>,
    accepted: Option<Numbers>,
}

/// Mini-sockets born together.
#[derive(Debug)]
pub(in crate::check) struct Group {
    pub(in crate::check) all: Vec<Mini>,
    /// What refuses segments: a mini-socket in its substate, or a socket that never became one.
    stage: Stage,
    born_as: BornAs,
    born: Window,
    time_wait: Option<Window>,
    preexisting: bool,
    promoted: bool,
    rearms: u32,
    fin_wait_2_lasts: Range<Duration>,
    time_wait_lasts: Range<Duration>,
    /// The peers are deaf: every segment from them since is forged.
    deaf: bool,
    /// TTL of the FINs that the tracer saw begin TIME_WAIT.
    owner_ttl: Option<u8>,
    /// SYNs that each refused, and when it refused the first.
    refused: u32,
    first_refused: Option<Window>,
    rejections: Vec<Rejection>,
}

impl Group {
    /// Closes the active ends, and waits for a mini-socket in FIN_WAIT2 for each.
    pub(in crate::check) fn fin_wait_2(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let start = now_ns();
        let mut group = Self::closed(pairs)?;
        group.await_substate(lab, Substate::FinWait2)?;
        group.born = Window::since(start);
        Ok(group)
    }

    /// Closes the active ends, and waits until a mini-socket has come and gone for each: they live
    /// too briefly to be sure to see them.
    pub(in crate::check) fn short_lived(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Made> {
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
    pub(in crate::check) fn time_wait(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
        let mut group = Self::fin_wait_2(lab, pairs)?;
        group.promote(lab)?;
        Ok(group)
    }

    /// Mini-sockets that are born in TIME_WAIT: the peer's FIN finds a full socket in FIN_WAIT2.
    pub(in crate::check) fn born_in_time_wait(lab: &Lab<'_>, pairs: Vec<Pair>) -> Step<Self> {
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
    pub(in crate::check) fn promote(&mut self, lab: &Lab<'_>) -> Step<()> {
        let start = now_ns();
        self.close_peers();
        self.await_substate(lab, Substate::TimeWait)?;
        self.stage = Stage::TimeWait;
        self.time_wait = Some(Window::since(start));
        self.promoted = true;
        self.owner_ttl = Some(USUAL_TTL);
        // No full socket is left to retransmit.
        lab.settle()
    }

    /// Closes the passive ends.
    pub(in crate::check) fn close_peers(&mut self) {
        self.all.iter_mut().for_each(|mini| mini.peer = None);
    }

    /// Closes the passive ends without sending anything.
    pub(in crate::check) fn lose_peers(&mut self) -> Step<()> {
        for peer in self.all.iter_mut().filter_map(|mini| mini.peer.take()) {
            vanish(peer).attempt("close a connection silently")?;
        }
        Ok(())
    }

    /// The passive ends that are still open.
    pub(in crate::check) fn peers(&self) -> impl Iterator<Item = &TcpStream> {
        self.all.iter().filter_map(|mini| mini.peer.as_ref())
    }

    /// When the timer of each expires: no earlier than `.from` and no later than `.to`.
    pub(in crate::check) fn timers(&self, lab: &Lab<'_>) -> Step<Vec<Window>> {
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

    /// Waits until the timer of each expires later than before.
    pub(in crate::check) fn await_restart(&self, lab: &Lab<'_>, before: &[Window]) -> Step<()> {
        lab.poll("the timers to be restarted", || {
            let now = self.timers(lab)?;
            Ok(now
                .iter()
                .zip(before)
                .all(|(now, before)| now.from > before.to))
        })
    }

    /// Checks that no timer expires later than before, give or take the table's rounding.
    pub(in crate::check) fn check_kept(&self, lab: &Lab<'_>, before: &[Window]) -> Step<()> {
        let grace = u64::try_from(TICK.as_nanos()).unwrap_or(0);
        let now = self.timers(lab)?;
        match now
            .iter()
            .zip(before)
            .position(|(now, before)| now.from > before.to + grace)
        {
            None => Ok(()),
            Some(restarted) => Err(Stop::Fail(format!(
                "the timer of {} was restarted",
                self.all[restarted].local
            ))),
        }
    }

    /// Waits until none is left.
    pub(in crate::check) fn await_gone(&self, lab: &Lab<'_>) -> Step<()> {
        let gone = |table: &SocketTable| {
            !self
                .all
                .iter()
                .any(|mini| table.mini_sockets.contains_key(&mini.key()))
        };
        lab.await_table("the mini-sockets to end", gone).map(drop)
    }

    /// Waits until all are in this substate.
    pub(in crate::check) fn await_substate(&self, lab: &Lab<'_>, substate: Substate) -> Step<()> {
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

    /// Marks them as older than the trace.
    pub(in crate::check) fn preexisting(mut self) -> Self {
        self.preexisting = true;
        self.promoted = false;
        self.owner_ttl = None;
        self
    }

    /// Notes that segments that were not refused restarted the timers.
    pub(in crate::check) fn rearmed(mut self, times: u32) -> Self {
        self.rearms += times;
        self
    }

    pub(in crate::check) fn fin_wait_2_lasts(mut self, lasts: Range<Duration>) -> Self {
        self.fin_wait_2_lasts = lasts;
        self
    }

    pub(in crate::check) fn time_wait_lasts(mut self, lasts: Range<Duration>) -> Self {
        self.time_wait_lasts = lasts;
        self
    }

    /// All ended within this window, for this reason.
    pub(in crate::check) fn ended(self, reason: Reason, ended: Window) -> Made {
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

    /// They were not mini-sockets, and leave none.
    pub(in crate::check) fn no_lives(self) -> Made {
        Made {
            rejections: self.rejections,
            ..Made::default()
        }
    }

    /// Waits until all have ended by their timer.
    pub(in crate::check) fn expire(self, lab: &Lab<'_>) -> Step<Made> {
        let start = now_ns();
        // None can end before, and each look makes the kernel walk all its sockets.
        let due = self.timers(lab)?.iter().map(|timer| timer.from).min();
        lab.sleep_until(due.unwrap_or(start));
        self.await_gone(lab)?;
        Ok(self.ended(Reason::Expired, Window::since(start)))
    }

    /// All will end with their namespace.
    pub(in crate::check) fn left(self) -> Made {
        self.ended(Reason::NetnsExit, Window::from_now())
    }
}

impl Mini {
    /// The mini-socket that the active end will leave, and the active end itself.
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

    /// Waits until the peer has received our FIN; if it closed earlier, both ends would be active
    /// closers.
    fn await_fin(&self) -> Step<()> {
        let Some(mut peer) = self.peer.as_ref() else {
            return Ok(());
        };
        match peer.read(&mut [0]).attempt("wait for a FIN")? {
            0 => Ok(()),
            _ => Err(Stop::Fail("data came where none was sent".into())),
        }
    }

    pub(in crate::check) fn key(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.remote)
    }
}

/// The sequence number that TIME_WAIT expects next: the FIN took one.
pub(in crate::check) fn after_fin(at: Sequence) -> u32 {
    at.peer.wrapping_add(1)
}
