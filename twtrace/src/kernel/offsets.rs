//! Every kernel field that the programs read, once.

use twtrace_common::settings::{NO_VALUE, Offsets, Values};

use super::btf::{Btf, Kind};
use crate::error::{Error, Result};
use crate::event::{TsOffset, TwCountedAt};

/// One field: where it goes, and the places where kernels keep it, newest first.
struct Field {
    target: fn(&mut Offsets) -> &mut u32,
    places: &'static [(&'static str, &'static str)],
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    /// Left 0 where the kernel has no such field.
    Optional,
    /// Optional, and of use only if it is embedded rather than pointed to.
    Embedded,
    /// Optional, and of use only if it is a plain number.
    Scalar,
}

macro_rules! field {
    ($need:ident $target:ident: $($structure:literal $path:literal)|+) => {
        Field {
            target: |offsets| &mut offsets.$target,
            places: &[$(($structure, $path)),+],
            need: Need::$need,
        }
    };
}

const FIELDS: &[Field] = &[
    field!(Required skc_daddr: "sock_common" "skc_daddr"),
    field!(Required skc_rcv_saddr: "sock_common" "skc_rcv_saddr"),
    field!(Required skc_hash: "sock_common" "skc_hash"),
    field!(Required skc_dport: "sock_common" "skc_dport"),
    field!(Required skc_num: "sock_common" "skc_num"),
    field!(Required skc_family: "sock_common" "skc_family"),
    field!(Required skc_state: "sock_common" "skc_state"),
    field!(Required skc_net: "sock_common" "skc_net.net"),
    field!(Optional skc_v6_daddr: "sock_common" "skc_v6_daddr"),
    field!(Optional skc_v6_rcv_saddr: "sock_common" "skc_v6_rcv_saddr"),
    field!(Required tw_substate: "inet_timewait_sock" "tw_substate"),
    field!(Required tw_timer: "inet_timewait_sock" "tw_timer"),
    field!(Required tw_timer_expires: "inet_timewait_sock" "tw_timer.expires"),
    field!(Optional tw_entry_stamp: "inet_timewait_sock" "tw_entry_stamp"),
    field!(Required tw_ts_recent_stamp: "tcp_timewait_sock" "tw_ts_recent_stamp"),
    field!(Required sk_uid: "sock" "sk_uid"),
    field!(Required sk_protocol: "sock" "sk_protocol"),
    field!(Optional sk_cgroup: "sock" "sk_cgrp_data.cgroup"),
    // 5.10 packs the pointer and two flags into one word.
    field!(Optional sk_cgroup_packed: "sock" "sk_cgrp_data.val"),
    field!(Required cgroup_kn: "cgroup" "kn"),
    field!(Required kn_id: "kernfs_node" "id"),
    field!(Required net_inum: "net" "ns.inum"),
    // Before 5.12 an atomic64_t, and 0 until somebody asks for it.
    field!(Scalar net_cookie: "net" "net_cookie"),
    field!(Optional net_hash_mix: "net" "hash_mix"),
    // `__ns_ref` from 6.18 on, `count` of ns_common before, of net itself in 5.10.
    field!(Required net_refs: "net" "ns.__ns_ref" | "net" "ns.count" | "net" "count"),
    field!(Optional skc_tw_dr: "sock_common" "skc_tw_dr"),
    field!(Embedded net_tcp_death_row: "net" "ipv4.tcp_death_row"),
    field!(Required tw_rcv_nxt: "sock_common" "skc_tw_rcv_nxt"),
    field!(Required tw_ts_recent: "tcp_timewait_sock" "tw_ts_recent"),
    field!(Required tw_last_oow_ack_time: "tcp_timewait_sock" "tw_last_oow_ack_time"),
    field!(Required skb_head: "sk_buff" "head"),
    field!(Required skb_network_header: "sk_buff" "network_header"),
    field!(Required skb_transport_header: "sk_buff" "transport_header"),
    field!(Required tp_rcv_nxt: "tcp_sock" "rcv_nxt"),
    field!(Required tp_ts_recent: "tcp_sock" "rx_opt.ts_recent"),
    field!(Required tp_ts_recent_stamp: "tcp_sock" "rx_opt.ts_recent_stamp"),
    field!(Required tp_last_oow_ack_time: "tcp_sock" "last_oow_ack_time"),
    field!(Required req_ts_recent: "request_sock" "ts_recent"),
    field!(Required req_rcv_isn: "tcp_request_sock" "rcv_isn"),
    field!(Required req_rcv_nxt: "tcp_request_sock" "rcv_nxt"),
    field!(Required req_rcv_wnd: "sock_common" "skc_rcv_wnd"),
    field!(Required req_last_oow_ack_time: "tcp_request_sock" "last_oow_ack_time"),
    field!(Optional dr_limit: "inet_timewait_death_row" "sysctl_max_tw_buckets"),
    field!(Optional dr_count: "inet_timewait_death_row" "tw_refcount" | "inet_timewait_death_row" "tw_count"),
];

