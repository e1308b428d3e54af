//! stdout and stderr: data on the one, talk on the other.

use std::io::{self, IsTerminal, Write};

use crate::error::{Error, Result};
use crate::text::clean;
use crate::view::Unknown;

/// Bytes that are collected before a write; less is written when the ring is empty.
const BATCH: usize = 64 * 1024;

/// Buffered stdout. A reader that went away is no error: see [`Output::closed`].
pub(super) struct Output {
    buffer: Vec<u8>,
    closed: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self {
            buffer: Vec::with_capacity(BATCH + 4096),
            closed: false,
        }
    }

    /// Where the views append.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes if enough was collected.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.buffer.len() < BATCH {
            return Ok(());
        }
        self.flush()
    }

    /// Writes all.
    pub(super) fn flush(&mut self) -> Result<()> {
        let result = io::stdout().lock().write_all(&self.buffer);
        self.buffer.clear();
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => {
                return Err(Error::new(format!("cannot write to stdout: {error}"))
                    .hint("what was written before is complete"));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// The reader went away (`twtrace trace | head`): time to stop, successfully.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        Self::new(unknown.to_string()).hint(unknown.hint())
    }
}

/// A line on stderr, or several. It may name files.
pub(super) fn talk(lines: &str) {
    for line in lines.lines() {
        // Nobody reads stderr: then nobody is told.
        let _ = writeln!(io::stderr(), "{}", clean(line));
    }
}

/// A line on stderr that only a person at a terminal needs, such as progress.
pub(super) fn progress(line: &str) {
    if io::stderr().is_terminal() {
        talk(line);
    }
}
