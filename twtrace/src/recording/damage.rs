//! What may be wrong with a recording, and where.

use std::fmt;

use crate::error::Error;

/// What is wrong with a recording.
#[derive(Debug)]
pub(super) enum Damage {
    NoMeta,
    /// It is JSON of something else.
    Json {
        what: &'static str,
        why: serde_json::Error,
    },
    OtherAbi,
    Layout,
    Kind(u8),
    Records,
    EndMarker,
    AfterEnd,
    BlockHead,
    /// More than any recording has of this kind.
    TooLong {
        bytes: usize,
        most: usize,
    },
    Checksum,
    Packed,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMeta => f.write_str("it does not begin with its meta data"),
            Self::Json { what, why } => write!(f, "{what}: {why}"),
            Self::OtherAbi => f.write_str("its head and its meta data name different ABIs"),
            Self::Layout => f.write_str("a snapshot of another layout"),
            Self::Kind(kind) => write!(f, "a block of unknown kind {kind}"),
            Self::Records => f.write_str("a block of records"),
            Self::EndMarker => f.write_str("its end marker"),
            Self::AfterEnd => f.write_str("something comes after its end"),
            Self::BlockHead => f.write_str("the head of a block"),
            Self::TooLong { bytes, most } => {
                write!(
                    f,
                    "a block of {bytes} bytes where at most {most} are allowed"
                )
            }
            Self::Checksum => f.write_str("a block does not match its checksum"),
            Self::Packed => f.write_str("a block cannot be unpacked"),
        }
    }
}

impl Damage {
    /// Of this recording, in the block that begins so many bytes into it.
    pub(super) fn of(&self, name: &str, at: u64) -> Error {
        Error::new(format!("recording {name} is damaged at byte {at}: {self}"))
            .hint("what comes before the damage was read; copy the file again if it was copied")
    }
}
