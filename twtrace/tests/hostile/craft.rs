//! Recordings as somebody would forge them: what `Writer` never writes, with checksums that are
//! right.

use std::path::{Path, PathBuf};

/// Of the head of the file, and of a block's.
const HEAD: usize = 16;

pub(crate) const META: u8 = 1;
pub(crate) const RECORDS: u8 = 2;
pub(crate) const SNAPSHOT: u8 = 3;
pub(crate) const END: u8 = 4;
pub(crate) const NAMES: u8 = 5;
pub(crate) const FOUND: u8 = 6;

/// A recording as its blocks, unpacked.
#[derive(Clone)]
pub(crate) struct Forged {
    head: Vec<u8>,
    pub(crate) blocks: Vec<(u8, Vec<u8>)>,
}

impl Forged {
    /// Begins with one that is whole.
    pub(crate) fn from(recording: &Path) -> Self {
        let bytes = std::fs::read(recording).unwrap();
        let (head, mut rest) = bytes.split_at(HEAD);
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            let payload = &rest[HEAD..HEAD + length];
            let payload = lz4_flex::block::decompress_size_prepended(payload).unwrap();
            blocks.push((rest[4], payload));
            rest = &rest[HEAD + length..];
        }
        Self {
            head: head.to_vec(),
            blocks,
        }
    }

    /// Puts blocks behind the meta data.
    pub(crate) fn with(mut self, blocks: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Self {
        self.blocks.splice(1..1, blocks);
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.around(self.blocks.len()).0
    }

    /// The file up to a block, and from it on.
    pub(crate) fn around(&self, block: usize) -> (Vec<u8>, Vec<u8>) {
        let (before, behind) = self.blocks.split_at(block);
        let all = |blocks: &[(u8, Vec<u8>)]| -> Vec<u8> {
            blocks
                .iter()
                .flat_map(|(kind, payload)| packed(*kind, payload))
                .collect()
        };
        ([self.head.clone(), all(before)].concat(), all(behind))
    }

    /// Written to a file that goes away with what is returned.
    pub(crate) fn save(&self, name: &str) -> Saved {
        Saved::new(name, &self.to_bytes())
    }
}

/// A block as it is in the file.
pub(crate) fn packed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let payload = lz4_flex::block::compress_prepend_size(payload);
    let mut block = (payload.len() as u32).to_le_bytes().to_vec();
    block.extend([kind, 0, 0, 0]);
    block.extend(crc32fast::hash(&payload).to_le_bytes());
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block.extend(payload);
    block
}

pub(crate) struct Saved(PathBuf);

impl Saved {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("twtrace-hostile-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}
