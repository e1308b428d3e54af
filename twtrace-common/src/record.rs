//! Records in the ring buffer and, untouched, in recordings.
//!
//! All integers are in host byte order unless a field says otherwise. The first byte of a record
//! is its kind, and each kind has exactly one length.

use crate::assert_layout;

/// [`End`].
pub const KIND_END: u8 = 1;
/// [`Overflow`].
pub const KIND_OVERFLOW: u8 = 2;

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

/// What all records begin with: which connection, in which namespace, whose.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// One of the `KIND_` constants.
    pub kind: u8,
    /// [`crate::Reason`] for [`End`], 0 otherwise.
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
    /// When the mini-socket was created (`inet_twsk_alloc`).
    pub born_ns: u64,
    /// When it entered substate TIME_WAIT.
    pub time_wait_ns: u64,
    /// When `inet_twsk_kill` ran.
    pub ended_ns: u64,
    /// How often its timer was restarted while in TIME_WAIT.
    pub rearms: u32,
    pub reserved: u32,
}

/// No mini-socket could be made (`inet_twsk_alloc` returned NULL): `tcp_max_tw_buckets` reached
/// or no memory. `flow` is that of the full socket.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Overflow {
    pub flow: Flow,
    pub at_ns: u64,
}

assert_layout!(Flow, size 56, align 8);
assert_layout!(End, size 88, align 8);
assert_layout!(Overflow, size 64, align 8);
