//! What a scenario made and saw by its own clock and by the socket tables: the lives that the
//! tracer has to report.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::event::{BornAs, Call, KernelCounters, Numbers, Reason, Reply, Room, Rule, Stage};

/// Timers of the kernel count in ticks of up to 10 ms, and one may be partly over already.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// TIME_WAIT lasts 60 s, and the timer wheel fires up to an eighth late on any HZ.
pub(super) const TIME_WAIT_LASTS: Range<Duration> =
    Duration::from_millis(60_000 - 10)..Duration::from_millis(68_000);

/// CLOCK_MONOTONIC in ns, the clock of all events.
pub(super) fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        let now = Duration::from(now);
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The sum of some of the kernel's counters.
pub(super) fn sum(counters: &KernelCounters, names: &[&str]) -> u64 {
    names
        .iter()
        .filter_map(|name| counters.tcp_ext.get(*name))
        .sum()
}

/// Something happened between two readings of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Window {
    /// From then until now.
    pub(super) fn since(from: u64) -> Self {
        Self { from, to: now_ns() }
    }

    /// From now on.
    pub(super) fn from_now() -> Self {
        Self {
            from: now_ns(),
            to: u64::MAX,
        }
    }

    /// Whether it holds a time stamp, give or take `grace`.
    pub(super) fn holds(self, stamp: u64, grace: Duration) -> bool {
        let grace = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        (self.from.saturating_sub(grace)..=self.to.saturating_add(grace)).contains(&stamp)
    }
}

/// One mini-socket from birth to end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) born_as: BornAs,
    pub(super) born: Window,
    /// Its birth came before the tracer.
    pub(super) preexisting: bool,
    /// It went from FIN_WAIT2 to TIME_WAIT while tracing.
    pub(super) promoted: bool,
    /// `None` if it ended in FIN_WAIT2.
    pub(super) time_wait: Option<Window>,
    pub(super) reason: Reason,
    pub(super) ended: Window,
    pub(super) rearms: u32,
    /// How long it was in FIN_WAIT2, if it was born there.
    pub(super) fin_wait_2_lasts: Range<Duration>,
    /// How long it was in TIME_WAIT, if it got there.
    pub(super) time_wait_lasts: Range<Duration>,
    /// How many SYNs it refused, and when the first.
    pub(super) refused: u32,
    pub(super) first_refused: Option<Window>,
    /// The forged SYN that was accepted over it.
    pub(super) accepted: Option<Numbers>,
}

/// A full socket that got no mini-socket.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) at: Window,
    /// How many there were, and how many there could be.
    pub(super) room: Room,
}

/// A call that got no port.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortFailed {
    pub(super) call: Call,
    /// With port 0 if none was named.
    pub(super) local: SocketAddr,
    /// `None` of a bind().
    pub(super) remote: Option<SocketAddr>,
    /// What the caller was told.
    pub(super) errno: u32,
    pub(super) at: Window,
    /// Candidates that only a mini-socket held; `None` if nobody knows.
    pub(super) time_wait: Option<u32>,
}

/// A segment that was refused.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) at: Window,
    pub(super) stage: Stage,
    pub(super) rule: Rule,
    /// `None` if the tracer cannot know.
    pub(super) reply: Option<Reply>,
    pub(super) rearmed: bool,
    /// SYNs refused by this mini-socket so far.
    pub(super) refused: u32,
    /// What it said, if it was made by hand.
    pub(super) said: Option<Said>,
}

/// All that is known of a segment that was made by hand, and of who refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) numbers: Numbers,
    pub(super) tcp_flags: u8,
    pub(super) window: u16,
    pub(super) ttl: u8,
    /// Of the FIN that began TIME_WAIT.
    pub(super) owner_ttl: Option<u8>,
}

/// Refusals that came as TCP liked: only their kinds and sums are known.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    /// How many SYNs were refused.
    pub(super) syns: RangeInclusive<usize>,
    /// By these rules, each of them at least once.
    pub(super) rules: &'static [Rule],
    /// Only where the kernel hashes ports into the clock; elsewhere there must be none.
    pub(super) by_ports: bool,
}

/// What a scenario made.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    pub(super) lives: Vec<Life>,
    pub(super) overflows: Vec<Refused>,
    /// In their order.
    pub(super) port_failures: Vec<PortFailed>,
    /// In their order on each connection.
    pub(super) rejections: Vec<Rejection>,
    /// Instead of rejections one by one.
    pub(super) crowd: Option<Crowd>,
    /// Connections that lived as they liked: only their sums are known.
    pub(super) churned: usize,
    /// TcpExt counters of the namespace, and what each must say at the end.
    pub(super) counted: Vec<(&'static str, u64)>,
    /// Where kernels differ: what was looked at, and what was found.
    pub(super) found: Vec<(&'static str, String)>,
    /// How clients fared that came in crowds.
    pub(super) clients: Option<Clients>,
    /// Where the sockets were made, by id, if not where this process is.
    pub(super) cgroup: Option<u64>,
}

/// How clients fared.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    pub(super) tried: usize,
    /// How long connect() took, of those that came through.
    pub(super) delays: Vec<Duration>,
    /// All rounds together.
    pub(super) took: Duration,
}

impl Made {
    /// This and that.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.lives.extend(other.lives);
        self.rejections.extend(other.rejections);
        self.counted.extend(other.counted);
        self.found.extend(other.found);
        self
    }

    /// A counter must say that at the end.
    pub(super) fn counted(mut self, name: &'static str, value: u64) -> Self {
        self.counted.push((name, value));
        self
    }

    /// Something is so, and may be otherwise on another kernel.
    pub(super) fn found(mut self, what: &'static str, found: impl ToString) -> Self {
        self.found.push((what, found.to_string()));
        self
    }

    /// How many lives are like that.
    pub(super) fn count(&self, like: impl Fn(&Life) -> bool) -> u64 {
        self.lives.iter().filter(|life| like(life)).count() as u64
    }

    /// Mini-sockets that must be there when the scenario ends, and go with its namespace.
    pub(super) fn left(&self) -> usize {
        self.lives
            .iter()
            .filter(|life| life.reason == Reason::NetnsExit)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_borders_and_grace() {
        let window = Window { from: 100, to: 200 };
        let none = Duration::ZERO;
        assert!(window.holds(100, none) && window.holds(200, none));
        assert!(!window.holds(99, none) && !window.holds(201, none));
        assert!(window.holds(99, Duration::from_nanos(1)));
        assert!(window.holds(0, Duration::from_secs(1)));
    }
}
