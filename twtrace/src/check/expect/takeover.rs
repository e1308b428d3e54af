//! New connections over old ones, and RSTs.

use super::{Behaviour, By, Differs, Sign};

/// connect() takes a TIME_WAIT of its own host.
pub(super) const REUSE: &[Behaviour] = &[
    Behaviour {
        name: "connect-reused",
        rule: "tcp_tw_reuse lets connect() take the only local port, after its delay",
        why: "clients with many short connections depend on it",
        source: "tcp_twsk_unique from __inet_hash_connect (twp not NULL)",
        differs: &[Differs {
            by: By::Sign(Sign::ReuseDelay),
            with: "after tcp_tw_reuse_delay, in milliseconds",
            without: "as soon as the clock's second is another",
        }],
    },
    Behaviour {
        name: "reuse-loopback",
        rule: "tcp_tw_reuse=2, the default, lets connect() take a port on loopback",
        why: "sidecars and tests open thousands of local connections",
        source: "tcp_twsk_unique, reuse == 2 and a loopback address",
        differs: &[],
    },
    Behaviour {
        name: "reuse-loopback-only",
        rule: "tcp_tw_reuse=2 refuses off loopback",
        why: "on the wire old segments are real",
        source: "tcp_twsk_unique, reuse == 2 and no loopback address",
        differs: &[],
    },
    Behaviour {
        name: "reuse-off",
        rule: "tcp_tw_reuse=0 refuses",
        why: "whoever turns it off has a reason, such as a NAT",
        source: "tcp_twsk_unique, reuse is 0",
        differs: &[],
    },
    Behaviour {
        name: "reuse-no-timestamps",
        rule: "without timestamps connect() does not take a port over",
        why: "nothing would tell old segments from new ones",
        source: "tcp_twsk_unique, tw_ts_recent_stamp is 0",
        differs: &[],
    },
    Behaviour {
        name: "reuse-fin-wait-2",
        rule: "connect() leaves a port in FIN_WAIT2 to the old connection",
        why: "the peer may still send data",
        source: "tcp_twsk_unique, tw_substate is TCP_FIN_WAIT2",
        differs: &[Differs {
            by: By::Trying,
            with: "it is refused (6.1.113, 5.10.227 and later)",
            without: "it is taken over",
        }],
    },
    Behaviour {
        name: "reuse-isn",
        rule: "the new connection begins 65,537 after the old one's end",
        why: "old segments fall outside the new window",
        source: "tcp_twsk_unique: write_seq = tw_snd_nxt + 65535 + 2",
        differs: &[],
    },
    Behaviour {
        name: "reuse-delay",
        rule: "a shorter tcp_tw_reuse_delay lets connect() take a port sooner",
        why: "set by those who need a port again within a second",
        source: "tcp_twsk_unique, tcp_tw_reuse_delay",
        differs: &[Differs {
            by: By::Sign(Sign::ReuseDelay),
            with: "200 ms are enough",
            without: "there is no such setting, and the case is skipped",
        }],
    },
    Behaviour {
        name: "reuse-delay-long",
        rule: "a longer tcp_tw_reuse_delay keeps connect() from taking a port",
        why: "networks with slow paths need it",
        source: "tcp_twsk_unique, tcp_tw_reuse_delay",
        differs: &[Differs {
            by: By::Sign(Sign::ReuseDelay),
            with: "60 s refuse for 60 s",
            without: "there is no such setting, and the case is skipped",
        }],
    },
    Behaviour {
        name: "reuse-delay-range",
        rule: "tcp_tw_reuse_delay is 1 ms to 60 s",
        why: "0 would take over connections that still have segments under way",
        source: "tcp_tw_reuse_delay_max in sysctl_net_ipv4.c",
        differs: &[Differs {
            by: By::Sign(Sign::ReuseDelay),
            with: "others get EINVAL",
            without: "there is no such setting, and the case is skipped",
        }],
    },
    Behaviour {
        name: "bound-reused",
        rule: "connect() from a bound port takes TIME_WAIT over with tcp_tw_reuse=0",
        why: "tcp_tw_reuse=0 does not protect TIME_WAIT on bound ports",
        source: "tcp_twsk_unique from __inet_check_established (twp NULL)",
        differs: &[],
    },
    Behaviour {
        name: "bound-reused-fin-wait-2",
        rule: "the same over a mini-socket in FIN_WAIT2",
        why: "tcp_tw_reuse=0 does not protect TIME_WAIT on bound ports",
        source: "tcp_twsk_unique looks at timestamps only when twp is NULL",
        differs: &[],
    },
    Behaviour {
        name: "bound-no-timestamps",
        rule: "without timestamps a bound port is not taken over",
        why: "nothing would tell old segments from new ones",
        source: "tcp_twsk_unique, tw_ts_recent_stamp is 0",
        differs: &[],
    },
];

