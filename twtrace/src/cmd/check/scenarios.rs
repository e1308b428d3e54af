//! The scenarios: what each one proves, and by what rule of the kernel.

use super::lab::{Lab, Step};
use super::life::Made;
use super::work::{
    churn, elsewhere, nat, owner, ports, preexisting, refusals, removal, resets, takeover, timers,
};
use crate::event::Family;

/// One row.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What passes if this passes.
    pub(super) proves: &'static str,
    /// The kernel function that does it, and when.
    pub(super) rule: &'static str,
    pub(super) families: &'static [Family],
    /// Connections; a prime, so that no count is right by chance.
    pub(super) count: usize,
    /// Waits for TIME_WAIT to run out, so it begins first.
    pub(super) slow: bool,
    /// Nobody minds what TCP does by itself on a busy machine.
    pub(super) may_retransmit: bool,
    /// Begins before tracing does.
    pub(super) early: bool,
    /// Needs the calls that look for a port.
    pub(super) calls: bool,
    pub(super) run: fn(&Lab<'_>) -> Step<Made>,
}

const ALL: &[Family] = &[Family::Ipv4, Family::Ipv6, Family::Ipv4Mapped];

/// Where it matters only what is on the wire.
const WIRE: &[Family] = &[Family::Ipv4, Family::Ipv6];

