//! SYNs that no hook sees on this kernel, and what the kernel's own counter says of them.

use super::Opening;
use super::compare::Sides;
use crate::event::{Meta, Snapshot};

/// SYNs for a live connection, which it answers with a challenge ACK (RFC 5961).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Network namespaces, and by how much [`COUNTER`] grew in those in which it did.
    pub grew: Vec<(u32, u64)>,
    /// Namespaces of which that is known.
    pub known: usize,
    /// Namespaces of which it is not.
    pub unknown: usize,
    /// The counters also have what a filter leaves out.
    pub filtered: bool,
}

/// It also counts SYN-ACKs that are sent again because an ACK was lost.
pub const COUNTER: &str = "TCPSYNChallenge";

impl Unseen {
    /// `None` if all stages could be seen.
    #[must_use]
    pub(in crate::model) fn new(meta: &Meta, first: &Opening, last: &Snapshot) -> Option<Self> {
        if meta.drops {
            return None;
        }
        let sides = Sides::new(meta, first, last);
        let mut unseen = Self {
            filtered: meta.filtered,
            ..Self::default()
        };
        for key in sides.namespaces() {
            match sides.moved_by(key, |kernel| kernel.tcp_ext.get(COUNTER).copied()) {
                Ok(0) => unseen.known += 1,
                Ok(by) => {
                    unseen.known += 1;
                    unseen.grew.push((sides.inode(key), by));
                }
                Err(_) => unseen.unknown += 1,
            }
        }
        Some(unseen)
    }

    /// In all namespaces together; `None` if it is known of none.
    #[must_use]
    pub fn grew(&self) -> Option<u64> {
        (self.known > 0).then(|| self.grew.iter().map(|(_, by)| by).sum())
    }

    /// There was certainly none.
    #[must_use]
    pub fn none(&self) -> bool {
        self.grew() == Some(0) && self.unknown == 0
    }
}
