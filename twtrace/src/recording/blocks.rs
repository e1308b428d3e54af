//! The blocks of a recording, one after the other: whole, checked and unpacked, or not at all.
//!
//! A file may claim any length. Nothing is allocated for what a head claims before it is there,
//! and no more than a block of its kind may have.

use std::io::{self, Read, Seek};

use super::damage::Damage;
use super::format::{BLOCK_HEAD, BlockHead, most};
use crate::error::{Error, Result};

/// One block, unpacked.
pub(super) struct Block {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

/// A file that is read from its first byte on.
pub(super) struct Blocks<R> {
    /// For messages.
    pub(super) name: String,
    file: R,
    /// How far it was read, and where the last block began.
    position: u64,
    begin: u64,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(name: String, file: R) -> Self {
        Self {
            name,
            file,
            position: 0,
            begin: 0,
        }
    }

    /// `None` at the end of the file, which may be in the middle of a block.
    pub(super) fn next(&mut self) -> Result<Option<Block>> {
        match self.head()? {
            Some(head) => self.payload(head),
            None => Ok(None),
        }
    }

    /// What is wrong with the block that was read last.
    pub(super) fn damaged(&self, damage: Damage) -> Error {
        damage.of(&self.name, self.begin)
    }

    /// Fewer bytes only at the end of the file.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        // It grows with what is there: the length may be a lie.
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(length as u64).read_to_end(&mut bytes);
        read.map_err(|error| self.cannot_read(&error))?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    pub(super) fn head(&mut self) -> Result<Option<BlockHead>> {
        self.begin = self.position;
        let Ok(head) = <[u8; BLOCK_HEAD]>::try_from(self.bytes(BLOCK_HEAD)?) else {
            return Ok(None);
        };
        let head = BlockHead::from_bytes(head).ok_or_else(|| self.damaged(Damage::BlockHead))?;
        let most = most(head.kind).ok_or_else(|| self.damaged(Damage::Kind(head.kind)))?;
        // What cannot be packed gets longer by little.
        self.fits(head.length as usize, most + most / 128 + 64)?;
        Ok(Some(head))
    }

    pub(super) fn payload(&mut self, head: BlockHead) -> Result<Option<Block>> {
        let length = head.length as usize;
        let packed = self.bytes(length)?;
        if packed.len() < length {
            return Ok(None);
        }
        if crc32fast::hash(&packed) != head.payload_crc {
            return Err(self.damaged(Damage::Checksum));
        }
        let (unpacked, _) = lz4_flex::block::uncompressed_size(&packed)
            .map_err(|_| self.damaged(Damage::Packed))?;
        self.fits(unpacked, most(head.kind).unwrap_or(0))?;
        let payload = lz4_flex::block::decompress_size_prepended(&packed)
            .map_err(|_| self.damaged(Damage::Packed))?;
        Ok(Some(Block {
            kind: head.kind,
            payload,
        }))
    }

    fn fits(&self, bytes: usize, most: usize) -> Result<()> {
        match bytes > most {
            true => Err(self.damaged(Damage::TooLong { bytes, most })),
            false => Ok(()),
        }
    }

    fn cannot_read(&self, error: &io::Error) -> Error {
        Error::new(format!("cannot read recording {}: {error}", self.name))
    }
}

impl<R: Read + Seek> Blocks<R> {
    /// Goes on behind this block without reading it.
    pub(super) fn skip(&mut self, head: BlockHead) -> Result<()> {
        let skipped = self.file.seek_relative(head.length.into());
        skipped.map_err(|error| self.cannot_read(&error))?;
        self.position += u64::from(head.length);
        Ok(())
    }
}
