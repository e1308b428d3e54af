//! What tcp_tw_recycle would have done: removed in Linux 4.12, and still asked for.
//!
//! It kept the newest timestamp of each remote address, from the connections that went to
//! TIME_WAIT here. For 60 s after it, a SYN whose timestamp was older by more than a tick was
//! dropped without an answer, as was one without a timestamp (`tcp_peer_is_proven` of 3.17 to
//! 4.11). Only SYNs that met a TIME_WAIT are seen here, and of the addresses' clocks only what
//! those TIME_WAITs knew; so what is counted is the least that would have been dropped.

use foldhash::{HashMap, HashMapExt as _};

use super::peers::PeerKey;
use crate::event::Numbers;

/// TCP_PAWS_MSL.
const VALID_NS: u64 = 60_000_000_000;
/// TCP_PAWS_WINDOW.
const WINDOW_TICKS: i32 = 1;
/// Most addresses whose clocks are followed.
const MOST: usize = 4_096;

/// Follows the clocks of remote addresses.
#[derive(Debug)]
pub struct Recycle {
    newest: HashMap<PeerKey, Newest>,
    /// SYNs that met a TIME_WAIT of an address that is followed.
    pub syns: u64,
    /// Of those, dropped because another host of the address is ahead.
    pub dropped_behind: u64,
    /// Of those, dropped for lack of a timestamp.
    pub dropped_without: u64,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    tsval: u32,
    at_ns: u64,
}

impl Recycle {
    pub(super) fn new() -> Self {
        Self {
            newest: HashMap::new(),
            syns: 0,
            dropped_behind: 0,
            dropped_without: 0,
        }
    }

    /// All that would have been dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_behind + self.dropped_without
    }

    /// Takes a SYN that met a TIME_WAIT, refused or accepted. `age_ns`: of ts_recent.
    pub(super) fn syn(&mut self, address: PeerKey, at_ns: u64, numbers: &Numbers, age_ns: u64) {
        if let Some(tsval) = numbers.ts_recent {
            let at_ns = at_ns.saturating_sub(age_ns);
            self.remember(address, Newest { tsval, at_ns });
        }
        if !self.newest.contains_key(&address) && self.newest.len() >= MOST {
            return;
        }
        self.syns += 1;
        let Some(newest) = self.newest.get(&address) else {
            return;
        };
        if at_ns.saturating_sub(newest.at_ns) >= VALID_NS {
            return;
        }
        match numbers.tsval {
            None => self.dropped_without += 1,
            Some(tsval) => {
                let behind = newest.tsval.wrapping_sub(tsval).cast_signed();
                self.dropped_behind += u64::from(behind > WINDOW_TICKS);
            }
        }
    }

    /// `tcp_tw_remember_stamp`: the newer timestamp counts, or one after a long silence.
    fn remember(&mut self, address: PeerKey, seen: Newest) {
        if self.newest.len() >= MOST && !self.newest.contains_key(&address) {
            return;
        }
        let newest = self.newest.entry(address).or_insert(seen);
        let newer = newest.tsval.wrapping_sub(seen.tsval).cast_signed() <= 0;
        let silence = seen.at_ns.saturating_sub(newest.at_ns) > VALID_NS;
        if newer || silence {
            *newest = seen;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn address(last: u8) -> PeerKey {
        PeerKey {
            netns: 1,
            raddr: Ipv4Addr::new(203, 0, 113, last).into(),
        }
    }

    fn numbers(tsval: Option<u32>, ts_recent: Option<u32>) -> Numbers {
        Numbers {
            tsval,
            ts_recent,
            seq: 0,
            rcv_nxt: 0,
        }
    }

    /// The address is known: a connection of it with TSval 1,000,000 closed at 100 s.
    fn known() -> Recycle {
        let mut recycle = Recycle::new();
        let first = numbers(Some(1_001_000), Some(1_000_000));
        recycle.syn(address(7), 101 * S, &first, S);
        assert_eq!((recycle.syns, recycle.dropped()), (1, 0));
        recycle
    }

    #[test]
    fn a_host_whose_clock_is_behind_another_of_its_address_is_dropped() {
        let mut recycle = known();
        // Its own connection is older still, so today's kernels accept it.
        let behind = numbers(Some(500_000), Some(400_000));
        recycle.syn(address(7), 110 * S, &behind, 5 * S);
        assert_eq!(recycle.dropped_behind, 1);
        recycle.syn(address(8), 110 * S, &behind, 5 * S);
        assert_eq!((recycle.syns, recycle.dropped()), (3, 1));
    }

    #[test]
    fn one_tick_is_allowed() {
        for (tsval, dropped) in [(999_999, 0), (999_998, 1)] {
            let mut recycle = known();
            recycle.syn(address(7), 110 * S, &numbers(Some(tsval), None), 0);
            assert_eq!(recycle.dropped(), dropped, "{tsval}");
        }
    }

    #[test]
    fn without_a_timestamp_it_is_dropped_while_the_address_is_known() {
        let mut recycle = known();
        recycle.syn(address(7), 110 * S, &numbers(None, None), 0);
        assert_eq!(recycle.dropped_without, 1);
        recycle.syn(address(8), 110 * S, &numbers(None, None), 0);
        assert_eq!(recycle.dropped_without, 1);
    }

    #[test]
    fn after_a_minute_the_address_is_forgotten() {
        let mut recycle = known();
        recycle.syn(address(7), 160 * S, &numbers(Some(5), None), 0);
        assert_eq!(recycle.dropped(), 0);
        // After that long, a clock that is behind becomes the one that counts.
        recycle.syn(address(7), 170 * S, &numbers(Some(20), Some(10)), S);
        recycle.syn(address(7), 171 * S, &numbers(Some(5), None), 0);
        assert_eq!(recycle.dropped(), 1);
    }

    #[test]
    fn no_more_addresses_than_there_is_room_for() {
        let mut recycle = Recycle::new();
        for n in 0..5_000_u32 {
            let address = PeerKey {
                netns: n,
                ..address(7)
            };
            recycle.syn(address, S, &numbers(Some(1), Some(1)), 0);
        }
        assert_eq!((recycle.newest.len(), recycle.syns), (MOST, MOST as u64));
    }
}