/// The structs that [`resolve`] looks into.
pub const STRUCTS: [(&str, Kind); 12] = [
    ("sock_common", Kind::Struct),
    ("inet_timewait_sock", Kind::Struct),
    ("tcp_timewait_sock", Kind::Struct),
    ("sock", Kind::Struct),
    ("cgroup", Kind::Struct),
    ("kernfs_node", Kind::Struct),
    ("net", Kind::Struct),
    ("sk_buff", Kind::Struct),
    ("tcp_sock", Kind::Struct),
    ("request_sock", Kind::Struct),
    ("tcp_request_sock", Kind::Struct),
    ("inet_timewait_death_row", Kind::Struct),
];

/// Finds every field; a required one that is missing is an error that names it.
pub fn resolve(btf: &Btf) -> Result<Offsets> {
    let mut offsets = Offsets::ZERO;
    for field in FIELDS {
        let found = field
            .places
            .iter()
            .find_map(|(structure, path)| btf.member(structure, path));
        match found {
            Some(member) if field.need == Need::Embedded && !member.aggregate => {}
            Some(member) if field.need == Need::Scalar && member.aggregate => {}
            Some(member) => *(field.target)(&mut offsets) = member.offset,
            None if field.need == Need::Required => return Err(missing(field)),
            None => {}
        }
    }
    Ok(offsets)
}

/// The enumerators that [`values`] and `hooks` ask for.
pub const ENUMERATORS: [(&str, Kind); 8] = [
    ("LINUX_MIB_TCPACKSKIPPEDSYNRECV", Kind::Enumerator),
    ("LINUX_MIB_TCPACKSKIPPEDPAWS", Kind::Enumerator),
    ("LINUX_MIB_TCPACKSKIPPEDFINWAIT2", Kind::Enumerator),
    ("LINUX_MIB_TCPACKSKIPPEDTIMEWAIT", Kind::Enumerator),
    ("SKB_DROP_REASON_TCP_RFC7323_TW_PAWS", Kind::Enumerator),
    ("SKB_DROP_REASON_TCP_RFC7323_PAWS", Kind::Enumerator),
    ("SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK", Kind::Enumerator),
    ("SKB_DROP_REASON_TCP_INVALID_SYN", Kind::Enumerator),
];