const ROW: Scenario = Scenario {
    name: "",
    proves: "",
    rule: "",
    families: ALL,
    count: 7,
    slow: false,
    may_retransmit: false,
    early: false,
    calls: false,
    run: |_| Ok(Made::default()),
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "expired",
        proves: "TIME_WAIT that began as FIN_WAIT2 lasts 60 s and runs out once",
        rule: "tw_timer_handler; the timer wheel fires up to an eighth late",
        count: 11,
        slow: true,
        run: timers::expired,
        ..ROW
    },
    Scenario {
        name: "expired-direct",
        proves: "a mini-socket that is born in TIME_WAIT has no FIN_WAIT2 time",
        rule: "tcp_fin on a full socket in FIN_WAIT2 calls tcp_time_wait(TCP_TIME_WAIT)",
        slow: true,
        run: timers::expired_direct,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-timeout",
        proves: "tcp_fin_timeout ends FIN_WAIT2, and is no TIME_WAIT",
        rule: "tw_timer_handler with tw_substate FIN_WAIT2",
        run: timers::fin_wait_2_timeout,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-linger2",
        proves: "TCP_LINGER2 of one socket ends FIN_WAIT2 after 3 s",
        rule: "tcp_fin_time prefers linger2 to tcp_fin_timeout",
        count: 5,
        run: timers::linger2_timeout,
        ..ROW
    },
    Scenario {
        name: "promotion",
        proves: "300 ms in FIN_WAIT2 are told apart from the TIME_WAIT that follows",
        rule: "tcp_timewait_state_process sets tw_substate when the peer's FIN comes",
        run: timers::promotion,
        ..ROW
    },
    Scenario {
        name: "re-arm",
        proves: "a duplicate FIN, old data and a bare ACK restart the 60 s, and are counted",
        rule: "inet_twsk_reschedule in tcp_timewait_state_process",
        slow: true,
        run: timers::rearm,
        ..ROW
    },
    Scenario {
        name: "syn-reopened",
        proves: "the peer's new SYN takes the server's TIME_WAIT over",
        rule: "tcp_timewait_state_process returns TCP_TW_SYN",
        run: takeover::syn_reopened,
        ..ROW
    },
    Scenario {
        name: "connect-reused",
        proves: "tcp_tw_reuse lets connect() take the only local port, after its delay",
        rule: "tcp_twsk_unique from __inet_hash_connect (twp not NULL)",
        calls: true,
        run: takeover::connect_reused,
        ..ROW
    },
    Scenario {
        name: "bound-reused",
        proves: "connect() from a bound port takes TIME_WAIT over with tcp_tw_reuse=0",
        rule: "tcp_twsk_unique from __inet_check_established (twp NULL)",
        run: takeover::bound_reused,
        ..ROW
    },
    Scenario {
        name: "bound-reused-fin-wait-2",
        proves: "the same over a mini-socket in FIN_WAIT2",
        rule: "tcp_twsk_unique looks at timestamps only when twp is NULL",
        count: 5,
        run: takeover::bound_reused_fin_wait_2,
        ..ROW
    },
    Scenario {
        name: "reset",
        proves: "a RST with the expected sequence number ends TIME_WAIT, a near miss does not",
        rule: "the kill label of tcp_timewait_state_process, tcp_rfc1337=0",
        run: resets::reset,
        ..ROW
    },
    Scenario {
        name: "reset-rfc1337",
        proves: "with tcp_rfc1337=1 a RST neither ends TIME_WAIT nor restarts it",
        rule: "tcp_timewait_state_process returns TCP_TW_SUCCESS before the kill label",
        count: 5,
        run: resets::reset_rfc1337,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-reset",
        proves: "a RST ends FIN_WAIT2 even with tcp_rfc1337=1",
        rule: "the kill label of tcp_timewait_state_process, substate FIN_WAIT2",
        run: resets::fin_wait_2_reset,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-late-data",
        proves: "data after close() ends FIN_WAIT2 and is answered by a RST",
        rule: "tcp_timewait_state_process returns TCP_TW_RST",
        run: resets::fin_wait_2_late_data,
        ..ROW
    },
    Scenario {
        name: "destroyed",
        proves: "SOCK_DESTROY (ss -K) ends TIME_WAIT",
        rule: "tcp_abort on a mini-socket; 5.10 answers EOPNOTSUPP",
        run: removal::destroyed,
        ..ROW
    },
    Scenario {
        name: "destroyed-fin-wait-2",
        proves: "SOCK_DESTROY ends FIN_WAIT2",
        rule: "tcp_abort on a mini-socket; 5.10 answers EOPNOTSUPP",
        count: 5,
        run: removal::destroyed_fin_wait_2,
        ..ROW
    },
    Scenario {
        name: "netns-exit",
        proves: "mini-sockets in both substates end with their namespace",
        rule: "inet_twsk_purge from tcp_sk_exit_batch",
        count: 13,
        run: removal::netns_exit,
        ..ROW
    },
    Scenario {
        name: "overflow",
        proves: "closes past tcp_max_tw_buckets are reported, the rest live on",
        rule: "inet_twsk_alloc returns NULL, TCPTimeWaitOverflow counts it",
        count: 13,
        run: removal::overflow,
        ..ROW
    },
    Scenario {
        name: "port-exhausted",
        proves: "connect() fails for the one destination whose ports TIME_WAIT holds, and each is counted",
        rule: "__inet_hash_connect asks tcp_twsk_unique once for each port, tcp_tw_reuse=0",
        calls: true,
        run: ports::exhausted,
        ..ROW
    },
    Scenario {
        name: "port-exhausted-by-both",
        proves: "ports that living connections hold are not counted among them",
        rule: "__inet_check_established asks tcp_twsk_unique for mini-sockets only",
        calls: true,
        run: ports::exhausted_by_both,
        ..ROW
    },
    Scenario {
        name: "port-reused",
        proves: "with tcp_tw_reuse=1 the same range is enough, and nothing fails",
        rule: "tcp_twsk_unique from __inet_hash_connect (twp not NULL)",
        calls: true,
        run: ports::reused,
        ..ROW
    },
    Scenario {
        name: "port-taken",
        proves: "connect() from a bound port fails for what holds its four-tuple",
        rule: "__inet_check_established; tcp_twsk_unique lets no TIME_WAIT without timestamps go",
        count: 5,
        calls: true,
        run: ports::taken,
        ..ROW
    },
    Scenario {
        name: "port-bind",
        proves: "bind() without SO_REUSEADDR fails over TIME_WAITs, and over a listener",
        rule: "inet_csk_get_port; mini-sockets stay in the bind hash",
        count: 5,
        calls: true,
        run: ports::bind,
        ..ROW
    },
    Scenario {
        name: "linger-0",
        proves: "SO_LINGER 0 leaves no mini-socket, and nothing is reported",
        rule: "tcp_close sends a RST and calls tcp_disconnect",
        run: removal::linger_0,
        ..ROW
    },
    Scenario {
        name: "refused-paws",
        proves: "a SYN whose timestamp is behind is refused whatever its number, and restarts the 60 s",
        rule: "tcp_paws_reject in tcp_timewait_state_process, window 0",
        run: refusals::paws,
        ..ROW
    },
    Scenario {
        name: "refused-rate-limited",
        proves: "only the first of three is answered, but each restarts the 60 s",
        rule: "tcp_oow_rate_limited, tcp_invalid_ratelimit",
        count: 5,
        run: refusals::rate_limited,
        ..ROW
    },
    Scenario {
        name: "refused-old-sequence",
        proves: "with the same timestamp a SYN must begin after what was received",
        rule: "tcp_timewait_state_process, after(seq, tw_rcv_nxt); the timer is left alone",
        count: 5,
        run: refusals::old_sequence,
        ..ROW
    },
    Scenario {
        name: "accepted-newer",
        proves: "with a newer timestamp a SYN is accepted whatever its number",
        rule: "tcp_timewait_state_process returns TCP_TW_SYN",
        count: 5,
        run: refusals::newer,
        ..ROW
    },
    Scenario {
        name: "refused-no-timestamps",
        proves: "without timestamps a SYN one behind is refused, one ahead accepted",
        rule: "tcp_timewait_state_process, after(seq, tw_rcv_nxt)",
        count: 5,
        run: refusals::no_timestamps,
        ..ROW
    },
    Scenario {
        name: "refused-rst",
        proves: "RSTs that are too old, or off by one, end nothing and are told",
        rule: "tcp_paws_reject, tw_rcv_nxt in tcp_timewait_state_process",
        count: 5,
        run: refusals::resets,
        ..ROW
    },
    Scenario {
        name: "refused-then-reset",
        proves: "a refused SYN and the client's RST for the answer: reset, with the refusal in its record",
        rule: "the kill label of tcp_timewait_state_process, tcp_rfc1337=0",
        run: refusals::then_reset,
        ..ROW
    },
    Scenario {
        name: "refused-fin-wait-2",
        proves: "FIN_WAIT2 refuses by the same rules, and dies of a SYN in the window",
        rule: "the first half of tcp_timewait_state_process; the kernel counts no PAWS here",
        count: 5,
        run: refusals::fin_wait_2,
        ..ROW
    },
    Scenario {
        name: "refused-established",
        proves: "a connection that lives refuses old SYNs, data and ACKs, as this kernel counts them",
        rule: "tcp_validate_incoming, tcp_disordered_ack; SYNs are challenged on later kernels",
        count: 5,
        run: elsewhere::established,
        ..ROW
    },
    Scenario {
        name: "refused-syn-recv",
        proves: "the last ACK of a handshake is refused if it is too old or begins too early",
        rule: "tcp_check_req",
        count: 5,
        run: elsewhere::syn_recv,
        ..ROW
    },
    Scenario {
        name: "nat-recovered",
        proves: "behind one address, the client whose clock is behind is refused once and gets through by its RST",
        rule: "TCP_TW_ACK, then RST from SYN_SENT (tcp_rcv_synsent_state_process), tcp_rfc1337=0",
        families: WIRE,
        count: 2,
        run: nat::recovered,
        ..ROW
    },
    Scenario {
        name: "nat-stuck",
        proves: "with tcp_rfc1337=1 it does not get through, and each of its SYNs restarts the 60 s",
        rule: "tcp_timewait_state_process ignores the RST",
        families: WIRE,
        count: 2,
        run: nat::stuck,
        ..ROW
    },
    Scenario {
        name: "nat-random",
        proves: "one client behind MASQUERADE --random-fully is refused where ports make the clock",
        rule: "secure_tcp_seq_and_ts_off where the kernel has it; nothing is refused elsewhere",
        families: &[Family::Ipv4],
        count: 53,
        may_retransmit: true,
        run: nat::random,
        ..ROW
    },
    Scenario {
        name: "nat-random-plain-clock",
        proves: "with tcp_timestamps=2 on the client nothing is refused",
        rule: "no offset is added to the clock",
        families: &[Family::Ipv4],
        count: 53,
        may_retransmit: true,
        run: nat::random_plain_clock,
        ..ROW
    },
    Scenario {
        name: "nat-none",
        proves: "without NAT a client's own ports come back with their own clocks",
        rule: "the offset is the same for the same addresses and ports",
        families: &[Family::Ipv4],
        count: 53,
        may_retransmit: true,
        run: nat::no_nat,
        ..ROW
    },
    Scenario {
        name: "owner",
        proves: "uid and cgroup are those of who made the socket or accepted it, not of who closes it",
        rule: "sock_init_data and sock_graft take the file system uid, cgroup_sk_alloc and cgroup_sk_clone the cgroup",
        run: owner::known,
        ..ROW
    },
    Scenario {
        name: "preexisting",
        proves: "TIME_WAIT from before tracing is reported with its true age or none",
        rule: "tw_entry_stamp where the kernel keeps it",
        early: true,
        slow: true,
        run: preexisting::expired,
        ..ROW
    },
    Scenario {
        name: "preexisting-reset",
        proves: "the reason is right even where the birth was not seen",
        rule: "as reset",
        count: 5,
        early: true,
        run: preexisting::reset,
        ..ROW
    },
    Scenario {
        name: "listed",
        proves: "mini-sockets from before tracing are listed with substate and remaining time, as the socket table has them",
        rule: "inet_diag_dump_icsk: idiag_timer is 3 of mini-sockets only",
        early: true,
        run: preexisting::listed,
        ..ROW
    },
    Scenario {
        name: "preexisting-promotion",
        proves: "FIN_WAIT2 from before tracing is promoted while tracing",
        rule: "as promotion",
        count: 5,
        early: true,
        run: preexisting::promoted,
        ..ROW
    },
    Scenario {
        name: "churn",
        proves: "births are ends plus live ones, whatever happens to thousands of connections",
        rule: "every end passes inet_twsk_kill once",
        count: 2003,
        may_retransmit: true,
        run: churn::churn,
        ..ROW
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_prime(number: usize) -> bool {
        number > 1 && (2..number).all(|divisor| !number.is_multiple_of(divisor))
    }

    #[test]
    fn every_scenario_is_named_explained_and_prime() {
        for row in SCENARIOS {
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(
                !row.name.is_empty() && row.name.chars().all(kebab),
                "{}",
                row.name
            );
            assert!(
                !row.proves.is_empty() && !row.rule.is_empty(),
                "{}",
                row.name
            );
            assert!(is_prime(row.count), "{}", row.name);
            assert!(!row.families.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
