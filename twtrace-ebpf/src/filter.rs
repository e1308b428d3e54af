//! Filters. With none set, the verifier removes all of this.

use twtrace_common::{
    record::{AF_INET6, Flow},
    settings::{
        FILTER_ADDR, FILTER_CGROUP, FILTER_IPV4, FILTER_IPV6, FILTER_LPORT, FILTER_NETNS,
        FILTER_PORTS, FILTER_RPORT, FILTER_UID,
    },
};

use crate::{emit, read::Access, settings::setting};

/// `::ffff:0:0/96`, the second quarter of an IPv4-mapped address, in network order.
const MAPPED: u32 = 0xffff_u32.to_be();

/// Whether any filter is set.
#[inline(always)]
pub fn active() -> bool {
    setting!(filter.flags) != 0
}

/// Whether the connection of a `sock_common` passes all filters, where its owner is not known.
#[inline(always)]
pub fn passes_unowned<A: Access>(common: u64, netns: u32) -> bool {
    let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
    // SAFETY: `passes` reads only what is written here.
    let flow = unsafe { flow.assume_init_mut() };
    emit::flow::<A>(flow, common, netns);
    passes(flow, false)
}

/// Whether a connection passes all filters. Owner filters refuse what has no known owner.
#[inline(always)]
pub fn passes(flow: &Flow, owner_known: bool) -> bool {
    let flags = setting!(filter.flags);
    if flags & (FILTER_IPV4 | FILTER_IPV6) != 0 {
        let wire = if is_ipv4(flow) {
            FILTER_IPV4
        } else {
            FILTER_IPV6
        };
        if flags & wire == 0 {
            return false;
        }
    }
    if flags & FILTER_LPORT != 0 && !port(&setting!(filter.lports), flow.lport) {
        return false;
    }
    if flags & FILTER_RPORT != 0 && !port(&setting!(filter.rports), flow.rport) {
        return false;
    }
    if flags & FILTER_NETNS != 0 && flow.netns != setting!(filter.netns) {
        return false;
    }
    if flags & FILTER_UID != 0 && !(owner_known && flow.uid == setting!(filter.uid)) {
        return false;
    }
    if flags & FILTER_CGROUP != 0 && !(owner_known && flow.cgroup == setting!(filter.cgroup)) {
        return false;
    }
    flags & FILTER_ADDR == 0 || address(flow, &flow.laddr) || address(flow, &flow.raddr)
}

/// Makes the remote end of a flow unspecified: of an IPv4-mapped socket, `::ffff:0.0.0.0`.
#[inline(always)]
pub fn unspecified_remote(flow: &mut Flow) {
    let mapped = flow.family == AF_INET6
        && quarter(&flow.laddr, 0) == 0
        && quarter(&flow.laddr, 1) == 0
        && quarter(&flow.laddr, 2) == MAPPED;
    let second = if mapped { u64::from(MAPPED) } else { 0 };
    let words = flow.raddr.as_mut_ptr().cast::<u64>();
    // SAFETY: 16 bytes, at a multiple of 8 of an 8-byte aligned struct.
    unsafe {
        words.write(0);
        words.add(1).write(second);
    }
}

#[inline(always)]
fn quarter(address: &[u8; 16], index: usize) -> u32 {
    // SAFETY: index is 0..4 at every call.
    unsafe { address.as_ptr().cast::<u32>().add(index).read_unaligned() }
}

#[inline(always)]
fn is_ipv4(flow: &Flow) -> bool {
    flow.family != AF_INET6
        || (quarter(&flow.raddr, 0) == 0
            && quarter(&flow.raddr, 1) == 0
            && quarter(&flow.raddr, 2) == MAPPED)
}

#[inline(always)]
fn port(wanted: &[u16; FILTER_PORTS], port: u16) -> bool {
    let mut index = 0;
    while index < FILTER_PORTS {
        if wanted[index] == port {
            return true;
        }
        index += 1;
    }
    false
}

#[inline(always)]
fn address(flow: &Flow, address: &[u8; 16]) -> bool {
    let (high, low) = if flow.family == AF_INET6 {
        (
            u64::from(quarter(address, 0)) | u64::from(quarter(address, 1)) << 32,
            u64::from(quarter(address, 2)) | u64::from(quarter(address, 3)) << 32,
        )
    } else {
        (0, u64::from(MAPPED) | u64::from(quarter(address, 0)) << 32)
    };
    let (wanted, mask) = (setting!(filter.addr), setting!(filter.mask));
    (high ^ wanted[0]) & mask[0] == 0 && (low ^ wanted[1]) & mask[1] == 0
}
