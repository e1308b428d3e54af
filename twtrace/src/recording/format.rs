//! The layout of the file.
//!
//! ```text
//! file  = head block*
//! head  = magic[8] abi:u32 version:u32
//! block = length:u32 kind:u8 zero[3] payload-crc:u32 head-crc:u32 payload[length]
//! ```
//!
//! The integers of the head and of the blocks are little-endian; `abi` is in the byte order of
//! the machine that recorded, because the records are. The head CRC tells a damaged length from
//! a cut file. Payloads are compressed with LZ4, their length before it first (u32). The first
//! block is `META`, the last of a complete recording `END`.

use twtrace_common::ABI;

/// What every recording begins with. The last bytes are there to be damaged by text conversion.
pub(super) const MAGIC: [u8; 8] = *b"twtrace\n";
/// Version of this layout; the records have their own, [`ABI`]. Before 2 there were no [`NAMES`].
pub(super) const VERSION: u32 = 2;
/// The oldest layout that is read.
pub(super) const OLDEST: u32 = 1;
/// Length of the head of the file.
pub(super) const HEAD: usize = 16;
/// Length of the head of a block.
pub(super) const BLOCK_HEAD: usize = 16;
/// Names that are written into one block at most: however long they are, they fit.
pub(super) const NAMES_A_BLOCK: usize = 2_048;

/// No block of a kind is longer, before or after compression; `None` for a kind that does not
/// exist. Each is well above what a busy host writes, so that reading takes little memory
/// whatever a file holds.
pub(super) const fn most(kind: u8) -> Option<usize> {
    Some(match kind {
        META => 64 << 10,
        RECORDS => 1 << 20,
        SNAPSHOT => 16 << 20,
        END => 64,
        NAMES => 8 << 20,
        FOUND => 2 << 20,
        _ => return None,
    })
}

/// JSON of `event::Meta`.
pub(super) const META: u8 = 1;
/// Records, each with its length (u16) before it.
pub(super) const RECORDS: u8 = 2;
/// JSON of a snapshot.
pub(super) const SNAPSHOT: u8 = 3;
/// Number of records in the file (u64): nothing is missing.
pub(super) const END: u8 = 4;
/// JSON of `event::Named`: names that came up since the block before it.
pub(super) const NAMES: u8 = 5;
/// JSON of `event::found::Found`: what was asked, beside what was told. Recordings that were made
/// without births have none.
pub(super) const FOUND: u8 = 6;

/// The head of the file.
pub(super) fn head() -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&ABI.to_ne_bytes());
    head[12..].copy_from_slice(&VERSION.to_le_bytes());
    head
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) payload_crc: u32,
}

impl BlockHead {
    pub(super) fn to_bytes(self) -> [u8; BLOCK_HEAD] {
        let mut bytes = [0; BLOCK_HEAD];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if its CRC says that it is damaged.
    pub(super) fn from_bytes(bytes: [u8; BLOCK_HEAD]) -> Option<Self> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let head = Self {
            length: word(0),
            kind: bytes[4],
            payload_crc: word(8),
        };
        (word(12) == crc32fast::hash(&bytes[..12])).then_some(head)
    }
}
