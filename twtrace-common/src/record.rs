//! Records in the ring buffer and, untouched, in recordings.
//!
//! All integers are in host byte order unless a field says otherwise. The first byte of a record
//! is its kind, and each kind has exactly one length.

use crate::assert_layout;

/// [`End`].
pub const KIND_END: u8 = 1;
/// [`Overflow`].
pub const KIND_OVERFLOW: u8 = 2;

/// [`Refusal`].
pub const KIND_REFUSAL: u8 = 3;
/// [`Birth`].
pub const KIND_BIRTH: u8 = 4;
/// [`Seed`].
pub const KIND_SEED: u8 = 5;
/// [`PortFailure`].
pub const KIND_PORT_FAILURE: u8 = 6;

/// AF_INET, as in `skc_family`.
pub const AF_INET: u8 = 2;
/// AF_INET6. A socket with IPv4-mapped addresses is AF_INET6 with `::ffff:0:0/96` addresses.
pub const AF_INET6: u8 = 10;

/// The mini-socket was born in substate FIN_WAIT2 (else TIME_WAIT). Valid unless
/// [`FLAG_UNTRACKED`] is set.
pub const FLAG_BORN_FIN_WAIT_2: u8 = 1 << 0;
/// Its birth was not seen: it is older than the tracer, or its slot did not fit (`map_full`).
pub const FLAG_UNTRACKED: u8 = 1 << 1;
/// It reached substate TIME_WAIT before it ended.
pub const FLAG_IN_TIME_WAIT: u8 = 1 << 2;
/// `uid` and `cgroup` are known.
pub const FLAG_OWNER: u8 = 1 << 3;
/// The segment had a timestamp: `tsval` is known.
pub const FLAG_TSVAL: u8 = 1 << 4;
/// The connection had timestamps: `ts_recent` is known.
pub const FLAG_TS_RECENT: u8 = 1 << 5;
/// Of a [`Refusal`]: the segment restarted the timer of the mini-socket.
pub const FLAG_REARMED: u8 = 1 << 6;
/// Of an [`End`] by [`crate::Reason::SynReopened`]: the numbers of the SYN are there.
pub const FLAG_NUMBERS: u8 = 1 << 6;
/// Of an [`Overflow`]: `alive` and `limit` are known.
pub const FLAG_LIMIT: u8 = 1 << 6;
/// Of a [`PortFailure`]: the caller had named the port, so no other was tried.
pub const FLAG_PORT_GIVEN: u8 = 1 << 6;

/// The start of every record: which connection, in which namespace, and its owner.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// One of the `KIND_` constants.
    pub kind: u8,
    /// [`crate::Reason`] for [`End`], [`crate::refusal::Stage`] for [`Refusal`],
    /// [`crate::ports::Call`] for [`PortFailure`], 0 otherwise.
    pub reason: u8,
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u8,
    /// `FLAG_` bits.
    pub flags: u8,
    pub lport: u16,
    pub rport: u16,
    /// Inode number of the network namespace (`net->ns.inum`).
    pub netns: u32,
    /// `sk_uid` of the full socket; valid with [`FLAG_OWNER`].
    pub uid: u32,
    /// Local address in network order; IPv4 in the first four bytes, the rest zero.
    pub laddr: [u8; 16],
    /// Remote address, likewise.
    pub raddr: [u8; 16],
    /// cgroup id of the full socket; valid with [`FLAG_OWNER`], 0 if the kernel does not tell.
    pub cgroup: u64,
}

/// The end of a mini-socket, from `inet_twsk_kill`. Times are CLOCK_MONOTONIC ns, 0 = unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub flow: Flow,
    /// When the mini-socket was about to be hashed (entry of `inet_twsk_hashdance`).
    pub born_ns: u64,
    /// When it entered substate TIME_WAIT: at birth, or when the FIN that promoted it came.
    pub time_wait_ns: u64,
    /// When `inet_twsk_kill` ran.
    pub ended_ns: u64,
    /// How often its timer was restarted in TIME_WAIT.
    pub rearms: u32,
    /// How many SYNs it refused.
    pub refused: u32,
    /// When it refused the first, 0 if none.
    pub first_refused_ns: u64,
    /// Of the SYN that was accepted, and of the mini-socket before it; valid with
    /// [`FLAG_NUMBERS`] and [`crate::Reason::SynReopened`].
    pub tsval: u32,
    pub ts_recent: u32,
    pub seq: u32,
    pub rcv_nxt: u32,
}

