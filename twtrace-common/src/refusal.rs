//! Words for segments that were refused: where, by what rule, and what was sent back.

use crate::words::words;

words! {
    /// What refused the segment.
    Stage, STAGES {
        /// A mini-socket in substate TIME_WAIT.
        TimeWait = 0, "time-wait";
        /// A mini-socket in substate FIN_WAIT2.
        FinWait2 = 1, "fin-wait-2";
        /// A request socket (`tcp_check_req`).
        SynRecv = 2, "syn-recv";
        /// A live connection (`tcp_validate_incoming`).
        Established = 3, "established";
        /// A connection being opened from here (`tcp_rcv_synsent_state_process`).
        SynSent = 4, "syn-sent";
        /// The per-host cache of tcp_tw_recycle (`tcp_peer_is_proven`; kernels up to 4.11 only,
        /// never produced by this object).
        Recycle = 5, "recycle";
    }
}

words! {
    /// Why.
    Rule, RULES {
        /// Its timestamp is older than the last one of this connection (`tcp_paws_reject`,
        /// `tcp_paws_discard`).
        Paws = 0, "paws";
        /// A SYN whose ISN is not beyond what was received, and whose timestamp is not newer; any
        /// other segment that begins before what was received.
        OldSequence = 1, "old-sequence";
        /// It begins after what was received, or has data where none is expected any more.
        OutOfWindow = 2, "out-of-window";
        /// A RST in TIME_WAIT that would have ended it without tcp_rfc1337.
        Rfc1337 = 3, "rfc1337";
        /// In the window, but not what FIN_WAIT2 waits for: a new SYN, or data that nobody can
        /// read any more. The answer is a RST, and the mini-socket ends.
        Unexpected = 4, "unexpected";
        /// A SYN for a live connection: answered with a challenge ACK whatever its numbers
        /// (RFC 5961).
        Challenge = 5, "challenge";
        /// It echoes a timestamp that was never sent (`RCV_TSECR`).
        Echo = 6, "echo";
    }
}

words! {
    /// What was sent back.
    Reply, REPLIES {
        /// Nothing, by rule.
        None = 0, "none";
        /// An ACK with the numbers of the old connection.
        Ack = 1, "ack";
        /// Nothing, because an ACK was sent less than tcp_invalid_ratelimit ago.
        RateLimited = 2, "rate-limited";
        /// A RST.
        Rst = 3, "rst";
    }
}

/// In place of a [`Reply`]: the hook does not tell.
pub const REPLY_UNKNOWN: u8 = 255;

words! {
    /// Refusals as they are counted: each sum can be compared with a counter of the kernel.
    Class, CLASSES {
        /// By timestamp in TIME_WAIT: PAWSTimewait where the kernel has it, else PAWSEstab.
        TimeWaitPaws = 0, "time-wait by paws";
        /// By another rule in TIME_WAIT.
        TimeWaitOther = 1, "time-wait";
        /// By timestamp in FIN_WAIT2; the kernel does not count these.
        FinWait2Paws = 2, "fin-wait-2 by paws";
        /// By another rule in FIN_WAIT2.
        FinWait2Other = 3, "fin-wait-2";
        /// By timestamp in SYN_RECV: PAWSEstab.
        SynRecvPaws = 4, "syn-recv by paws";
        /// By another rule in SYN_RECV.
        SynRecvOther = 5, "syn-recv";
        /// By timestamp on a live connection: PAWSEstab.
        EstablishedPaws = 6, "established by paws";
        /// Old ACKs without data on a live connection: PAWSOldAck (kernels that have it).
        EstablishedOldAck = 7, "established old ACK";
        /// SYNs on a live connection, where they are not counted as PAWS.
        EstablishedChallenge = 8, "established challenge";
        /// On a connection being opened from here.
        SynSent = 9, "syn-sent";
    }
}

words! {
    /// Which answer tcp_invalid_ratelimit suppressed, named after the kernel's counter for it:
    /// TCPACKSkippedTimeWait and so on.
    Skipped, SKIPS {
        /// TCPACKSkippedTimeWait.
        TimeWait = 0, "TCPACKSkippedTimeWait";
        /// TCPACKSkippedFinWait2.
        FinWait2 = 1, "TCPACKSkippedFinWait2";
        /// TCPACKSkippedSynRecv.
        SynRecv = 2, "TCPACKSkippedSynRecv";
        /// TCPACKSkippedPAWS.
        Paws = 3, "TCPACKSkippedPAWS";
    }
}
