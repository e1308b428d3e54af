//! Meta data as they are on disk: with the ABI once more, because the head of the file has no
//! checksum of its own.

use serde::{Deserialize, Serialize};
use twtrace_common::ABI;

/// The first ABI with which it is written.
const SINCE: u32 = 3;

/// `M` is `event::Meta`, borrowed or owned.
#[derive(Serialize, Deserialize)]
pub(super) struct OnDisk<M> {
    #[serde(default)]
    abi: Option<u32>,
    #[serde(flatten)]
    pub(super) meta: M,
}

impl<M> OnDisk<M> {
    pub(super) fn new(meta: M) -> Self {
        Self {
            abi: Some(ABI),
            meta,
        }
    }

    /// Whether the head of the file was right.
    pub(super) fn is_of(&self, abi: u32) -> bool {
        match self.abi {
            Some(told) => told == abi,
            None => abi < SINCE,
        }
    }
}
