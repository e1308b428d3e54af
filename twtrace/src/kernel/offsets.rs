//! Every kernel field that the programs read, once.

use std::collections::BTreeMap;

use twtrace_common::settings::{FILTER_CGROUP, FILTER_UID, NO_VALUE, Offsets, Values};

use super::Options;
use super::btf::{Btf, Kind};
use crate::error::{Error, Result};
use crate::event::{TsOffset, TwCountedAt};

/// One field: where it goes, and the places where kernels keep it, newest first.
struct Field {
    target: fn(&mut Offsets) -> &mut u32,
    places: &'static [(&'static str, &'static str)],
    /// Its length in bytes, as the programs read it; 0 if it is never read as a whole.
    length: u32,
    need: Need,
}

/// What needs a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing can be traced without it.
    Required,
    /// Only re-arms and refusals need it.
    Segments,
    /// Only refusals need it.
    Refusals,
    /// Only owners need it.
    Owners,
    /// Left 0 where the kernel has no such field.
    Optional,
    /// Optional, and of use only if it is embedded rather than pointed to.
    Embedded,
    /// Optional, and of use only if it is a plain number.
    Scalar,
}

macro_rules! field {
    ($need:ident $length:literal $target:ident: $($structure:literal $path:literal)|+) => {
        Field {
            target: |offsets| &mut offsets.$target,
            places: &[$(($structure, $path)),+],
            length: $length,
            need: Need::$need,
        }
    };
}

const FIELDS: &[Field] = &[
    field!(Required 4 skc_daddr: "sock_common" "skc_daddr"),
    field!(Required 4 skc_rcv_saddr: "sock_common" "skc_rcv_saddr"),
    field!(Required 4 skc_hash: "sock_common" "skc_hash"),
    field!(Required 2 skc_dport: "sock_common" "skc_dport"),
    field!(Required 2 skc_num: "sock_common" "skc_num"),
    field!(Required 2 skc_family: "sock_common" "skc_family"),
    field!(Required 1 skc_state: "sock_common" "skc_state"),
    field!(Required 8 skc_net: "sock_common" "skc_net.net"),
    field!(Optional 16 skc_v6_daddr: "sock_common" "skc_v6_daddr"),
    field!(Optional 16 skc_v6_rcv_saddr: "sock_common" "skc_v6_rcv_saddr"),
    field!(Required 1 tw_substate: "inet_timewait_sock" "tw_substate"),
    field!(Required 0 tw_timer: "inet_timewait_sock" "tw_timer"),
    field!(Segments 8 tw_timer_expires: "inet_timewait_sock" "tw_timer.expires"),
    field!(Optional 4 tw_entry_stamp: "inet_timewait_sock" "tw_entry_stamp"),
    field!(Refusals 4 tw_ts_recent_stamp: "tcp_timewait_sock" "tw_ts_recent_stamp"),
    field!(Owners 4 sk_uid: "sock" "sk_uid"),
    field!(Required 2 sk_protocol: "sock" "sk_protocol"),
    field!(Optional 8 sk_cgroup: "sock" "sk_cgrp_data.cgroup"),
    // 5.10 packs the pointer and two flags into one word.
    field!(Optional 8 sk_cgroup_packed: "sock" "sk_cgrp_data.val"),
    field!(Owners 8 cgroup_kn: "cgroup" "kn"),
    field!(Owners 8 kn_id: "kernfs_node" "id"),
    field!(Required 4 net_inum: "net" "ns.inum"),
    // Before 5.12 an atomic64_t, and 0 until somebody asks for it.
    field!(Scalar 8 net_cookie: "net" "net_cookie"),
    field!(Optional 4 net_hash_mix: "net" "hash_mix"),
    // `__ns_ref` from 6.18 on, `count` of ns_common before, of net itself in 5.10.
    field!(Required 4 net_refs: "net" "ns.__ns_ref" | "net" "ns.count" | "net" "count"),
    field!(Optional 8 skc_tw_dr: "sock_common" "skc_tw_dr"),
    field!(Embedded 0 net_tcp_death_row: "net" "ipv4.tcp_death_row"),
    field!(Refusals 4 tw_rcv_nxt: "sock_common" "skc_tw_rcv_nxt"),
    field!(Refusals 4 tw_ts_recent: "tcp_timewait_sock" "tw_ts_recent"),
    field!(Refusals 4 tw_last_oow_ack_time: "tcp_timewait_sock" "tw_last_oow_ack_time"),
    field!(Refusals 8 skb_head: "sk_buff" "head"),
    field!(Refusals 4 skb_len: "sk_buff" "len"),
    field!(Refusals 2 skb_network_header: "sk_buff" "network_header"),
    field!(Refusals 2 skb_transport_header: "sk_buff" "transport_header"),
    field!(Refusals 4 tp_rcv_nxt: "tcp_sock" "rcv_nxt"),
    field!(Refusals 4 tp_ts_recent: "tcp_sock" "rx_opt.ts_recent"),
    field!(Refusals 4 tp_ts_recent_stamp: "tcp_sock" "rx_opt.ts_recent_stamp"),
    field!(Refusals 4 tp_last_oow_ack_time: "tcp_sock" "last_oow_ack_time"),
    field!(Refusals 4 req_ts_recent: "request_sock" "ts_recent"),
    field!(Refusals 4 req_rcv_isn: "tcp_request_sock" "rcv_isn"),
    field!(Refusals 4 req_rcv_nxt: "tcp_request_sock" "rcv_nxt"),
    field!(Refusals 4 req_rcv_wnd: "sock_common" "skc_rcv_wnd"),
    field!(Refusals 4 req_last_oow_ack_time: "tcp_request_sock" "last_oow_ack_time"),
    field!(Optional 4 dr_limit: "inet_timewait_death_row" "sysctl_max_tw_buckets"),
    field!(Optional 4 dr_count: "inet_timewait_death_row" "tw_refcount" | "inet_timewait_death_row" "tw_count"),
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

/// Where every field is, and what cannot be traced because a field is not there.
#[derive(Debug)]
pub struct Resolved {
    pub offsets: Offsets,
    /// What is missing for what, in plain words.
    pub lacking: BTreeMap<Need, String>,
}

/// Finds every field; a required one that is missing is an error that names it. A field of another
/// length than the programs read counts as missing.
pub fn resolve(btf: &Btf) -> Result<Resolved> {
    let mut offsets = Offsets::ZERO;
    let mut lacking = BTreeMap::new();
    for field in FIELDS {
        let found = field
            .places
            .iter()
            .find_map(|(structure, path)| btf.member(structure, path))
            .filter(|member| field.length == 0 || member.size == Some(field.length));
        match (found, field.need) {
            (Some(member), Need::Embedded) if !member.aggregate => {}
            (Some(member), Need::Scalar) if member.aggregate => {}
            (Some(member), _) => *(field.target)(&mut offsets) = member.offset,
            (None, Need::Required) => return Err(missing(field)),
            (None, Need::Optional | Need::Embedded | Need::Scalar) => {}
            (None, need) => drop(lacking.entry(need).or_insert_with(|| place(field))),
        }
    }
    Ok(Resolved { offsets, lacking })
}

impl Resolved {
    /// What can be traced of what is wanted, and a line on everything that cannot.
    pub(super) fn restrict(&self, options: &Options) -> Result<(Options, Vec<String>)> {
        let mut options = options.clone();
        let mut lines = Vec::new();
        for (need, place) in &self.lacking {
            let (wanted, what) = match need {
                Need::Segments => (options.rearms || options.refusals, "re-arms and refusals"),
                Need::Refusals => (options.refusals, "refusals"),
                _ => (options.owners, "owners"),
            };
            let by_owner = options.filter.flags & (FILTER_UID | FILTER_CGROUP) != 0;
            let vital = options.quiet_ends || *need == Need::Owners && by_owner;
            if vital && (wanted || by_owner) {
                return Err(unknown(place));
            }
            if wanted {
                lines.push(format!(
                    "{what} are not seen: this kernel's type information has no {place}"
                ));
            }
            match need {
                Need::Owners => options.owners = false,
                need => {
                    options.rearms &= *need != Need::Segments;
                    (options.refusals, options.drops, options.reopens) = (false, false, false);
                }
            }
        }
        Ok((options, lines))
    }
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

/// The count of mini-sockets when there are none. 5.10 counts them in `tw_count`; later
/// the namespace holds a reference of its own in `tw_refcount`.
fn dr_base(btf: &Btf) -> u32 {
    let has = |member| btf.has_member("inet_timewait_death_row", member);
    match (has("tw_refcount"), has("tw_count")) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => NO_VALUE,
    }
}

/// Seconds after which `tcp_paws_check` takes a timestamp for wrapped. A macro, so BTF does not have
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
    unknown(&place(field))
}

