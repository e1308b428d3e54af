//! Segments that are not accepted, and what the kernel counts.

use super::{Behaviour, By, Differs, Sign};

/// Who is kept out, and by what rule.
pub(super) const REFUSAL: &[Behaviour] = &[
    Behaviour {
        name: "refused-paws",
        rule: "a SYN whose timestamp is behind is refused whatever its number, and restarts the 60 s",
        why: "it may be an old duplicate; behind a NAT it is a customer",
        source: "tcp_paws_reject in tcp_timewait_state_process, window 0",
        differs: &[
            Differs {
                by: By::Sign(Sign::PawsTimewait),
                with: "it counts as PAWSTimewait",
                without: "it counts as PAWSEstab",
            },
            Differs {
                by: By::Sign(Sign::UsecTs),
                with: "a timestamp is compared for 2147 s",
                without: "a timestamp is compared for 24 days",
            },
        ],
    },
    Behaviour {
        name: "refused-data",
        rule: "data whose timestamp is behind is refused and acknowledged",
        why: "an old duplicate of the connection itself",
        source: "tcp_paws_reject in tcp_timewait_state_process, window 0",
        differs: &[Differs {
            by: By::Sign(Sign::PawsTimewait),
            with: "it counts as PAWSTimewait",
            without: "it counts as PAWSEstab",
        }],
    },
    Behaviour {
        name: "refused-rate-limited",
        rule: "only the first of three is answered, but each restarts the 60 s",
        why: "answers without a limit feed loops of ACKs",
        source: "tcp_oow_rate_limited, tcp_invalid_ratelimit",
        differs: &[],
    },
    Behaviour {
        name: "refused-data-unlimited",
        rule: "segments with data are answered each time",
        why: "a peer that lacks an ACK must get one",
        source: "tcp_oow_rate_limited: only SYNs and segments without data",
        differs: &[],
    },
    Behaviour {
        name: "refused-old-sequence",
        rule: "with the same timestamp a SYN must begin after what was received",
        why: "otherwise an old duplicate would open a connection",
        source: "tcp_timewait_state_process, after(seq, tw_rcv_nxt); the timer is left alone",
        differs: &[],
    },
    Behaviour {
        name: "refused-no-timestamps",
        rule: "without timestamps a SYN one behind is refused, one ahead accepted",
        why: "otherwise an old duplicate would open a connection",
        source: "tcp_timewait_state_process, after(seq, tw_rcv_nxt)",
        differs: &[],
    },
    Behaviour {
        name: "refused-fin-wait-2",
        rule: "FIN_WAIT2 refuses by the same rules, and a SYN in the window ends it",
        why: "its refusals move no counter, so only a tracer sees them",
        source: "the first half of tcp_timewait_state_process; the kernel counts no PAWS here",
        differs: &[],
    },
    Behaviour {
        name: "refused-established",
        rule: "a live connection refuses old SYNs, data and ACKs, as this kernel counts them",
        why: "spoofed and late segments must not disturb it",
        source: "tcp_validate_incoming, tcp_disordered_ack",
        differs: &[
            Differs {
                by: By::Sign(Sign::PawsOldAck),
                with: "an old ACK is dropped in silence and counts as PAWSOldAck",
                without: "an old ACK is answered and counts as PAWSEstab",
            },
            Differs {
                by: By::Trying,
                with: "an old SYN gets a challenge ACK (6.12.107 and later)",
                without: "an old SYN gets a duplicate ACK",
            },
        ],
    },
    Behaviour {
        name: "refused-syn-recv",
        rule: "the last ACK of a handshake is refused if it is too old or begins too early",
        why: "a spoofed ACK must not complete a handshake",
        source: "tcp_check_req",
        differs: &[],
    },
    Behaviour {
        name: "nat-recovered",
        rule: "of two clients behind one address, the one whose clock is behind is refused once and gets through by its RST",
        why: "the price of a NAT is milliseconds, not seconds",
        source: "TCP_TW_ACK, then RST from SYN_SENT (tcp_rcv_synsent_state_process), tcp_rfc1337=0",
        differs: &[],
    },
    Behaviour {
        name: "nat-stuck",
        rule: "with tcp_rfc1337=1 such a client does not get through, and each of its SYNs restarts the 60 s",
        why: "one sysctl locks out customers behind a NAT",
        source: "tcp_timewait_state_process ignores the RST",
        differs: &[],
    },
    Behaviour {
        name: "nat-random",
        rule: "one client behind MASQUERADE --random-fully is refused where the clock depends on ports",
        why: "mainline 165573e41f2f halved the rate of short connections",
        source: "secure_tcp_seq_and_ts_off",
        differs: &[Differs {
            by: By::Sign(Sign::PortsInClock),
            with: "SYNs are refused",
            without: "nothing is refused",
        }],
    },
    Behaviour {
        name: "nat-random-plain-clock",
        rule: "with tcp_timestamps=2 on the client nothing is refused",
        why: "the way out for those who cannot change the NAT",
        source: "no offset is added to the clock",
        differs: &[],
    },
    Behaviour {
        name: "nat-none",
        rule: "without NAT a client's own ports come back with their own clocks",
        why: "the common case must not suffer",
        source: "the offset is the same for the same addresses and ports",
        differs: &[],
    },
];

