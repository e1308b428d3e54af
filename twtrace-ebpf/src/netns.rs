//! Network namespaces, as kernel objects name them.

use crate::{read::Access, settings::offset};

/// A network namespace.
#[derive(Clone, Copy)]
pub struct Netns {
    /// Inode number; given to another when the namespace is gone.
    pub inum: u32,
    /// See [`twtrace_common::counters::Owner::id`].
    pub id: u64,
}

/// The namespace of a `sock_common`.
#[inline(always)]
pub fn of_sock<A: Access>(common: u64) -> Netns {
    of_net::<A>(A::get(common, offset!(skc_net)))
}

/// The namespace that a `struct net` is.
#[inline(always)]
pub fn of_net<A: Access>(net: u64) -> Netns {
    let inum: u32 = A::get(net, offset!(net_inum));
    let id = if offset!(net_cookie) != 0 {
        A::get(net, offset!(net_cookie))
    } else if offset!(net_hash_mix) != 0 {
        u64::from(A::get::<u32>(net, offset!(net_hash_mix))) << 32 | u64::from(inum)
    } else {
        inum.into()
    };
    Netns { inum, id }
}

/// Inode number of the namespace of a `sock_common`.
#[inline(always)]
pub fn inum_of_sock<A: Access>(common: u64) -> u32 {
    A::get(A::get::<u64>(common, offset!(skc_net)), offset!(net_inum))
}