/// Where a field would be, for people.
fn place(field: &Field) -> String {
    let places: Vec<String> = field
        .places
        .iter()
        .map(|(structure, path)| format!("{structure}.{path}"))
        .collect();
    places.join(" or ")
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
        let Resolved { offsets, lacking } = resolve(&btf).unwrap();
        assert!(lacking.is_empty(), "{lacking:?}");
        assert_eq!(offsets.skc_dport, 12);
        assert_eq!(offsets.skc_family, 16);
        assert_ne!(offsets.net_inum, 0);
    }

    #[test]
    fn a_field_that_only_some_need_takes_only_theirs() {
        let btf = Btf::read(Path::new("/sys/kernel/btf/vmlinux"), &STRUCTS).unwrap();
        let mut resolved = resolve(&btf).unwrap();
        let place = "tcp_sock.last_oow_ack_time";
        resolved.lacking.insert(Need::Refusals, place.to_owned());
        let wanted = Options::default();
        let (options, lines) = resolved.restrict(&wanted).unwrap();
        assert!(!options.refusals && !options.drops && !options.reopens);
        assert!(options.rearms && options.owners);
        assert!(lines[0].contains(place), "{lines:?}");
        let hist = Options {
            refusals: false,
            ..wanted.clone()
        };
        assert!(resolved.restrict(&hist).unwrap().1.is_empty());
        let conflicts = Options {
            quiet_ends: true,
            ..wanted
        };
        let error = resolved.restrict(&conflicts).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let btf = Btf::read(Path::new("/sys/kernel/btf/vmlinux"), &STRUCTS[..1]).unwrap();
        let error = resolve(&btf).unwrap_err().to_string();
        assert!(error.contains("inet_timewait_sock.tw_substate"), "{error}");
    }
}
