//! Writing a recording, block by block. What was written stays readable, whatever comes after.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::format::{
    BlockHead, END, FOUND, META, NAMES, NAMES_A_BLOCK, RECORDS, SNAPSHOT, head, most,
};
use super::meta;
use super::snapshot::OnDisk;
use crate::error::{Error, Result, why};
use crate::event::found::Found;
use crate::event::{Meta, Named, Snapshot};

/// A block of records is written when it is this long, or this old.
const FULL: usize = 64 << 10;
const OLD: Duration = Duration::from_secs(1);

/// A recording being written.
pub struct Writer {
    /// For messages.
    name: String,
    file: Box<dyn Write + Send>,
    /// Records not yet written.
    block: Vec<u8>,
    since: Instant,
    records: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("name", &self.name)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Makes a new file, or empties an old one.
    pub fn create(path: &Path, meta: &Meta) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::create(path)
            .map_err(|error| Error::new(format!("cannot write {name}: {}", why(&error))))?;
        Self::new(name, Box::new(file), meta)
    }

    /// Writes to what is open already; `name` is for messages.
    pub fn new(name: String, file: Box<dyn Write + Send>, meta: &Meta) -> Result<Self> {
        let mut writer = Self {
            name,
            file,
            block: Vec::with_capacity(FULL + 1024),
            since: Instant::now(),
            records: 0,
        };
        writer.all(&head())?;
        let meta = writer.json(&meta::OnDisk::new(meta))?;
        writer.put(META, &meta)?;
        Ok(writer)
    }

    /// Adds one record of the ring as it is.
    pub fn record(&mut self, record: &[u8]) -> Result<()> {
        let length = u16::try_from(record.len()).map_err(|_| {
            let length = record.len();
            Error::new(format!(
                "cannot record to {}: a record of {length} bytes is too long",
                self.name
            ))
        })?;
        if self.block.is_empty() {
            self.since = Instant::now();
        }
        self.block.extend(length.to_le_bytes());
        self.block.extend(record);
        self.records += 1;
        if self.block.len() >= FULL {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what has waited for a second. To be called every now and then.
    pub fn tick(&mut self) -> Result<()> {
        if !self.block.is_empty() && self.since.elapsed() >= OLD {
            self.flush()?;
        }
        Ok(())
    }

    /// Adds the totals of this moment, after all records before it.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.flush()?;
        let snapshot = self.json(&OnDisk::from(snapshot))?;
        self.put(SNAPSHOT, &snapshot)
    }

    /// Adds what was found by asking, after all records before it.
    pub fn found(&mut self, found: &Found) -> Result<()> {
        self.flush()?;
        let found = self.json(found)?;
        self.put(FOUND, &found)
    }

    /// Adds names that no block has yet, after all records before them.
    pub fn names(&mut self, named: &Named) -> Result<()> {
        self.flush()?;
        self.names_ahead(named)
    }

    /// The same before the records that wait: who reads them as they come has their names then.
    pub fn names_ahead(&mut self, named: &Named) -> Result<()> {
        for part in named.parts(NAMES_A_BLOCK) {
            let part = self.json(&part)?;
            self.put(NAMES, &part)?;
        }
        Ok(())
    }

    /// Writes what waits, and the end marker.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let records = self.records.to_le_bytes();
        self.put(END, &records)
    }

    fn flush(&mut self) -> Result<()> {
        if !self.block.is_empty() {
            let block = std::mem::take(&mut self.block);
            self.put(RECORDS, &block)?;
            self.block = block;
            self.block.clear();
        }
        Ok(())
    }

    fn put(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let unpacked = payload.len();
        let payload = lz4_flex::block::compress_prepend_size(payload);
        if Some(unpacked) > most(kind) {
            let name = &self.name;
            let message =
                format!("cannot record to {name}: a block of {unpacked} bytes is too long");
            return Err(Error::new(message));
        }
        let head = BlockHead {
            length: payload.len() as u32,
            kind,
            payload_crc: crc32fast::hash(&payload),
        };
        // In one piece: a write that fails leaves at most one block cut.
        let mut block = head.to_bytes().to_vec();
        block.extend(payload);
        self.all(&block)
    }

    fn all(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| cannot_write(&self.name, &error))
    }

    fn json(&self, value: &impl Serialize) -> Result<Vec<u8>> {
        serde_json::to_vec(value)
            .map_err(|error| Error::new(format!("cannot record to {}: {error}", self.name)))
    }
}

/// The error if a recording could not be written.
#[must_use]
pub fn cannot_write(name: &str, error: &io::Error) -> Error {
    let message = Error::new(format!("cannot write {name}: {}", why(error)));
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            message.hint("what was written before can be read with twtrace report")
        }
        _ => message,
    }
}
