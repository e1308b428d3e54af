//! Births, times and ends that nobody forces; what restarts the timer; where there is no room.

use super::{Behaviour, By, Differs, Sign};

const DESTROYED: Differs = Differs {
    by: By::Trying,
    with: "SOCK_DESTROY ends it",
    without: "it answers EOPNOTSUPP (5.10), and the case is skipped",
};

/// How mini-sockets are born, how long they last, how they end.
pub(super) const LIFECYCLE: &[Behaviour] = &[
    Behaviour {
        name: "expired",
        rule: "TIME_WAIT that began as FIN_WAIT2 lasts 60 s and runs out once",
        why: "shorter, and old segments reach new connections; longer, and ports run out",
        source: "tw_timer_handler; the timer wheel fires up to an eighth late",
        differs: &[],
    },
    Behaviour {
        name: "expired-direct",
        rule: "a mini-socket that is born in TIME_WAIT has no FIN_WAIT2 time",
        why: "adding the two up would blame the peer for 60 s",
        source: "tcp_fin on a full socket in FIN_WAIT2 calls tcp_time_wait(TCP_TIME_WAIT)",
        differs: &[],
    },
    Behaviour {
        name: "closing",
        rule: "both ends close at once: TIME_WAIT follows CLOSING, without FIN_WAIT2",
        why: "peers that hang up together are common, and both ends must be held back",
        source: "tcp_rcv_state_process, TCP_CLOSING, calls tcp_time_wait(TCP_TIME_WAIT)",
        differs: &[],
    },
    Behaviour {
        name: "fin-with-ack",
        rule: "a FIN that also acknowledges ours leads to TIME_WAIT at once",
        why: "this is how servers that close first get most of their TIME_WAIT sockets",
        source: "tcp_rcv_state_process leaves FIN_WAIT1, tcp_fin calls tcp_time_wait(TCP_TIME_WAIT)",
        differs: &[],
    },
    Behaviour {
        name: "close-after-shutdown",
        rule: "close() of a socket that waits for the peer's FIN makes it a mini-socket",
        why: "a full socket whose process is gone costs ten times the memory",
        source: "__tcp_close in TCP_FIN_WAIT2 calls tcp_time_wait(TCP_FIN_WAIT2)",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-timeout",
        rule: "tcp_fin_timeout ends FIN_WAIT2, and no TIME_WAIT follows",
        why: "peers that never close would hold ports for ever",
        source: "tw_timer_handler with tw_substate FIN_WAIT2",
        differs: &[],
    },
    Behaviour {
        name: "fin-wait-2-linger2",
        rule: "TCP_LINGER2 of one socket ends FIN_WAIT2 after 3 s",
        why: "servers set it against peers that do not close",
        source: "tcp_fin_time prefers linger2 to tcp_fin_timeout",
        differs: &[],
    },
    Behaviour {
        name: "linger2-negative",
        rule: "TCP_LINGER2 below 0 leaves no mini-socket: the peer gets a RST",
        why: "whoever asks for no FIN_WAIT2 must not pay for one",
        source: "tcp_rcv_state_process, linger2 < 0, calls tcp_done",
        differs: &[],
    },
    Behaviour {
        name: "fin-timeout-over-60",
        rule: "the part of tcp_fin_timeout over 60 s is spent twice, as a full and as a mini-socket; the 60 s are not",
        why: "61 s give 2 s: whoever raises the setting must know",
        source: "tcp_keepalive_timer: tcp_fin_time less TCP_TIMEWAIT_LEN",
        differs: &[],
    },
    Behaviour {
        name: "promotion",
        rule: "300 ms in FIN_WAIT2 are measured apart from the TIME_WAIT that follows",
        why: "the peer's FIN may come late, and the 60 s begin with it",
        source: "tcp_timewait_state_process sets tw_substate when the peer's FIN comes",
        differs: &[],
    },
    Behaviour {
        name: "linger-0",
        rule: "SO_LINGER 0 leaves no mini-socket, and nothing is reported",
        why: "load generators rely on it",
        source: "tcp_close sends a RST and calls tcp_disconnect",
        differs: &[],
    },
    Behaviour {
        name: "destroyed",
        rule: "SOCK_DESTROY (ss -K) ends TIME_WAIT",
        why: "the only way to free a port by hand",
        source: "tcp_abort on a mini-socket",
        differs: &[DESTROYED],
    },
    Behaviour {
        name: "destroyed-fin-wait-2",
        rule: "SOCK_DESTROY ends FIN_WAIT2",
        why: "the only way to free a port by hand",
        source: "tcp_abort on a mini-socket",
        differs: &[DESTROYED],
    },
    Behaviour {
        name: "preexisting",
        rule: "TIME_WAIT from before tracing is reported with its true age or none",
        why: "a tracer is started when something is already wrong",
        source: "tw_entry_stamp where the kernel keeps it",
        differs: &[Differs {
            by: By::Sign(Sign::EntryStamp),
            with: "its age is known",
            without: "its age is unknown",
        }],
    },
    Behaviour {
        name: "preexisting-reset",
        rule: "the reason is right even if the birth was not seen",
        why: "a tracer is started when something is already wrong",
        source: "as reset",
        differs: &[],
    },
    Behaviour {
        name: "listed",
        rule: "mini-sockets from before tracing are listed with substate and remaining time, as the socket table has them",
        why: "a tracer is started when something is already wrong",
        source: "inet_diag_dump_icsk: idiag_timer is 3 of mini-sockets only",
        differs: &[],
    },
    Behaviour {
        name: "owner",
        rule: "uid and cgroup belong to whoever made or accepted the socket, not to whoever closes it",
        why: "they show who fills the table",
        source: "sock_init_data and sock_graft take the file system uid, cgroup_sk_alloc and cgroup_sk_clone the cgroup",
        differs: &[],
    },
    Behaviour {
        name: "preexisting-promotion",
        rule: "FIN_WAIT2 from before tracing is promoted while tracing",
        why: "a tracer is started when something is already wrong",
        source: "as promotion",
        differs: &[],
    },
    Behaviour {
        name: "churn",
        rule: "births equal ends plus live sockets, whatever happens to thousands of connections",
        why: "a missed end would be a leak in the kernel, or an error in the tracer",
        source: "every end passes inet_twsk_kill once",
        differs: &[],
    },
];

