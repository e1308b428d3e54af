//! What user space tells the programs before they are loaded: offsets from the kernel's BTF,
//! features and filters. Read-only globals, so the verifier folds them and drops dead branches.

use crate::assert_layout;

/// Emit records to the ring.
pub const FEATURE_RECORDS: u32 = 1 << 0;
/// Take uid and cgroup from the full socket.
pub const FEATURE_OWNERS: u32 = 1 << 1;
/// Count timer restarts in TIME_WAIT.
pub const FEATURE_REARMS: u32 = 1 << 2;
/// Count and report segments that are refused.
pub const FEATURE_REFUSALS: u32 = 1 << 3;
/// Take the numbers of SYNs that are accepted over a TIME_WAIT.
pub const FEATURE_REOPENS: u32 = 1 << 4;
/// Report only ends of mini-sockets that refused a SYN, or over which one was accepted.
pub const FEATURE_QUIET_ENDS: u32 = 1 << 5;
/// Report births.
pub const FEATURE_BIRTHS: u32 = 1 << 6;
/// Count and report calls that get no port.
pub const FEATURE_PORTS: u32 = 1 << 7;

/// `birth_again` is attached beside `birth_slots`.
pub const FEATURE_AGAIN: u32 = 1 << 8;
/// The kernel preempts what runs with bottom halves disabled (PREEMPT_RT): what is kept for the next
/// program is kept by task, not by CPU.
pub const FEATURE_PREEMPTED: u32 = 1 << 9;

/// Which `Filter` fields apply.
pub const FILTER_IPV4: u32 = 1 << 0;
pub const FILTER_IPV6: u32 = 1 << 1;
pub const FILTER_LPORT: u32 = 1 << 2;
pub const FILTER_RPORT: u32 = 1 << 3;
pub const FILTER_ADDR: u32 = 1 << 4;
pub const FILTER_NETNS: u32 = 1 << 5;
pub const FILTER_UID: u32 = 1 << 6;
pub const FILTER_CGROUP: u32 = 1 << 7;

/// Ports that one port filter can name.
pub const FILTER_PORTS: usize = 8;

/// Byte offsets of kernel fields. 0 in an optional one means that this kernel has no such field
/// (no optional field can be at offset 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub skc_daddr: u32,
    pub skc_rcv_saddr: u32,
    pub skc_hash: u32,
    pub skc_dport: u32,
    pub skc_num: u32,
    pub skc_family: u32,
    pub skc_state: u32,
    pub skc_net: u32,
    /// Optional: kernels without IPv6.
    pub skc_v6_daddr: u32,
    pub skc_v6_rcv_saddr: u32,
    pub tw_substate: u32,
    pub tw_timer: u32,
    pub tw_timer_expires: u32,
    /// Optional: u32 ms, seen from 6.16 on.
    pub tw_entry_stamp: u32,
    pub tw_ts_recent_stamp: u32,
    pub sk_uid: u32,
    pub sk_protocol: u32,
    /// Optional: `struct cgroup *` (6.1 and later).
    pub sk_cgroup: u32,
    /// Optional: packed pointer (5.10).
    pub sk_cgroup_packed: u32,
    pub cgroup_kn: u32,
    pub kn_id: u32,
    pub net_inum: u32,
    /// Optional: unique since boot, and there from the namespace's birth on.
    pub net_cookie: u32,
    /// Optional: a random number of each namespace.
    pub net_hash_mix: u32,
    /// Reference count of `struct net`; 0 references mean that the namespace is being purged.
    pub net_refs: u32,
    /// Optional: tells TCP's mini-sockets from DCCP's.
    pub skc_tw_dr: u32,
    pub net_tcp_death_row: u32,
    /// `skc_tw_rcv_nxt`.
    pub tw_rcv_nxt: u32,
    pub tw_ts_recent: u32,
    pub tw_last_oow_ack_time: u32,
    pub skb_head: u32,
    pub skb_len: u32,
    pub skb_network_header: u32,
    pub skb_transport_header: u32,
    pub tp_rcv_nxt: u32,
    pub tp_ts_recent: u32,
    pub tp_ts_recent_stamp: u32,
    pub tp_last_oow_ack_time: u32,
    pub req_ts_recent: u32,
    pub req_rcv_isn: u32,
    pub req_rcv_nxt: u32,
    pub req_rcv_wnd: u32,
    pub req_last_oow_ack_time: u32,
    /// Optional: `inet_timewait_death_row.sysctl_max_tw_buckets`.
    pub dr_limit: u32,
    /// Number of mini-sockets; the offset may be 0. See [`Values::dr_base`].
    pub dr_count: u32,
}

/// Values of kernel enums; [`NO_VALUE`] where this kernel has no such name.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// `LINUX_MIB_TCPACKSKIPPED…`, the third argument of `tcp_oow_rate_limited`.
    pub mib_skipped_syn_recv: u32,
    pub mib_skipped_paws: u32,
    pub mib_skipped_fin_wait_2: u32,
    pub mib_skipped_time_wait: u32,
    /// `SKB_DROP_REASON_TCP_…`.
    pub reason_tw_paws: u32,
    pub reason_paws: u32,
    pub reason_paws_ack: u32,
    pub reason_invalid_syn: u32,
    /// What the count at [`Offsets::dr_count`] is without any mini-socket: 1 for a reference count,
    /// else 0; [`NO_VALUE`] if there is no such count.
    pub dr_base: u32,
    /// Seconds after which `tcp_paws_check` takes a timestamp for wrapped, and accepts it.
    pub paws_wrap_s: u32,
}

