//! Segments forged in the peers' names, and how they are refused.

use super::{Group, Mini, after_fin};
use crate::check::lab::Lab;
use crate::check::lab::segment::{Forger, Segment};
use crate::check::lab::sockets::{Sequence, loopback};
use crate::check::lab::step::{Attempt, Step};
use crate::check::life::{Rejection, Said, Window, now_ns};
use crate::event::{Numbers, Reply, Rule, Stage};

/// How a segment is refused.
#[derive(Clone, Copy, Debug)]
pub(in crate::check) struct How {
    rule: Rule,
    /// `None` if the tracer cannot know.
    reply: Option<Reply>,
    rearmed: bool,
}

impl How {
    /// An ACK goes back.
    pub(in crate::check) const fn answered(rule: Rule) -> Self {
        Self {
            rule,
            reply: Some(Reply::Ack),
            rearmed: false,
        }
    }

    /// No ACK goes back, because of the rate limit.
    pub(in crate::check) const fn rate_limited(rule: Rule) -> Self {
        Self {
            reply: Some(Reply::RateLimited),
            ..Self::answered(rule)
        }
    }

    /// Nothing goes back.
    pub(in crate::check) const fn ignored(rule: Rule) -> Self {
        Self {
            reply: Some(Reply::None),
            ..Self::answered(rule)
        }
    }

    /// A RST goes back, and the mini-socket ends.
    pub(in crate::check) const fn reset(rule: Rule) -> Self {
        Self {
            reply: Some(Reply::Rst),
            ..Self::answered(rule)
        }
    }

    /// A challenge ACK goes back, or none: those have a rate limit of their own.
    pub(in crate::check) const fn challenged(rule: Rule) -> Self {
        Self {
            reply: None,
            ..Self::answered(rule)
        }
    }

    /// It restarts the timer.
    pub(in crate::check) const fn rearming(self) -> Self {
        Self {
            rearmed: true,
            ..self
        }
    }
}

impl Group {
    /// Sends a segment to each in its peer's name, and waits until TCP has seen them.
    pub(in crate::check) fn forge(
        &self,
        lab: &Lab<'_>,
        make: impl Fn(Sequence) -> Segment<'static>,
    ) -> Step<()> {
        self.send(lab, 0, make).map(drop)
    }

    /// The same with a SYN that is accepted.
    pub(in crate::check) fn forge_accepted(
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
    pub(in crate::check) fn forge_refused(
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

    /// Notes that each refused such a segment.
    pub(in crate::check) fn refused(
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

    /// A segment's numbers, and those of the mini-socket.
    fn numbers(&self, mini: &Mini, segment: &Segment<'_>) -> Numbers {
        let at = mini.sequence;
        Numbers {
            tsval: segment.timestamp,
            ts_recent: at.clock,
            seq: segment.sequence,
            rcv_nxt: match self.stage {
                // A FIN or a SYN took one sequence number.
                Stage::TimeWait | Stage::SynRecv => after_fin(at),
                _ => at.peer,
            },
        }
    }

    /// Sends a segment to each, and waits until TCP has received all of them and `answers` answers
    /// to each.
    pub(in crate::check) fn send(
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
}
