//! Reading a recording, up to its end or to where it was cut.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use twtrace_common::ABI;

use super::blocks::{Block, Blocks};
use super::damage::Damage;
use super::format::{self, END, FOUND, HEAD, MAGIC, META, NAMES, RECORDS, SNAPSHOT, VERSION};
use super::meta;
use super::snapshot::OnDisk;
use super::upgrade::{OLDEST, Upgrade};
use crate::error::{Error, Result, why};
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
    blocks: Blocks<Box<dyn Read + Send>>,
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
    /// The end marker was read.
    Complete,
    /// The file ends before it.
    Cut,
}

/// Names that are read ahead, of each kind and in bytes: a recording may hold any number.
const MOST_NAMES: usize = 65_536;
const MOST_BYTES: usize = 8 << 20;

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("name", &self.blocks.name)
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
            Error::new(format!("cannot read {name}: {}", why(&error)))
                .hint("recordings are made with twtrace record FILE")
        })?;
        Self::new(name, Box::new(BufReader::new(file)))
    }

    /// Reads the head of a recording from anywhere; the name is for messages.
    pub fn new(name: String, file: Box<dyn Read + Send>) -> Result<Self> {
        let mut blocks = Blocks::new(name, file);
        let abi = check_head(&mut blocks)?;
        let Some(block) = blocks.next()? else {
            return Err(cut_too_early(&blocks.name));
        };
        if block.kind != META {
            return Err(blocks.damaged(Damage::NoMeta));
        }
        let found: meta::OnDisk<Meta> = json(&blocks, &block, "its meta data")?;
        if !found.is_of(abi) {
            return Err(blocks.damaged(Damage::OtherAbi));
        }
        Ok(Self {
            blocks,
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
    /// unpacked for it. From a pipe they come in their turn only, as do those for which
    /// there is no room here.
    #[must_use]
    pub fn names(path: &Path) -> Named {
        let mut all = Named::default();
        let Ok(file) = File::open(path) else {
            return all;
        };
        if file.metadata().is_ok_and(|file| file.is_file()) {
            // Reading reports what is wrong.
            let name = path.display().to_string();
            let _ = add_names(&mut Blocks::new(name, BufReader::new(file)), &mut all);
        }
        all
    }

    /// How and where it was made.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// After [`Reader::next`] has returned `None`: whether the file ends before the recording does.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.state == State::Cut
    }

    /// The next item has to be read first: from a pipe, it may not be there yet.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.position == self.block.len() && self.state == State::Reading
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
        let Some(block) = self.blocks.next()? else {
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
                let snapshot: OnDisk = json(&self.blocks, &block, "a snapshot")?;
                match snapshot.snapshot() {
                    Some(snapshot) => Ok(Some(Item::Snapshot(snapshot))),
                    None => Err(self.blocks.damaged(Damage::Layout)),
                }
            }
            FOUND => Ok(Some(Item::Found(json(
                &self.blocks,
                &block,
                "what was found",
            )?))),
            NAMES => Ok(Some(Item::Names(json(&self.blocks, &block, "its names")?))),
            END => {
                self.end(&block.payload)?;
                self.state = State::Complete;
                Ok(None)
            }
            other => Err(self.blocks.damaged(Damage::Kind(other))),
        }
    }

    fn record(&mut self) -> Result<&[u8]> {
        let rest = &self.block[self.position..];
        let found = rest.split_first_chunk().and_then(|(length, rest)| {
            let length = usize::from(u16::from_le_bytes(*length));
            Some((2 + length, rest.get(..length)?))
        });
        let (step, record) = found.ok_or_else(|| self.blocks.damaged(Damage::Records))?;
        self.position += step;
        self.records += 1;
        Ok(self.upgrade.record(record))
    }

    /// The end marker counts the records, and nothing comes after it.
    fn end(&mut self, payload: &[u8]) -> Result<()> {
        let counted = payload.try_into().ok().map(u64::from_le_bytes);
        if counted != Some(self.records) {
            return Err(self.blocks.damaged(Damage::EndMarker));
        }
        match self.blocks.bytes(1)?.is_empty() {
            true => Ok(()),
            false => Err(self.blocks.damaged(Damage::AfterEnd)),
        }
    }
}

/// The ABI of the records.
fn check_head(blocks: &mut Blocks<impl Read>) -> Result<u32> {
    let head = blocks.bytes(HEAD)?;
    let name = &blocks.name;
    if head.is_empty() {
        return Err(
            Error::new(format!("{name} is not a recording of twtrace: it is empty"))
                .hint("recordings are made with twtrace record FILE"),
        );
    }
    let shown = head.len().min(MAGIC.len());
    if head[..shown] != MAGIC[..shown] {
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

fn json<'a, T: serde::Deserialize<'a>>(
    blocks: &Blocks<impl Read>,
    block: &'a Block,
    what: &'static str,
) -> Result<T> {
    serde_json::from_slice(&block.payload).map_err(|why| blocks.damaged(Damage::Json { what, why }))
}

fn add_names(blocks: &mut Blocks<impl Read + Seek>, all: &mut Named) -> Result<()> {
    check_head(blocks)?;
    let mut bytes = 0;
    while let Some(head) = blocks.head()? {
        if head.kind != NAMES {
            blocks.skip(head)?;
        } else if let Some(block) = blocks.payload(head)? {
            let named: Named = json(blocks, &block, "its names")?;
            bytes += named.bytes();
            if bytes > MOST_BYTES || all.most() > MOST_NAMES {
                break;
            }
            all.extend(named);
        }
    }
    Ok(())
}

fn cut_too_early(name: &str) -> Error {
    Error::new(format!(
        "recording {name} was cut before its first event: there is nothing to read"
    ))
}
