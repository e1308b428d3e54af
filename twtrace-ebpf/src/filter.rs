//! Filters. With none set, the verifier removes all of this.

use twtrace_common::{
    record::{AF_INET6, Flow},
    settings::{
        FILTER_ADDR, FILTER_CGROUP, FILTER_IPV4, FILTER_IPV6, FILTER_LPORT, FILTER_NETNS,
        FILTER_PORTS, FILTER_RPORT, FILTER_UID,
    },
};

use crate::{
    emit, netns,
    read::Access,
    settings::{offset, setting},
};

/// `::ffff:0:0/96`, the second quarter of an IPv4-mapped address, in network order.
const MAPPED: u32 = 0xffff_u32.to_be();

/// Whether any filter is set.
#[inline(always)]
pub fn active() -> bool {
    setting!(filter.flags) != 0
}

/// Whether a filter asks who owns a connection. Such filters refuse what has no known owner.
#[inline(always)]
pub fn by_owner() -> bool {
    setting!(filter.flags) & (FILTER_UID | FILTER_CGROUP) != 0
}

/// Whether the connection of a `sock_common` passes all filters but those that ask for its owner.
///
/// What is cheap to ask comes first: most of what the filters are there for ends here.
#[inline(always)]
pub fn passes_flow<A: Access>(common: u64) -> bool {
    let lport = || A::get(common, offset!(skc_num));
    let rport = || u16::from_be(A::get(common, offset!(skc_dport)));
    if !ports(lport, rport) || !place(|| netns::inum_of_sock::<A>(common)) {
        return false;
    }
    if setting!(filter.flags) & (FILTER_IPV4 | FILTER_IPV6 | FILTER_ADDR) == 0 {
        return true;
    }
    let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
    // SAFETY: `ends` reads only what is written here.
    let flow = unsafe { flow.assume_init_mut() };
    emit::flow::<A>(flow, common, 0);
    ends(flow)
}

/// Whether the connection of a `sock_common` passes all filters, where its owner is not known.
#[inline(always)]
pub fn passes_unowned<A: Access>(common: u64) -> bool {
    !by_owner() && passes_flow::<A>(common)
}

/// Whether a connection passes all filters; its owner is known.
#[inline(always)]
pub fn passes(flow: &Flow) -> bool {
    ports(|| flow.lport, || flow.rport)
        && place(|| flow.netns)
        && ends(flow)
        && owner(flow.uid, flow.cgroup)
}

/// Whether an owner passes the filters.
#[inline(always)]
pub fn owner(uid: u32, cgroup: u64) -> bool {
    let flags = setting!(filter.flags);
    (flags & FILTER_UID == 0 || uid == setting!(filter.uid))
        && (flags & FILTER_CGROUP == 0 || cgroup == setting!(filter.cgroup))
}

/// Whether a port is one of the first few of a list. To the verifier their number is known, so
/// nothing is left of the others.
macro_rules! one_of {
    ($ports:ident.$list:ident, $counts:ident.$count:ident, $port:expr) => {{
        let port = $port;
        let count = usize::from(setting!($counts.$count));
        let mut index = 0;
        let mut found = false;
        while index < FILTER_PORTS && index < count && !found {
            found = setting!($ports.$list[index]) == port;
            index += 1;
        }
        found
    }};
}

#[inline(always)]
fn ports(lport: impl FnOnce() -> u16, rport: impl FnOnce() -> u16) -> bool {
    let flags = setting!(filter.flags);
    (flags & FILTER_LPORT == 0 || one_of!(filter.lports, filter.lport_count, lport()))
        && (flags & FILTER_RPORT == 0 || one_of!(filter.rports, filter.rport_count, rport()))
}

#[inline(always)]
fn place(netns: impl FnOnce() -> u32) -> bool {
    setting!(filter.flags) & FILTER_NETNS == 0 || netns() == setting!(filter.netns)
}

/// Family and addresses.
#[inline(always)]
fn ends(flow: &Flow) -> bool {
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