/// A name that this kernel does not have; no enum value that is looked up is that large.
pub const NO_VALUE: u32 = u32::MAX;

/// Filters. Addresses are compared as 16 bytes, IPv4 as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `FILTER_` bits.
    pub flags: u32,
    pub netns: u32,
    pub uid: u32,
    /// How many of `lports` and `rports` there are.
    pub lport_count: u16,
    pub rport_count: u16,
    pub cgroup: u64,
    /// Network-order halves of the address and mask; local or remote may match.
    pub addr: [u64; 2],
    pub mask: [u64; 2],
    pub lports: [u16; FILTER_PORTS],
    pub rports: [u16; FILTER_PORTS],
}

/// The whole of the read-only global `SETTINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub offsets: Offsets,
    pub values: Values,
    pub reserved: u32,
    pub filter: Filter,
    /// `FEATURE_` bits.
    pub features: u32,
    /// Number of slots - 1 (a power of two less one), or 0 if SLOTS is not used.
    pub slots_mask: u32,
    /// Number of groups of owners, less one; a power of two less one. The n-th owner has entry
    /// n + 1 of COUNTERS.
    pub owners_mask: u32,
    /// Number of copies (stripes) of each entry that CPUs share, less one; a power of two less one.
    pub stripes_mask: u32,
    /// Wake the consumer when this many bytes wait in the ring.
    pub wake_bytes: u32,
    /// Refusals and port failures are reported only while fewer bytes than this wait in the ring:
    /// the rest is for births and ends.
    pub refusal_bytes: u32,
    /// How many refusals each CPU reports in [`REFUSAL_WINDOW_NS`].
    pub refusal_budget: u32,
    /// How many port failures.
    pub port_failure_budget: u32,
}

/// Port failures reported per second and CPU; the others are only counted. An application that
/// tries again at once fails a hundred thousand times per second.
pub const PORT_FAILURE_RATE: u32 = 10_000;

/// Length of the window of the rate limits.
pub const REFUSAL_WINDOW_NS: u64 = 100_000_000;

impl Offsets {
    pub const ZERO: Self = Self {
        skc_daddr: 0,
        skc_rcv_saddr: 0,
        skc_hash: 0,
        skc_dport: 0,
        skc_num: 0,
        skc_family: 0,
        skc_state: 0,
        skc_net: 0,
        skc_v6_daddr: 0,
        skc_v6_rcv_saddr: 0,
        tw_substate: 0,
        tw_timer: 0,
        tw_timer_expires: 0,
        tw_entry_stamp: 0,
        tw_ts_recent_stamp: 0,
        sk_uid: 0,
        sk_protocol: 0,
        sk_cgroup: 0,
        sk_cgroup_packed: 0,
        cgroup_kn: 0,
        kn_id: 0,
        net_inum: 0,
        net_cookie: 0,
        net_hash_mix: 0,
        net_refs: 0,
        skc_tw_dr: 0,
        net_tcp_death_row: 0,
        tw_rcv_nxt: 0,
        tw_ts_recent: 0,
        tw_last_oow_ack_time: 0,
        skb_head: 0,
        skb_len: 0,
        skb_network_header: 0,
        skb_transport_header: 0,
        tp_rcv_nxt: 0,
        tp_ts_recent: 0,
        tp_ts_recent_stamp: 0,
        tp_last_oow_ack_time: 0,
        req_ts_recent: 0,
        req_rcv_isn: 0,
        req_rcv_nxt: 0,
        req_rcv_wnd: 0,
        req_last_oow_ack_time: 0,
        dr_limit: 0,
        dr_count: 0,
    };
}

impl Values {
    pub const NONE: Self = Self {
        mib_skipped_syn_recv: NO_VALUE,
        mib_skipped_paws: NO_VALUE,
        mib_skipped_fin_wait_2: NO_VALUE,
        mib_skipped_time_wait: NO_VALUE,
        reason_tw_paws: NO_VALUE,
        reason_paws: NO_VALUE,
        reason_paws_ack: NO_VALUE,
        reason_invalid_syn: NO_VALUE,
        dr_base: NO_VALUE,
        paws_wrap_s: NO_VALUE,
    };
}

impl Filter {
    pub const ZERO: Self = Self {
        flags: 0,
        netns: 0,
        uid: 0,
        lport_count: 0,
        rport_count: 0,
        cgroup: 0,
        addr: [0; 2],
        mask: [0; 2],
        lports: [0; FILTER_PORTS],
        rports: [0; FILTER_PORTS],
    };
}

assert_layout!(Offsets, size 45 * 4, align 4);
assert_layout!(Values, size 10 * 4, align 4);
assert_layout!(Filter, size 16 + 8 + 32 + 32, align 8);
assert_layout!(Settings, size 180 + 40 + 4 + 88 + 32, align 8);