/// What restarts the 60 s, and what must not.
pub(super) const REARM: &[Behaviour] = &[
    Behaviour {
        name: "re-arm",
        rule: "a duplicate FIN, old data and a bare ACK restart the 60 s, and are counted",
        why: "explains why TIME_WAIT lasts longer than 60 s",
        source: "inet_twsk_reschedule in tcp_timewait_state_process",
        differs: &[],
    },
    Behaviour {
        name: "re-arm-fin",
        rule: "a duplicate FIN is acknowledged and restarts the 60 s",
        why: "its ACK was lost, and the peer needs another",
        source: "tcp_timewait_state_process, out of window with th->ack",
        differs: &[],
    },
    Behaviour {
        name: "re-arm-data",
        rule: "old data is acknowledged and restarts the 60 s",
        why: "the segment may be one of many still under way",
        source: "tcp_timewait_state_process, out of window with th->ack",
        differs: &[],
    },
    Behaviour {
        name: "re-arm-ack",
        rule: "a bare ACK in its place restarts the 60 s without an answer",
        why: "answering it would start an endless exchange of ACKs",
        source: "tcp_timewait_state_process, seq is tw_rcv_nxt",
        differs: &[],
    },
    Behaviour {
        name: "re-arm-ahead",
        rule: "an ACK beyond what was received is answered and restarts the 60 s",
        why: "treated like any segment out of place",
        source: "tcp_timewait_state_process, out of window with th->ack",
        differs: &[],
    },
    Behaviour {
        name: "re-arm-refused-syn",
        rule: "a SYN refused for its timestamp restarts the 60 s",
        why: "a client that keeps trying keeps itself out",
        source: "tcp_timewait_state_process, paws_reject",
        differs: &[],
    },
    Behaviour {
        name: "kept-old-syn",
        rule: "a SYN refused for its number alone does not restart the 60 s",
        why: "otherwise such a client could never get through",
        source: "tcp_timewait_state_process, no paws_reject and no th->ack",
        differs: &[],
    },
    Behaviour {
        name: "kept-reset",
        rule: "a RST that ends nothing does not restart the 60 s",
        why: "otherwise anybody could hold ports for ever",
        source: "tcp_timewait_state_process, th->rst",
        differs: &[],
    },
];

/// `tcp_max_tw_buckets`.
pub(super) const OVERFLOW: &[Behaviour] = &[
    Behaviour {
        name: "overflow",
        rule: "closes beyond tcp_max_tw_buckets are reported, earlier sockets live on",
        why: "those connections lose the protection of TIME_WAIT, and the kernel logs nothing",
        source: "inet_twsk_alloc returns NULL, TCPTimeWaitOverflow counts it",
        differs: &[],
    },
    Behaviour {
        name: "overflow-none",
        rule: "tcp_max_tw_buckets=0 leaves no mini-socket at all",
        why: "late FINs are then answered with RSTs",
        source: "inet_twsk_alloc returns NULL",
        differs: &[],
    },
    Behaviour {
        name: "overflow-frees",
        rule: "ends make room again",
        why: "a count that only grows would turn TIME_WAIT off for good",
        source: "inet_twsk_kill gives tw_refcount of the death row back",
        differs: &[],
    },
];

/// Network namespaces.
pub(super) const NAMESPACES: &[Behaviour] = &[
    Behaviour {
        name: "netns-exit",
        rule: "mini-sockets in both substates end with their namespace",
        why: "containers come and go; a socket left behind would leak the namespace",
        source: "inet_twsk_purge from tcp_sk_exit_batch",
        differs: &[],
    },
    Behaviour {
        name: "netns-own-limit",
        rule: "tcp_max_tw_buckets of one namespace does not limit another",
        why: "one container must not starve another",
        source: "inet_twsk_alloc counts in the namespace's death row",
        differs: &[],
    },
];