const COUNTED_AT: Differs = Differs {
    by: By::Sign(Sign::TwKill),
    with: "TW and TWKilled count when the timer fires",
    without: "TW and TWKilled count at birth",
};

/// What `/proc/net/netstat` says, by kernel.
pub(super) const COUNTERS: &[Behaviour] = &[
    Behaviour {
        name: "count-births",
        rule: "TW counts mini-sockets of more than 4 s once",
        why: "every monitoring system reads it",
        source: "__inet_twsk_schedule",
        differs: &[COUNTED_AT],
    },
    Behaviour {
        name: "count-short",
        rule: "TWKilled counts mini-sockets of 4 s or less",
        why: "with a short tcp_fin_timeout TW alone misleads",
        source: "__inet_twsk_schedule",
        differs: &[COUNTED_AT],
    },
    Behaviour {
        name: "count-recycled",
        rule: "TWRecycled counts each takeover by connect()",
        why: "shows that tcp_tw_reuse works",
        source: "__inet_hash_connect, __inet_check_established",
        differs: &[],
    },
    Behaviour {
        name: "count-paws",
        rule: "exactly one counter counts a SYN refused for its timestamp",
        why: "the only hint that administrators have",
        source: "tcp_timewait_state_process",
        differs: &[Differs {
            by: By::Sign(Sign::PawsTimewait),
            with: "it counts as PAWSTimewait",
            without: "it counts as PAWSEstab",
        }],
    },
    Behaviour {
        name: "count-no-paws-fin-wait-2",
        rule: "what FIN_WAIT2 refuses moves no PAWS counter",
        why: "explains why counters and captures disagree",
        source: "tcp_timewait_state_process, the first half",
        differs: &[],
    },
    Behaviour {
        name: "count-skipped",
        rule: "TCPACKSkippedTimeWait counts answers that were left out",
        why: "shows clients that retry too fast",
        source: "tcp_oow_rate_limited",
        differs: &[],
    },
    Behaviour {
        name: "count-skipped-fin-wait-2",
        rule: "TCPACKSkippedFinWait2 counts answers that were left out",
        why: "shows clients that retry too fast",
        source: "tcp_oow_rate_limited",
        differs: &[],
    },
    Behaviour {
        name: "count-reset",
        rule: "an end by RST moves no TIME_WAIT counter",
        why: "only a tracer sees it",
        source: "the kill label of tcp_timewait_state_process",
        differs: &[],
    },
    Behaviour {
        name: "count-reopen",
        rule: "an accepted SYN moves no TIME_WAIT counter",
        why: "only a tracer sees it",
        source: "tcp_v4_rcv, TCP_TW_SYN",
        differs: &[],
    },
];
