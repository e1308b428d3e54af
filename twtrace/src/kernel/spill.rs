//! Slots in SPILL that outlived their mini-sockets.
//!
//! A mini-socket whose birth was not seen gets its slot when something happens to it; if another CPU
//! is at its end just then, nobody takes the slot away. So does one whose end a kprobe missed. The
//! next birth at the same address takes their place; the others are found here by age.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use twtrace_common::slot::{STALE_NS, Slot, age_ns};

use super::load::chain;
use super::syscall;
use crate::error::{Error, Result};

/// How many slots are looked at per call, so that nothing else waits for long.
const AT_ONCE: usize = 8 * 1024;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainSlot(Slot);
// SAFETY: repr(C) integers without hidden padding (asserted in twtrace-common).
unsafe impl Pod for PlainSlot {}

/// The hash map of slots.
pub(super) struct Spill {
    /// The same map: the library cannot continue after a given key.
    map: OwnedFd,
    slots: HashMap<MapData, u64, PlainSlot>,
    /// Where to continue.
    after: Option<u64>,
    /// How many were taken away.
    pub(super) stale: u64,
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spill").finish_non_exhaustive()
    }
}

impl Spill {
    pub(super) fn new(map: Map) -> Result<Self> {
        let broken =
            |error: MapError| Error::new(format!("cannot use an eBPF map: {}", chain(&error)));
        let Map::HashMap(data) = &map else {
            return Err(Error::new("the eBPF map SPILL is not a hash map"));
        };
        let same = data.fd().as_fd().try_clone_to_owned();
        Ok(Self {
            map: same.map_err(|error| Error::new(format!("cannot use an eBPF map: {error}")))?,
            slots: HashMap::try_from(map).map_err(broken)?,
            after: None,
            stale: 0,
        })
    }

    /// Removes what is older than any mini-socket gets without being started again many times.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        for _ in 0..AT_ONCE {
            let last = self.after;
            self.after = syscall::next_key(self.map.as_fd(), last);
            if let Some(key) = last.filter(|key| self.is_stale(key, now_ns)) {
                // It may have gone by itself.
                self.stale += u64::from(self.slots.remove(&key).is_ok());
            }
            if self.after.is_none() {
                break;
            }
        }
    }

    fn is_stale(&self, key: &u64, now_ns: u64) -> bool {
        let slot = self.slots.get(key, 0);
        slot.is_ok_and(|PlainSlot(slot)| age_ns(slot.flags, now_ns) > STALE_NS)
    }
}