/// A SYN takes a TIME_WAIT of its peer.
pub(super) const REOPEN: &[Behaviour] = &[
    Behaviour {
        name: "syn-reopened",
        rule: "the peer's new SYN takes the server's TIME_WAIT over",
        why: "a client that comes back within 60 s is not an attacker",
        source: "tcp_timewait_state_process returns TCP_TW_SYN",
        differs: &[],
    },
    Behaviour {
        name: "accepted-newer",
        rule: "with a newer timestamp a SYN is accepted whatever its number",
        why: "sequence numbers have been random since 1996; only the clock says what is newer",
        source: "tcp_timewait_state_process returns TCP_TW_SYN",
        differs: &[],
    },
    Behaviour {
        name: "accepted-equal-ahead",
        rule: "with the same timestamp a SYN that begins one later is accepted",
        why: "two connections fit in a millisecond",
        source: "tcp_timewait_state_process, after(seq, tw_rcv_nxt)",
        differs: &[],
    },
    Behaviour {
        name: "accepted-furthest",
        rule: "a number 2^31 ahead is still ahead",
        why: "random numbers hit the border",
        source: "tcp_timewait_state_process, after(seq, tw_rcv_nxt)",
        differs: &[],
    },
    Behaviour {
        name: "accepted-half-circle",
        rule: "a timestamp 2^31 behind is ahead",
        why: "a clock that jumped must not lock a client out for ever",
        source: "tcp_timewait_state_process, (s32)(tw_ts_recent - rcv_tsval) < 0",
        differs: &[],
    },
    Behaviour {
        name: "accepted-no-option",
        rule: "a SYN without a timestamp that begins later is accepted over a connection that had them",
        why: "middleboxes strip options",
        source: "tcp_timewait_state_process, saw_tstamp is 0",
        differs: &[],
    },
    Behaviour {
        name: "reopen-isn",
        rule: "the SYN-ACK begins 65,537 after the old connection's end",
        why: "old segments fall outside the new window",
        source: "tcp_timewait_state_process: tw_isn = tw_snd_nxt + 65535 + 2",
        differs: &[Differs {
            by: By::Sign(Sign::TwIsn),
            with: "it begins 65,537 ahead",
            without: "tcp_v4_fill_cb forgets it, and it begins anywhere",
        }],
    },
    Behaviour {
        name: "reopen-no-listener",
        rule: "a SYN for which nobody listens is acknowledged, and ends nothing",
        why: "a stranger's SYN must not free a client's port",
        source: "tcp_v4_rcv, TCP_TW_SYN without a listener",
        differs: &[],
    },
];

/// A RST ends it, or does not.
pub(super) const RESET: &[Behaviour] = &[
    Behaviour {
        name: "reset",
        rule: "a RST with the expected sequence number ends TIME_WAIT, a near miss does not",
        why: "TIME_WAIT assassination must be hard to do from afar",
        source: "the kill label of tcp_timewait_state_process, tcp_rfc1337=0",
        differs: &[],
    },
    Behaviour {
        name: "reset-rfc1337",
        rule: "with tcp_rfc1337=1 a RST neither ends TIME_WAIT nor restarts it",
        why: "it is what the setting is for",
        source: "tcp_timewait_state_process returns TCP_TW_SUCCESS before the kill label",
        differs: &[],
    },
    Behaviour {
        name: "refused-rst",
        rule: "RSTs that are too old, or off by one, end nothing and are reported",
        why: "TIME_WAIT assassination must be hard to do from afar",
        source: "tcp_paws_reject, tw_rcv_nxt in tcp_timewait_state_process",
        differs: &[Differs {
            by: By::Sign(Sign::PawsTimewait),
            with: "it counts as PAWSTimewait",
            without: "it counts as PAWSEstab",
        }],
    },
    Behaviour {
        name: "refused-then-reset",
        rule: "a refused SYN, then the client's RST: the end is a reset, with the refusal in its record",
        why: "how Linux clients recover within milliseconds",
        source: "the kill label of tcp_timewait_state_process, tcp_rfc1337=0",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-reset",
        rule: "a RST ends FIN_WAIT2 even with tcp_rfc1337=1",
        why: "tcp_rfc1337 concerns TIME_WAIT only",
        source: "the kill label of tcp_timewait_state_process, substate FIN_WAIT2",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-reset-in-window",
        rule: "in FIN_WAIT2 a RST anywhere in the window is enough",
        why: "data of the peer may have been lost before it",
        source: "tcp_timewait_state_process, tcp_in_window and th->rst",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-reset-outside",
        rule: "in FIN_WAIT2 a RST outside the window ends nothing",
        why: "an old RST may arrive late",
        source: "tcp_timewait_state_process, not tcp_in_window",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-late-data",
        rule: "data after close() ends FIN_WAIT2 and is answered with a RST",
        why: "nobody is left to read it, and the peer must know",
        source: "tcp_timewait_state_process returns TCP_TW_RST",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-syn",
        rule: "a SYN in the window ends FIN_WAIT2 and is answered with a RST",
        why: "the peer has forgotten the connection",
        source: "tcp_timewait_state_process returns TCP_TW_RST: th->syn, not before rcv_nxt",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-data",
        rule: "data in the window ends FIN_WAIT2, is answered with a RST and reported with its own numbers",
        why: "the numbers of another segment would blame the wrong peer",
        source: "tcp_timewait_state_process returns TCP_TW_RST: new data, no FIN",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-data-fin",
        rule: "data and FIN in one segment end FIN_WAIT2, and are answered with a RST",
        why: "clients send their last bytes this way (MSG_MORE, cork, Nagle); no SYN was refused",
        source: "tcp_timewait_state_process returns TCP_TW_RST: end_seq is not rcv_nxt + 1",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-fin-ahead",
        rule: "a FIN that has overtaken data ends FIN_WAIT2, and is answered with a RST",
        why: "one lost segment, and the peer's close() becomes a reset",
        source: "tcp_timewait_state_process returns TCP_TW_RST: end_seq is not rcv_nxt + 1",
        differs: &[],
    },
];
