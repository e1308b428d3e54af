//! Reading a recording, up to its end or to where it was cut.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use twtrace_common::ABI;

use super::format::{
    self, BLOCK_HEAD, BlockHead, END, FOUND, HEAD, MAGIC, MAX_BLOCK, META, NAMES, RECORDS,
    SNAPSHOT, VERSION,
};
use super::meta;
use super::snapshot::OnDisk;
use super::upgrade::{OLDEST, Upgrade};
use crate::error::{Error, Result};
use crate::event::found::Found;
use crate::event::{Meta, Named, Snapshot};

/// What a recording holds, in the order in which it was recorded.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record of the ring, as it was, or as it would be with this ABI.
    Record(&'a [u8]),
    Snapshot(Snapshot),
    Found(Found),
    /// Names that came up since those before, also of owners that records before it have.
    Names(Named),
}

/// A recording being read.
pub struct Reader {
    /// For messages.
    name: String,
    file: Box<dyn Read>,
    meta: Meta,
    /// The current block of records, and how far it was read.
    block: Vec<u8>,
    position: usize,
    records: u64,
    upgrade: Upgrade,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The end marker was there.
    Complete,
    /// The file ends before it.
    Cut,
}

/// One block, decompressed.
struct Block {
    kind: u8,
    payload: Vec<u8>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("name", &self.name)
            .field("meta", &self.meta)
            .field("records", &self.records)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a recording and reads its head.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| {
            Error::new(format!("cannot open recording {name}: {error}"))
                .hint("recordings are made with twtrace record FILE")
        })?;
        Self::new(name, Box::new(BufReader::new(file)))
    }

    pub(super) fn new(name: String, mut file: Box<dyn Read>) -> Result<Self> {
        let abi = check_head(&name, &mut file)?;
        let Some(block) = next_block(&name, &mut file)? else {
            return Err(cut_too_early(&name));
        };
        if block.kind != META {
            return Err(damaged(&name, "it does not begin with its meta data"));
        }
        let found: meta::OnDisk<Meta> = serde_json::from_slice(&block.payload)
            .map_err(|error| damaged(&name, &format!("its meta data: {error}")))?;
        if !found.is_of(abi) {
            return Err(damaged(
                &name,
                "its head and its meta data name different ABIs",
            ));
        }
        Ok(Self {
            name,
            file,
            meta: found.meta,
            block: Vec::new(),
            position: 0,
            records: 0,
            upgrade: Upgrade::from(abi),
            state: State::Reading,
        })
    }

    /// All names that a recording holds, up to its end, its cut or its damage: reading tells which.
    /// They come after the records that need them, so they are read first, and nothing else is
    /// unpacked for it. From what is no file they come in their turn only.
    #[must_use]
    pub fn names(path: &Path) -> Named {
        let mut all = Named::default();
        let Ok(file) = File::open(path) else {
            return all;
        };
        if file.metadata().is_ok_and(|file| file.is_file()) {
            // What is wrong is told when it is read.
            let _ = add_names(&path.display().to_string(), BufReader::new(file), &mut all);
        }
        all
    }

    /// How and where it was made.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Once [`Reader::next`] returned `None`: the file ends before the recording does.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.state == State::Cut
    }

    /// The next item; `None` at the end, or where the file was cut.
    // Not an `Iterator`: an item borrows from the reader.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from it")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>> {
        while self.position == self.block.len() {
            if self.state != State::Reading {
                return Ok(None);
            }
            if let Some(item) = self.advance()? {
                return Ok(Some(item));
            }
        }
        self.record().map(|record| Some(Item::Record(record)))
    }

    /// Takes the next block: records wait in `self.block`, what is an item itself is returned.
    fn advance(&mut self) -> Result<Option<Item<'static>>> {
        let Some(block) = next_block(&self.name, &mut self.file)? else {
            self.state = State::Cut;
            return Ok(None);
        };
        match block.kind {
            RECORDS => {
                self.block = block.payload;
                self.position = 0;
                Ok(None)
            }
            SNAPSHOT => {
                let snapshot: OnDisk = serde_json::from_slice(&block.payload)
                    .map_err(|error| damaged(&self.name, &format!("a snapshot: {error}")))?;
                let snapshot = snapshot.snapshot();
                snapshot
                    .ok_or_else(|| damaged(&self.name, "a snapshot of another layout"))
                    .map(|snapshot| Some(Item::Snapshot(snapshot)))
            }
            FOUND => serde_json::from_slice(&block.payload)
                .map_err(|error| damaged(&self.name, &format!("what was found: {error}")))
                .map(|found| Some(Item::Found(found))),
            NAMES => names(&self.name, &block).map(|named| Some(Item::Names(named))),
            END => {
                self.end(&block.payload)?;
                self.state = State::Complete;
                Ok(None)
            }
            other => Err(damaged(
                &self.name,
                &format!("a block of unknown kind {other}"),
            )),
        }
    }

    fn record(&mut self) -> Result<&[u8]> {
        let rest = &self.block[self.position..];
        let found = rest.split_first_chunk().and_then(|(length, rest)| {
            let length = usize::from(u16::from_le_bytes(*length));
            Some((2 + length, rest.get(..length)?))
        });
        let (step, record) = found.ok_or_else(|| damaged(&self.name, "a block of records"))?;
        self.position += step;
        self.records += 1;
        Ok(self.upgrade.record(record))
    }

    /// The end marker counts the records, and nothing comes after it.
    fn end(&mut self, payload: &[u8]) -> Result<()> {
        let counted = payload.try_into().ok().map(u64::from_le_bytes);
        if counted != Some(self.records) {
            return Err(damaged(&self.name, "its end marker"));
        }
        match read_up_to(&self.name, &mut self.file, 1)?.is_empty() {
            true => Ok(()),
            false => Err(damaged(&self.name, "something comes after its end")),
        }
    }
}

