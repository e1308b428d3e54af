//! Calls that get no port.

use super::Behaviour;

/// `ip_local_port_range`, and who holds what is in it.
pub(super) const PORTS: &[Behaviour] = &[
    Behaviour {
        name: "port-exhausted",
        rule: "connect() fails only for the destination whose ports TIME_WAIT holds, and each port is counted",
        why: "\"Cannot assign requested address\", with 28,000 sockets in TIME_WAIT",
        source: "__inet_hash_connect asks tcp_twsk_unique once for each port, tcp_tw_reuse=0",
        differs: &[],
    },
    Behaviour {
        name: "port-exhausted-by-both",
        rule: "ports held by live connections are not counted among them",
        why: "tcp_tw_reuse helps only against TIME_WAIT",
        source: "__inet_check_established asks tcp_twsk_unique for mini-sockets only",
        differs: &[],
    },
    Behaviour {
        name: "port-reused",
        rule: "with tcp_tw_reuse=1 the same range is enough, and nothing fails",
        why: "the first thing to try against exhaustion",
        source: "tcp_twsk_unique from __inet_hash_connect (twp not NULL)",
        differs: &[],
    },
    Behaviour {
        name: "port-taken",
        rule: "connect() from a bound port fails because of whatever holds its 4-tuple",
        why: "the same errno as exhaustion, but another cause",
        source: "__inet_check_established; tcp_twsk_unique lets no TIME_WAIT without timestamps go",
        differs: &[],
    },
    Behaviour {
        name: "port-bind",
        rule: "bind() without SO_REUSEADDR fails because of TIME_WAIT sockets or a listener",
        why: "explains servers that do not come back after a restart",
        source: "inet_csk_get_port; mini-sockets stay in the bind hash",
        differs: &[],
    },
];
