//! stdout and stderr: data on the one, messages on the other.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::charset;
use super::manner;
use super::outlet::{Cut, Outlet};
use super::pipe::{pieces, wait_for_room};
use crate::error::{Error, Result};
use crate::text::clean;
use crate::view::Unknown;

/// Bytes that are collected before a write; less is written when the ring is empty.
const BATCH: usize = 128 * 1024;
/// How long a message waits for a reader of stderr.
const PATIENCE: Duration = Duration::from_millis(200);

/// Buffered stdout. A reader that went away is no error: see [`Output::closed`].
pub(super) struct Output {
    buffer: Vec<u8>,
    closed: bool,
    /// The thread that writes; without it, who flushes waits.
    outlet: Option<Outlet>,
    /// It is text for a terminal that may know ASCII alone.
    ascii: bool,
}

impl Output {
    /// For commands that have nothing to do while they wait for the reader.
    pub(super) fn stdout() -> Self {
        Self {
            buffer: Vec::with_capacity(BATCH + 4096),
            closed: false,
            outlet: None,
            ascii: false,
        }
    }

    /// For text, if that is what it is.
    pub(super) fn text(self, is_text: bool) -> Self {
        Self {
            ascii: is_text && charset::is_ascii(),
            ..self
        }
    }

    /// For live traces: nothing waits for the reader.
    pub(super) fn live() -> Result<Self> {
        Ok(Self {
            outlet: Some(Outlet::new(Self::file()?)?),
            ..Self::stdout()
        })
    }

    /// In place of live(): stdout as a file, for what is written to it by others.
    pub(super) fn file() -> Result<File> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        stdout.map(File::from).map_err(|error| cannot_write(&error))
    }

    /// The thread that writes.
    pub(super) fn outlet(&self) -> Option<&Outlet> {
        self.outlet.as_ref()
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

    /// Writes all, or has it written.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.ascii {
            let ascii = charset::to_ascii(&String::from_utf8_lossy(&self.buffer));
            self.buffer.clear();
            self.buffer.extend_from_slice(ascii.as_bytes());
        }
        let result = match &self.outlet {
            Some(outlet) => outlet.hand(&mut self.buffer),
            None => io::stdout().lock().write_all(&self.buffer),
        };
        self.buffer.clear();
        self.check(result)
    }

    /// The last of all: waits until all is written, or until the time is up that a live trace has
    /// for its end. Says what was cut off then.
    pub(super) fn finish(&mut self) -> Result<Option<Cut>> {
        self.flush()?;
        let mut cut = None;
        if let Some(outlet) = &self.outlet {
            let result = outlet.finish().map(|found| cut = found);
            self.check(result)?;
        }
        Ok(cut)
    }

    fn check(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => return Err(cannot_write(&error)),
            Ok(()) => {}
        }
        Ok(())
    }

    /// The reader went away (`twtrace trace | head`): time to stop, successfully.
    pub(super) fn closed(&self) -> bool {
        let failed = || self.outlet.as_ref().and_then(Outlet::failed);
        self.closed || failed() == Some(ErrorKind::BrokenPipe)
    }
}

fn cannot_write(error: &io::Error) -> Error {
    Error::new(format!("cannot write to stdout: {error}"))
        .hint("what was written before is complete")
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        Self::new(unknown.to_string()).hint(unknown.hint())
    }
}

/// Messages since the last that a blocked stderr took.
static UNTOLD: AtomicU64 = AtomicU64::new(0);

/// A line on stderr, or several; they may name files. Where nobody reads stderr, nobody is told; a reader that only
/// stands still is waited for once, and never for long.
pub fn talk(line: &str) {
    tell(&mut io::stderr().lock(), &UNTOLD, line);
}

fn tell(to: &mut (impl Write + AsFd), untold: &AtomicU64, line: &str) {
    let before = untold.load(Ordering::Relaxed);
    let lines: Vec<_> = line.lines().map(clean).collect();
    let mut line = lines.join("\n");
    if charset::is_ascii() {
        line = charset::to_ascii(&line);
    }
    let (patience, text) = match before {
        0 => (PATIENCE, format!("{line}\n")),
        1.. => (
            Duration::ZERO,
            format!("({before} messages before this one were dropped: nobody read them)\n{line}\n"),
        ),
    };
    for piece in pieces(text.as_bytes()) {
        if !wait_for_room(to, Some(patience)) {
            untold.store(before + 1, Ordering::Relaxed);
            return;
        }
        if to.write_all(piece).is_err() {
            return;
        }
    }
    untold.store(0, Ordering::Relaxed);
}

/// What is good to know: a line on stderr, unless --quiet.
pub(super) fn say(line: &str) {
    if !manner::is_quiet() {
        talk(line);
    }
}

/// A line on stderr that only a person at a terminal needs, such as progress.
pub(super) fn progress(line: &str) {
    if io::stderr().is_terminal() {
        say(line);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Read, pipe};
    use std::time::Instant;

    use super::*;
    use crate::cmd::pipe::PIECE;

    fn fill(pipe: &mut PipeWriter) {
        while wait_for_room(pipe, Some(Duration::ZERO)) {
            pipe.write_all(&[b'x'; PIECE]).unwrap();
        }
    }

    #[test]
    fn messages_wait_once_for_a_reader_that_stands_still() {
        let (mut reader, mut writer) = pipe().unwrap();
        fill(&mut writer);
        let untold = AtomicU64::new(0);
        let began = Instant::now();
        for number in 0..1_000 {
            tell(&mut writer, &untold, &format!("message {number}"));
        }
        assert!(began.elapsed() >= PATIENCE);
        assert!(began.elapsed() < Duration::from_secs(2));
        let mut some = vec![0; 16 * PIECE];
        reader.read_exact(&mut some).unwrap();
        tell(&mut writer, &untold, "now");
        drop(writer);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let expected = "(1000 messages before this one were dropped: nobody read them)\nnow\n";
        assert_eq!(said, expected);
    }
}
