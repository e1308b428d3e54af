//! The filters once more, for what user space lists: `twtrace-ebpf/src/filter.rs` decides the same
//! in the kernel.

use std::net::{IpAddr, Ipv6Addr};

use twtrace_common::record::{AF_INET6, Flow};
use twtrace_common::settings::{
    FILTER_ADDR, FILTER_CGROUP, FILTER_IPV4, FILTER_IPV6, FILTER_LPORT, FILTER_NETNS, FILTER_RPORT,
    FILTER_UID, Filter,
};

/// The first twelve bytes of an IPv4-mapped address.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Whether a connection whose owner is not known passes all filters.
pub(super) fn passes(filter: &Filter, flow: &Flow) -> bool {
    let asks = |flag| filter.flags & flag != 0;
    let wire = if is_ipv4(flow) {
        FILTER_IPV4
    } else {
        FILTER_IPV6
    };
    !asks(FILTER_UID | FILTER_CGROUP)
        && (!asks(FILTER_IPV4 | FILTER_IPV6) || asks(wire))
        && (!asks(FILTER_LPORT) || one_of(&filter.lports, filter.lport_count, flow.lport))
        && (!asks(FILTER_RPORT) || one_of(&filter.rports, filter.rport_count, flow.rport))
        && (!asks(FILTER_NETNS) || filter.netns == flow.netns)
        && (!asks(FILTER_ADDR)
            || [flow.laddr, flow.raddr]
                .iter()
                .any(|address| in_network(filter, flow, address)))
}

/// Address and mask of a network, both as the kernel side compares them: 16 bytes, IPv4 as
/// `::ffff:a.b.c.d`. Bits beyond the prefix are ignored; `None` if it is longer than the address.
#[must_use]
pub fn network(address: IpAddr, prefix: u32) -> Option<([u64; 2], [u64; 2])> {
    let (bits, whole): (_, u32) = match address {
        IpAddr::V4(address) => (address.to_ipv6_mapped().to_bits(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let beyond = whole.checked_sub(prefix)?;
    let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
    Some((halves(bits & mask), halves(mask)))
}

/// Network-order halves, as two loads from memory read them.
fn halves(bits: u128) -> [u64; 2] {
    let bytes = Ipv6Addr::from_bits(bits).octets();
    let (halves, _) = bytes.as_chunks();
    [halves[0], halves[1]].map(u64::from_ne_bytes)
}

fn one_of(ports: &[u16], count: u16, port: u16) -> bool {
    ports[..usize::from(count)].contains(&port)
}

fn is_ipv4(flow: &Flow) -> bool {
    flow.family != AF_INET6 || flow.raddr.starts_with(&MAPPED)
}

fn in_network(filter: &Filter, flow: &Flow, address: &[u8; 16]) -> bool {
    let mut bytes = *address;
    if flow.family != AF_INET6 {
        bytes[..12].copy_from_slice(&MAPPED);
        bytes[12..].copy_from_slice(&address[..4]);
    }
    let (halves, _) = bytes.as_chunks();
    let differs =
        |half: usize| (u64::from_ne_bytes(halves[half]) ^ filter.addr[half]) & filter.mask[half];
    differs(0) | differs(1) == 0
}

#[cfg(test)]
mod tests {
    use twtrace_common::record::AF_INET;

    use super::*;

    fn flow(family: u8, laddr: &[u8], raddr: &[u8]) -> Flow {
        let bytes = |from: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..from.len()].copy_from_slice(from);
            bytes
        };
        Flow {
            kind: 0,
            reason: 0,
            family,
            flags: 0,
            lport: 40_000,
            rport: 443,
            netns: 7,
            uid: 0,
            laddr: bytes(laddr),
            raddr: bytes(raddr),
            cgroup: 0,
        }
    }

    #[test]
    fn each_filter_keeps_what_it_names() {
        let one = flow(AF_INET, &[10, 0, 0, 5], &[192, 0, 2, 7]);
        let mapped = [MAPPED.as_slice(), &[10, 0, 0, 5]].concat();
        let through_ipv6 = flow(AF_INET6, &mapped, &mapped);
        let with = |flags, change: fn(&mut Filter)| {
            let mut filter = Filter {
                flags,
                ..Filter::ZERO
            };
            change(&mut filter);
            filter
        };
        let ten = |filter: &mut Filter| {
            let bytes = |last: [u8; 4]| {
                let mut high_low = [0; 16];
                high_low[12..].copy_from_slice(&last);
                u64::from_ne_bytes(high_low[8..].try_into().unwrap())
            };
            filter.addr = [
                0,
                bytes([10, 0, 0, 0]) | u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]),
            ];
            filter.mask = [
                u64::MAX,
                bytes([255, 0, 0, 0]) | u64::from_ne_bytes([255, 255, 255, 255, 0, 0, 0, 0]),
            ];
        };
        for (filter, expected) in [
            (Filter::ZERO, true),
            (with(FILTER_IPV4, |_| ()), true),
            (with(FILTER_IPV6, |_| ()), false),
            (
                with(FILTER_LPORT, |one| {
                    (one.lports[0], one.lport_count) = (40_000, 1);
                }),
                true,
            ),
            (
                with(FILTER_LPORT, |one| {
                    (one.lports[0], one.lport_count) = (443, 1);
                }),
                false,
            ),
            (
                with(FILTER_RPORT, |one| {
                    (one.rports[1], one.rport_count) = (443, 2);
                }),
                true,
            ),
            (with(FILTER_NETNS, |one| one.netns = 7), true),
            (with(FILTER_NETNS, |one| one.netns = 8), false),
            (with(FILTER_ADDR, ten), true),
            (with(FILTER_UID, |_| ()), false),
            (with(FILTER_CGROUP, |_| ()), false),
        ] {
            assert_eq!(passes(&filter, &one), expected, "{filter:?}");
        }
        assert!(passes(&with(FILTER_IPV4, |_| ()), &through_ipv6));
        assert!(passes(&with(FILTER_ADDR, ten), &through_ipv6));
        let other = flow(AF_INET, &[11, 0, 0, 5], &[192, 0, 2, 7]);
        assert!(!passes(&with(FILTER_ADDR, ten), &other));
    }
}
