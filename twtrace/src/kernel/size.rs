//! How large the maps are made.

use std::fs;

/// Room in the state maps and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Entries of SLOTS, a power of two; 1 if it is not used.
    pub slots: u32,
    /// Entries of SPILL.
    pub spill: u32,
    /// Namespaces with counters of their own, a power of two.
    pub namespaces: u32,
}

const FEWEST_SOCKETS: u32 = 16 * 1024;
/// 128 MiB of slots; more only if asked for.
const MOST_SOCKETS: u32 = 1 << 20;

/// Sizes for a number of live mini-sockets.
///
/// With compare-and-exchange most go to SLOTS: it gets one and a half times their number, so that
/// few find their neighbourhood full, and SPILL takes those.
pub(super) fn sizes(max_sockets: Option<u32>, slots: bool, namespaces: u32) -> Sizes {
    let sockets = max_sockets.unwrap_or_else(expected_sockets).max(1);
    // Inode numbers come in leaps, so entries are hit at random; and those of namespaces that
    // went away stay taken. A sixteenth full, one in 65,536 namespaces finds its four taken.
    let namespaces = namespaces
        .saturating_mul(16)
        .clamp(512, 16 * 1024)
        .next_power_of_two();
    if slots {
        Sizes {
            slots: (sockets.saturating_add(sockets / 2))
                .min(1 << 30)
                .next_power_of_two(),
            spill: (sockets / 4).max(1),
            namespaces,
        }
    } else {
        Sizes {
            slots: 1,
            spill: sockets,
            namespaces,
        }
    }
}

/// `tcp_max_tw_buckets` limits each namespace; ours is what they are all made after.
fn expected_sockets() -> u32 {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_max_tw_buckets")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(FEWEST_SOCKETS)
        .clamp(FEWEST_SOCKETS, MOST_SOCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_a_power_of_two_with_room_to_spare() {
        let sizes = sizes(Some(65_536), true, 3);
        assert_eq!(sizes.slots, 131_072);
        assert_eq!(sizes.spill, 16_384);
        assert_eq!(sizes.namespaces, 512);
    }

    #[test]
    fn without_slots_all_go_to_the_hash_map() {
        let sizes = sizes(Some(1), false, 0);
        assert_eq!((sizes.slots, sizes.spill), (1, 1));
    }
}
