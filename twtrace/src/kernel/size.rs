//! How large the maps are made.

use std::fs;

use twtrace_common::counters::Counters;

/// Room in the state maps and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Entries of SLOTS, a power of two; 1 if it is not used.
    pub slots: u32,
    /// Entries of SPILL.
    pub spill: u32,
    /// Namespaces with counters of their own, a power of two.
    pub namespaces: u32,
    /// Copies of each entry's counters, a power of two: CPUs that share none do not slow each
    /// other down.
    pub stripes: u32,
}

/// What there is to make room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// What the user asked for.
    pub max_sockets: Option<u32>,
    /// Mini-sockets that are there already.
    pub existing: u32,
    /// Whether SLOTS can be used.
    pub slots: bool,
    /// Namespaces that are there already.
    pub namespaces: u32,
    /// CPUs that may ever exist.
    pub cpus: u32,
}

/// Most bytes of COUNTERS: hosts with many CPUs and namespaces share copies beyond that.
const MOST_COUNTERS: usize = 4 << 20;

const FEWEST_SOCKETS: u32 = 16 * 1024;
/// 128 MiB of slots; more only if asked for.
const MOST_SOCKETS: u32 = 1 << 20;

/// Sizes for a number of live mini-sockets.
///
/// With compare-and-exchange most go to SLOTS: it gets one and a half times their number, so that
/// few find their neighbourhood full, and SPILL takes those.
///
/// Those that are there already get a slot in SPILL when something happens to them, whatever room
/// the others have.
pub(super) fn sizes(room: Room) -> Sizes {
    let sockets = room.max_sockets.unwrap_or_else(expected_sockets).max(1);
    let existing = room.existing.saturating_add(room.existing / 8);
    let (slots, spill) = if room.slots {
        let slots = sockets.saturating_add(sockets / 2);
        (slots.min(1 << 30).next_power_of_two(), sockets / 4)
    } else {
        (1, sockets)
    };
    // A quarter full, one in a thousand namespaces finds the eight entries of its group taken.
    let namespaces = room
        .namespaces
        .saturating_mul(4)
        .clamp(256, 4096)
        .next_power_of_two();
    let one = (namespaces + 1) as usize * size_of::<Counters>();
    let affordable = 1 << (MOST_COUNTERS / one).max(1).ilog2();
    Sizes {
        slots,
        spill: spill.saturating_add(existing).max(1),
        namespaces,
        stripes: room.cpus.max(1).next_power_of_two().min(affordable),
    }
}

/// `tcp_max_tw_buckets` limits each namespace; that of our own is the default of the others.
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

    const ROOM: Room = Room {
        max_sockets: Some(65_536),
        existing: 0,
        slots: true,
        namespaces: 3,
        cpus: 2,
    };

    #[test]
    fn slots_are_a_power_of_two_with_room_to_spare() {
        let sizes = sizes(ROOM);
        assert_eq!(sizes.slots, 131_072);
        assert_eq!(sizes.spill, 16_384);
        assert_eq!((sizes.namespaces, sizes.stripes), (256, 2));
    }

    #[test]
    fn without_slots_all_go_to_the_hash_map() {
        let sizes = sizes(Room {
            max_sockets: Some(1),
            slots: false,
            ..ROOM
        });
        assert_eq!((sizes.slots, sizes.spill), (1, 1));
    }

    #[test]
    fn what_is_there_already_has_room_of_its_own() {
        let sizes = sizes(Room {
            max_sockets: Some(400),
            existing: 800,
            ..ROOM
        });
        assert_eq!(sizes.spill, 1_000);
    }

    #[test]
    fn counters_of_many_cpus_and_namespaces_take_four_megabytes() {
        for (namespaces, cpus) in [(1, 1), (1, 4096), (200, 128), (1_000, 128), (100_000, 512)] {
            let sizes = sizes(Room {
                namespaces,
                cpus,
                ..ROOM
            });
            let copies = (sizes.namespaces + 1) * sizes.stripes;
            let bytes = copies as usize * size_of::<Counters>();
            assert!(bytes <= MOST_COUNTERS, "{namespaces}, {cpus}: {bytes}");
            assert!(sizes.stripes.is_power_of_two() && sizes.stripes < 2 * cpus);
            assert!(sizes.namespaces >= namespaces.min(4096));
        }
    }
}
