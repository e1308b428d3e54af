//! What is reported of a conflict.

use super::hypothesis::Hypothesis;
use crate::event::{Flow, Reason, Stage};
use crate::model::lifecycle::Life;
use crate::model::refusal::seq_gap;

/// The outcome for the client whose SYN was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client answered the ACK by a RST (RFC 9293, 3.10.7.3), which ended the mini-socket.
    /// Since then nothing refuses its next SYN. No hook sees that: Linux sends it two jiffies
    /// later (since 5.6), others after their first retransmission timeout.
    Recovered,
    /// A later SYN was accepted over the TIME_WAIT.
    Reopened,
    /// `STUCK_SYNS` or more SYNs over `STUCK_NS` or more, and no end of it.
    Stuck,
    /// Fewer, and then the mini-socket ended for another reason.
    GaveUp,
    /// The trace was over before, or too much was open at once, or no mini-socket refused it.
    Unknown,
}

pub const OUTCOMES: usize = 5;

impl Outcome {
    pub const ALL: [Self; OUTCOMES] = [
        Self::Recovered,
        Self::Reopened,
        Self::Stuck,
        Self::GaveUp,
        Self::Unknown,
    ];

    /// The name in all output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Reopened => "reopened",
            Self::Stuck => "stuck",
            Self::GaveUp => "gave-up",
            Self::Unknown => "unknown",
        }
    }
}

/// What keeps a client stuck, as far as was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StuckBy {
    /// Its RST came, and was ignored because of tcp_rfc1337.
    Rfc1337,
    /// A RST came, but with the wrong numbers.
    WrongRst,
    /// ACKs were sent, and no RST came back: something on the way drops the ACK or the RST.
    NoRst,
}

/// A conflict and its outcome. One that is stuck is given once as such, and again if it ends as
/// something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub flow: Flow,
    /// What refused the last SYN, or the substate in which the mini-socket ended.
    pub stage: Stage,
    /// CLOCK_MONOTONIC ns of the first SYN that was refused.
    pub first_ns: u64,
    /// When the outcome was known.
    pub at_ns: u64,
    /// SYNs that were refused.
    pub syns: u32,
    pub outcome: Outcome,
    /// From the first SYN to what let the client in; of [`Outcome::Recovered`], to the RST.
    pub delay_ns: Option<u64>,
    /// From the first SYN to the last that was seen.
    pub span_ns: u64,
    /// TSval less ts_recent of the SYNs refused, in ticks; the first [`GAPS`].
    pub gaps: Vec<i32>,
    pub stuck_by: Option<StuckBy>,
    /// FIN_WAIT2 answered a SYN with a RST: its client was told that nobody listens.
    pub turned_away: bool,
    /// By what is known of the remote address at this moment; the best first.
    pub causes: Vec<Hypothesis>,
}

/// How many gaps of one conflict are kept.
pub const GAPS: usize = 16;

/// A SYN that was accepted over a TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reopen {
    pub life: Life,
    pub seq_gap: Option<i32>,
}

impl Reopen {
    /// `None` if it ended for another reason.
    #[must_use]
    pub fn new(life: &Life) -> Option<Self> {
        (life.end.reason == Reason::SynReopened).then(|| Self {
            life: *life,
            seq_gap: life.end.accepted.as_ref().map(seq_gap),
        })
    }
}
