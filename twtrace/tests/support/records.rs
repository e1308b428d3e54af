//! Records, and recordings that are kept for ever.

use std::mem::offset_of;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use twtrace::event::Meta;
use twtrace_common::record::{self, AF_INET, AF_INET6, FLAG_OWNER};

use super::support::{HOST, bless, golden, put};

/// Who is connected to whom; port 0 is none.
pub(crate) struct Ends(
    pub(crate) &'static str,
    pub(crate) u16,
    pub(crate) &'static str,
    pub(crate) u16,
);

/// Writes what all records begin with; its owner is always the same.
pub(crate) fn flow(bytes: &mut [u8], kind: u8, reason: u8, flags: u8, ends: &Ends) {
    let Ends(laddr, lport, raddr, rport) = ends;
    bytes[offset_of!(record::Flow, kind)] = kind;
    bytes[offset_of!(record::Flow, reason)] = reason;
    bytes[offset_of!(record::Flow, flags)] = flags;
    for (at, port) in [
        (offset_of!(record::Flow, lport), lport),
        (offset_of!(record::Flow, rport), rport),
    ] {
        put(bytes, at, &port.to_ne_bytes());
    }
    put(bytes, offset_of!(record::Flow, netns), &HOST.to_ne_bytes());
    if flags & FLAG_OWNER != 0 {
        put(bytes, offset_of!(record::Flow, uid), &33_u32.to_ne_bytes());
        put(
            bytes,
            offset_of!(record::Flow, cgroup),
            &5_021_u64.to_ne_bytes(),
        );
    }
    for (at, address) in [
        (offset_of!(record::Flow, laddr), laddr),
        (offset_of!(record::Flow, raddr), raddr),
    ] {
        let (family, octets) = match address.parse().unwrap() {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        };
        bytes[offset_of!(record::Flow, family)] = family;
        put(bytes, at, &octets);
    }
}

/// Of a trace that takes births and calls that look for a port.
pub(crate) fn meta() -> Meta {
    Meta {
        kernel: "6.18.44-golden".into(),
        hooks: 14,
        rearms: true,
        births: true,
        ports: true,
        ..super::support::meta()
    }
}

/// A recording in the tree; it is made once.
pub(crate) fn kept(name: &str, record_to: fn(&Path)) -> PathBuf {
    let path = golden(name);
    if bless() && !path.exists() {
        record_to(&path);
    }
    path
}