/// The ABI of the records.
fn check_head(name: &str, file: &mut impl Read) -> Result<u32> {
    let head = read_up_to(name, file, HEAD)?;
    let shown = head.len().min(MAGIC.len());
    if head[..shown] != MAGIC[..shown] || head.is_empty() {
        return Err(Error::new(format!("{name} is not a recording of twtrace"))
            .hint("recordings are made with twtrace record FILE"));
    }
    let Ok(head) = <[u8; HEAD]>::try_from(head) else {
        return Err(cut_too_early(name));
    };
    let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let (abi, version) = (u32::from_ne_bytes(word(8)), u32::from_le_bytes(word(12)));
    if abi.swap_bytes() == ABI && abi != ABI {
        return Err(Error::new(format!(
            "recording {name} was made on a machine of the other byte order"
        ))
        .hint("read it on a machine like the one that made it"));
    }
    for (what, found, oldest, newest) in [
        ("records", abi, OLDEST, ABI),
        ("layout", version, format::OLDEST, VERSION),
    ] {
        if !(oldest..=newest).contains(&found) {
            return Err(Error::new(format!(
                "recording {name} has {what} of version {found}, but this twtrace reads version {newest}"
            ))
            .hint("read it with the twtrace that made it"));
        }
    }
    Ok(abi)
}

/// `None` at the end of the file, which may be in the middle of a block.
fn next_block(name: &str, file: &mut impl Read) -> Result<Option<Block>> {
    match next_head(name, file)? {
        Some(head) => rest_of_block(name, file, head),
        None => Ok(None),
    }
}

fn next_head(name: &str, file: &mut impl Read) -> Result<Option<BlockHead>> {
    let Ok(head) = <[u8; BLOCK_HEAD]>::try_from(read_up_to(name, file, BLOCK_HEAD)?) else {
        return Ok(None);
    };
    let head = BlockHead::from_bytes(head).ok_or_else(|| damaged(name, "the head of a block"))?;
    if head.length as usize > MAX_BLOCK {
        return Err(damaged(name, "a block is too long"));
    }
    Ok(Some(head))
}

fn rest_of_block(name: &str, file: &mut impl Read, head: BlockHead) -> Result<Option<Block>> {
    let length = head.length as usize;
    let payload = read_up_to(name, file, length)?;
    if payload.len() < length {
        return Ok(None);
    }
    if crc32fast::hash(&payload) != head.payload_crc {
        return Err(damaged(name, "a block does not match its checksum"));
    }
    Ok(Some(Block {
        kind: head.kind,
        payload: decompress(&payload).ok_or_else(|| damaged(name, "a block cannot be unpacked"))?,
    }))
}

fn add_names(name: &str, mut file: impl Read + Seek, all: &mut Named) -> Result<()> {
    check_head(name, &mut file)?;
    while let Some(head) = next_head(name, &mut file)? {
        if head.kind != NAMES {
            let skipped = file.seek_relative(head.length.into());
            skipped.map_err(|error| cannot_read(name, &error))?;
        } else if let Some(block) = rest_of_block(name, &mut file, head)? {
            all.extend(names(name, &block)?);
        }
    }
    Ok(())
}

fn names(name: &str, block: &Block) -> Result<Named> {
    serde_json::from_slice(&block.payload)
        .map_err(|error| damaged(name, &format!("its names: {error}")))
}

fn decompress(payload: &[u8]) -> Option<Vec<u8>> {
    let (length, _) = lz4_flex::block::uncompressed_size(payload).ok()?;
    if length > MAX_BLOCK {
        return None;
    }
    lz4_flex::block::decompress_size_prepended(payload).ok()
}

/// Fewer bytes only at the end of the file.
fn read_up_to(name: &str, file: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    match file.take(length as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(cannot_read(name, &error)),
    }
}

fn cannot_read(name: &str, error: &io::Error) -> Error {
    Error::new(format!("cannot read recording {name}: {error}"))
}

fn cut_too_early(name: &str) -> Error {
    Error::new(format!(
        "recording {name} was cut before its first event: there is nothing to read"
    ))
}

fn damaged(name: &str, what: &str) -> Error {
    Error::new(format!("recording {name} is damaged: {what}"))
        .hint("what comes before the damage was read; copy the file again if it was copied")
}
