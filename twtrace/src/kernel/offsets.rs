//! Every kernel field that the programs read, once.

use twtrace_common::settings::Offsets;

use super::btf::{Btf, Kind};
use crate::error::{Error, Result};
use crate::event::TwCountedAt;

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
    // `__ns_ref` from 6.18 on, `count` of ns_common before, of net itself in 5.10.
    field!(Required net_refs: "net" "ns.__ns_ref" | "net" "ns.count" | "net" "count"),
    field!(Optional skc_tw_dr: "sock_common" "skc_tw_dr"),
    field!(Embedded net_tcp_death_row: "net" "ipv4.tcp_death_row"),
];

/// The structs that [`resolve`] looks into.
pub const STRUCTS: [(&str, Kind); 7] = [
    ("sock_common", Kind::Struct),
    ("inet_timewait_sock", Kind::Struct),
    ("tcp_timewait_sock", Kind::Struct),
    ("sock", Kind::Struct),
    ("cgroup", Kind::Struct),
    ("kernfs_node", Kind::Struct),
    ("net", Kind::Struct),
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
            Some(member) => *(field.target)(&mut offsets) = member.offset,
            None if field.need == Need::Required => return Err(missing(field)),
            None => {}
        }
    }
    Ok(offsets)
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
    Error::new(format!(
        "cannot find {} in the kernel's type information",
        places.join(" or ")
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
