//! What only the full socket knows: protocol, owner, and so whether it passes the filters.

use twtrace_common::{
    record::FLAG_OWNER,
    settings::{FEATURE_OWNERS, FILTER_CGROUP, FILTER_UID},
};

use crate::{
    filter,
    read::{Access, Probed},
    settings::{enabled, offset, setting},
};

const IPPROTO_TCP: u16 = 6;

#[inline(always)]
pub fn is_tcp<A: Access>(sk: u64) -> bool {
    A::get::<u16>(sk, offset!(sk_protocol)) == IPPROTO_TCP
}

#[inline(always)]
fn wanted() -> bool {
    enabled(FEATURE_OWNERS) || setting!(filter.flags) & (FILTER_UID | FILTER_CGROUP) != 0
}

/// [`FLAG_OWNER`] if owners are taken.
#[inline(always)]
pub fn flag() -> u8 {
    if wanted() { FLAG_OWNER } else { 0 }
}

/// uid and cgroup id of a full socket. A mini-socket has neither, and `current` is whoever the
/// softirq interrupted.
#[inline(always)]
pub fn of<A: Access>(sk: u64) -> (u32, u64) {
    if !wanted() {
        return (0, 0);
    }
    (A::get(sk, offset!(sk_uid)), cgroup::<A>(sk))
}

#[inline(always)]
fn cgroup<A: Access>(sk: u64) -> u64 {
    if offset!(sk_cgroup) != 0 {
        let cgroup: u64 = A::get(sk, offset!(sk_cgroup));
        return A::get(A::get::<u64>(cgroup, offset!(cgroup_kn)), offset!(kn_id));
    }
    if offset!(sk_cgroup_packed) != 0 {
        // 5.10: bit 0 set means that the word holds cgroup v1 data; bit 1 is a flag too.
        let packed: u64 = Probed::get(sk, offset!(sk_cgroup_packed));
        if packed & 1 == 0 {
            let kn = Probed::get::<u64>(packed & !3, offset!(cgroup_kn));
            return Probed::get(kn, offset!(kn_id));
        }
    }
    0
}

/// Whether a full socket passes the filters.
#[inline(always)]
pub fn passes<A: Access>(sk: u64) -> bool {
    filter::passes_flow::<A>(sk) && (!filter::by_owner() || passes_filters::<A>(sk))
}

/// Whether a full socket passes the filters that ask for its owner.
#[inline(always)]
pub fn passes_filters<A: Access>(sk: u64) -> bool {
    let (uid, cgroup) = of::<A>(sk);
    filter::owner(uid, cgroup)
}