/// The kernel's enum values that the programs compare with.
#[must_use]
pub fn values(btf: &Btf) -> Values {
    let value = |name| {
        btf.enumerator(name)
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or(NO_VALUE)
    };
    Values {
        mib_skipped_syn_recv: value("LINUX_MIB_TCPACKSKIPPEDSYNRECV"),
        mib_skipped_paws: value("LINUX_MIB_TCPACKSKIPPEDPAWS"),
        mib_skipped_fin_wait_2: value("LINUX_MIB_TCPACKSKIPPEDFINWAIT2"),
        mib_skipped_time_wait: value("LINUX_MIB_TCPACKSKIPPEDTIMEWAIT"),
        reason_tw_paws: value("SKB_DROP_REASON_TCP_RFC7323_TW_PAWS"),
        reason_paws: value("SKB_DROP_REASON_TCP_RFC7323_PAWS"),
        reason_paws_ack: value("SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK"),
        reason_invalid_syn: value("SKB_DROP_REASON_TCP_INVALID_SYN"),
        dr_base: dr_base(btf),
        paws_wrap_s: paws_wrap_s(btf),
    }
}

/// What the count of mini-sockets says when there is none. 5.10 counts them in `tw_count`; later
/// the namespace holds a reference of its own in `tw_refcount`.
fn dr_base(btf: &Btf) -> u32 {
    let has = |member| btf.has_member("inet_timewait_death_row", member);
    match (has("tw_refcount"), has("tw_count")) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => NO_VALUE,
    }
}

/// After how long `tcp_paws_check` takes a timestamp for wrapped. A macro, so BTF does not have
/// it; but TCP_PAWS_24DAYS became TCP_PAWS_WRAP together with timestamps in microseconds, and
/// those left a bit in the mini-socket.
fn paws_wrap_s(btf: &Btf) -> u32 {
    const PAWS_24DAYS: u32 = 24 * 24 * 60 * 60;
    const PAWS_WRAP: u32 = i32::MAX as u32 / 1_000_000;
    if btf.has_member("inet_timewait_sock", "tw_usec_ts") {
        PAWS_WRAP
    } else {
        PAWS_24DAYS
    }
}

/// Functions that tell what this kernel hashes into its timestamp offsets.
pub const TS_OFFSET_FUNCTIONS: [(&str, Kind); 2] = [
    ("secure_tcp_seq_and_ts_off", Kind::Function),
    ("secure_tcp_ts_off", Kind::Function),
];

/// What this kernel hashes into its timestamp offsets.
#[must_use]
pub fn ts_offset(btf: &Btf) -> Option<TsOffset> {
    let [ports, addresses] =
        TS_OFFSET_FUNCTIONS.map(|(name, kind)| btf.number(name, kind).is_some());
    match (ports, addresses) {
        (true, _) => Some(TsOffset::Ports),
        (false, true) => Some(TsOffset::Addresses),
        (false, false) => None,
    }
}

/// When this kernel counts TcpExt TW: 5.10 at expiry, and only 5.10 still has `tw_kill`.
#[must_use]
pub fn tw_counted_at(btf: &Btf) -> TwCountedAt {
    if btf.has_member("inet_timewait_sock", "tw_kill") {
        TwCountedAt::Expiry
    } else {
        TwCountedAt::Birth
    }
}

fn missing(field: &Field) -> Error {
    let places: Vec<String> = field
        .places
        .iter()
        .map(|(structure, path)| format!("{structure}.{path}"))
        .collect();
    unknown(&places.join(" or "))
}

fn unknown(what: &str) -> Error {
    Error::new(format!(
        "cannot find {what} in the kernel's type information"
    ))
    .hint("this kernel is newer than this twtrace, or built without TCP; docs/kernels.md lists what was tried")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_running_kernel_has_every_required_field() {
        let btf = Btf::read(Path::new("/sys/kernel/btf/vmlinux"), &STRUCTS).unwrap();
        let offsets = resolve(&btf).unwrap();
        assert_eq!(offsets.skc_dport, 12);
        assert_eq!(offsets.skc_family, 16);
        assert_ne!(offsets.net_inum, 0);
    }

    #[test]
    fn a_missing_field_is_named() {
        let btf = Btf::read(Path::new("/sys/kernel/btf/vmlinux"), &STRUCTS[..1]).unwrap();
        let error = resolve(&btf).unwrap_err().to_string();
        assert!(error.contains("inet_timewait_sock.tw_substate"), "{error}");
    }
}