/// No mini-socket could be made (`inet_twsk_alloc` returned NULL): `tcp_max_tw_buckets` reached
/// or no memory. `flow` is that of the full socket.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Overflow {
    pub flow: Flow,
    pub at_ns: u64,
    /// Mini-sockets of the namespace (`tw_refcount` less one, or `tw_count`), and
    /// `sysctl_max_tw_buckets`, both of its `inet_timewait_death_row`; valid with [`FLAG_LIMIT`].
    pub alive: u32,
    pub limit: u32,
}

/// A segment that was not accepted. `flow.reason` is the [`crate::refusal::Stage`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub flow: Flow,
    pub at_ns: u64,
    /// When the mini-socket entered TIME_WAIT; 0 = unknown, or no mini-socket.
    pub time_wait_ns: u64,
    /// Of the segment; valid with [`FLAG_TSVAL`].
    pub tsval: u32,
    /// Last timestamp of the connection; valid with [`FLAG_TS_RECENT`].
    pub ts_recent: u32,
    /// Age of `ts_recent` in whole seconds, as the kernel keeps it; valid with
    /// [`FLAG_TS_RECENT`] in TIME_WAIT, FIN_WAIT2 and established.
    pub ts_recent_age_s: u32,
    /// Sequence number of the segment, and the one that was expected.
    pub seq: u32,
    pub rcv_nxt: u32,
    /// SYNs that this mini-socket has refused, this one included.
    pub refused: u32,
    /// As in the header: of a SYN it is not scaled.
    pub window: u16,
    /// [`crate::refusal::Rule`].
    pub rule: u8,
    /// [`crate::refusal::Reply`] or [`crate::refusal::REPLY_UNKNOWN`].
    pub reply: u8,
    /// Byte 13 of the TCP header.
    pub tcp_flags: u8,
    /// TTL or hop limit; 0 = unknown.
    pub ttl: u8,
    /// The same of the FIN that moved the mini-socket to TIME_WAIT; 0 = unknown.
    pub owner_ttl: u8,
    pub reserved: u8,
}

/// A mini-socket was made (`inet_twsk_hashdance`). [`FLAG_BORN_FIN_WAIT_2`] or
/// [`FLAG_IN_TIME_WAIT`] says in which substate.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    pub flow: Flow,
    pub at_ns: u64,
}

/// A mini-socket that was there when tracing began, as sock_diag listed it. User space makes
/// these. Substate as for [`Birth`]; never with [`FLAG_OWNER`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    pub flow: Flow,
    /// When it was listed.
    pub at_ns: u64,
    /// Time left on its timer.
    pub remaining_ms: u32,
    pub reserved: u32,
}

/// A connect() or bind() that got no port. `flow` is that of the socket at the call: for a bind()
/// without remote end, and `lport` is 0 unless [`FLAG_PORT_GIVEN`] is set.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PortFailure {
    pub flow: Flow,
    pub at_ns: u64,
    /// Thread group of the caller.
    pub pid: u32,
    /// What the caller was told: EADDRNOTAVAIL or EADDRINUSE.
    pub errno: u32,
    /// Candidate ports that only a mini-socket blocked (`tcp_twsk_unique` = 0); 0 of a bind().
    pub time_wait: u32,
    pub reserved: u32,
    /// `comm` of the caller, ending in zeros.
    pub command: [u8; 16],
}

assert_layout!(Flow, size 56, align 8);
assert_layout!(End, size 112, align 8);
assert_layout!(Overflow, size 72, align 8);
assert_layout!(Refusal, size 104, align 8);
assert_layout!(Birth, size 64, align 8);
assert_layout!(Seed, size 72, align 8);
assert_layout!(PortFailure, size 96, align 8);
