//! What may be behind a conflict, with what speaks for it and against it.

/// What may be behind a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Several hosts behind one address (NAT), each with its clock.
    SeveralHosts,
    /// One host, whose source ports a NAT rewrites, and whose clock depends on the port.
    PortRewritingNat,
    /// The peer's clock went back: a reboot, a restored virtual machine.
    ClockReset,
    /// A stack or proxy whose timestamps do not grow from one connection to the next.
    NonMonotonicStack,
    /// A device without timestamps that has restarted, and begins from the same port or the same
    /// ISN again.
    RestartedDevice,
    /// A segment of an earlier connection that was delayed in the network: the case PAWS is made for.
    OldDuplicate,
}

/// How strong a hypothesis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Likely,
    Perhaps,
    Less,
    Not,
}

/// A cause with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hypothesis {
    pub cause: Cause,
    pub points: i32,
    /// The strongest first.
    pub pro: Vec<Argument>,
    pub con: Vec<Argument>,
}

/// A fact that speaks for or against a cause, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `n` gaps are the same: one pair of clocks, which differ by `ticks`.
    SameGaps { n: u64, of: u64, ticks: u32 },
    /// Few of the gaps are alike.
    UnrelatedGaps { of: u64 },
    /// `n` gaps are too large for an old segment.
    FarBehind { n: u64, of: u64 },
    /// `n` accepted SYNs are ahead by as much as the refused ones are behind.
    TurnsTaken { n: u64 },
    /// `n` accepted SYNs have a clock that is far ahead.
    Jumps { n: u64 },
    /// Not one SYN that was accepted is far ahead.
    NoJumps,
    /// `n` accepted SYNs before the first refusal had the clock of the earlier connection.
    InStepBefore { n: u64 },
    /// The TTL differs from that of the previous owner's FIN `n` times; the first pair is
    /// given.
    OtherTtl { n: u64, syn: u8, owner: u8 },
    /// SYNs came with different TTLs.
    SeveralTtls { a: u8, b: u8 },
    /// The TTL is that of the previous owner's FIN in all that are known.
    SameTtl { n: u64, ttl: u8 },
    /// SYNs offer `n` different windows.
    SeveralWindows { n: usize },
    /// All SYNs offer this window.
    OneWindow { window: u16 },
    /// The ISN is beyond what was received `n` times.
    IsnAhead { n: u64, of: u64 },
    /// The ISN is sometimes beyond and sometimes before what was received.
    IsnMixed { ahead: u64, behind: u64 },
    /// ISN, and TSval if there is one, a little behind, as in the earlier connection itself.
    LikeDuplicates { n: u64, of: u64, timestamps: bool },
    /// The ISN is not beyond what was received in `n`, and there are no timestamps.
    IsnNotAhead { n: u64, of: u64 },
    /// It is so little before it that chance does not explain it.
    IsnNear { n: u64, of: u64 },
    /// All `n` SYNs have the same ISN.
    OneIsn { n: u64, isn: u32 },
    /// All `n` conflicts are with one remote port.
    OnePort { n: u64, port: u16 },
    /// Conflicts are many, where an old segment comes alone.
    Many { n: u64 },
    /// `n` SYNs were repeated.
    SentAgain { n: u64, of: u64 },
    /// From the first refusal to the last.
    Within { ns: u64 },
    /// The clock began at 0 at most this many ticks ago, if it began there.
    YoungClock { ticks: u32 },
    /// `n` SYNs have the timestamp 0.
    ZeroTsval { n: u64, of: u64 },
    /// `n` SYNs have no timestamp, although the earlier connections had them.
    NoTsval { n: u64, of: u64 },
    /// Nobody has timestamps: the ISN alone decides.
    NoTimestamps { n: u64 },
    /// The client of `n` old connections has not closed them: they wait in FIN_WAIT2, or, `live` of
    /// them, are connections still.
    NeverClosed { n: u64, of: u64, live: u64 },
    /// This kernel hashes the ports into the offset; so does the peer, if it runs the same.
    PortsHashed,
}

impl Cause {
    /// In the order of preference among equals.
    pub const ALL: [Self; 6] = [
        Self::SeveralHosts,
        Self::PortRewritingNat,
        Self::ClockReset,
        Self::NonMonotonicStack,
        Self::RestartedDevice,
        Self::OldDuplicate,
    ];

    /// The name in JSON and CSV.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SeveralHosts => "several-hosts",
            Self::PortRewritingNat => "port-rewriting-nat",
            Self::ClockReset => "clock-reset",
            Self::NonMonotonicStack => "non-monotonic-stack",
            Self::RestartedDevice => "restarted-device",
            Self::OldDuplicate => "old-duplicate",
        }
    }
}
