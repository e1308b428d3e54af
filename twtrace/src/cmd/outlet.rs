//! A thread that writes, so that nothing else waits for a slow reader.
//!
//! What waits is bounded by those who fill it: while [`Outlet::is_full`], the event loop leaves
//! records in the ring, where the kernel side counts what finds no room.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::mem;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::pipe::{pieces, wait_for_room};
use crate::error::{Error, Result};
use crate::kernel::privileges;
use crate::view::thousands;

/// With so many bytes waiting there is no room, with half of them there is again.
const FULL: usize = 1 << 20;
/// How much longer the thread has where the reader is ready and the CPU is not.
const STARVED: Duration = Duration::from_secs(5);
/// How often that is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The near end of the thread. It ends with [`Outlet::finish`] or with the process.
#[derive(Clone, Debug)]
pub(super) struct Outlet(Arc<Shared>);

/// What was not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Shared {
    file: File,
    /// It takes any length: nobody has to read it.
    whole: bool,
    state: Mutex<State>,
    /// For threads: something waits, or all is written, or nothing will be any more.
    moved: Condvar,
    /// For the event loop: there is room again.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the thread takes next.
    waiting: Vec<u8>,
    /// What it writes at the moment, and how much of that is done.
    writing: Option<Arc<Vec<u8>>>,
    written: usize,
    /// Somebody waits for room.
    awaited: bool,
    /// Nothing comes any more.
    over: bool,
    /// Nobody waits for the reader after this.
    limit: Option<Instant>,
    /// Nothing is written any more, and what comes is counted here.
    cut: Option<Cut>,
    /// Nothing can be written any more, and what comes is dropped.
    failed: Option<ErrorKind>,
    /// Why, until it is told.
    error: Option<io::Error>,
}

impl Outlet {
    /// Starts the thread.
    pub(super) fn new(file: File) -> Result<Self> {
        let shared = Arc::new(Shared {
            whole: !has_reader(&file),
            file,
            state: Mutex::default(),
            moved: Condvar::new(),
            room: Notify::new(),
        });
        let thread = Thread {
            shared: Arc::clone(&shared),
        };
        Builder::new()
            .name("output".into())
            .spawn(move || thread.run())
            .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
        Ok(Self(shared))
    }

    /// Takes all bytes and leaves an empty buffer. Fails if bytes before them could not be
    /// written; that is told once.
    pub(super) fn hand(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.0.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if let Some(cut) = &mut state.cut {
            cut.add(bytes);
        }
        if state.cut.is_some() || state.failed.is_some() {
            bytes.clear();
        } else if state.waiting.is_empty() && !bytes.is_empty() {
            mem::swap(&mut state.waiting, bytes);
            self.0.moved.notify_all();
        } else {
            state.waiting.append(bytes);
        }
        Ok(())
    }

    /// Nothing more should be handed over for now.
    pub(super) fn is_full(&self) -> bool {
        let mut state = self.0.lock();
        state.awaited = state.held() >= FULL;
        state.awaited
    }

    /// Waits until it was full and is no longer.
    pub(super) async fn room(&self) {
        self.0.room.notified().await;
    }

    /// Why nothing can be written any more.
    pub(super) fn failed(&self) -> Option<ErrorKind> {
        self.0.lock().failed
    }

    /// From this moment on nobody waits for the reader.
    pub(super) fn end_by(&self, limit: Instant) {
        self.0.lock().limit = Some(limit);
    }

    /// Nobody waits for the reader any more.
    pub(super) fn is_late(&self) -> bool {
        let limit = self.0.lock().limit;
        limit.is_some_and(|limit| self.0.is_late(limit))
    }

    /// Gives up what is not written yet.
    pub(super) fn cut(&self) {
        self.0.lock().cut(&self.0);
    }

    /// Nothing comes any more: waits until all is written, or until the time is up. Says what was
    /// cut off then.
    pub(super) fn finish(&self) -> io::Result<Option<Cut>> {
        let mut state = self.0.lock();
        state.over = true;
        self.0.moved.notify_all();
        loop {
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.held() == 0 || state.cut.is_some() {
                return Ok(state.cut);
            }
            state = match state.limit {
                None => self.0.wait(state),
                Some(limit) if self.0.is_late(limit) => {
                    state.cut(&self.0);
                    state
                }
                Some(_) => match self.0.moved.wait_timeout(state, LOOK) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
            };
        }
    }
}

/// Takes what is written and does not wait. What could not be written is told later.
impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hand(&mut bytes.to_vec())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Cut {
    /// What to tell of it.
    pub(super) fn warning(&self) -> String {
        let Self { lines, bytes } = self;
        format!(
            "warning: stdout was read too slowly: its last {} lines ({} bytes) were not written",
            thousands(*lines),
            thousands(*bytes)
        )
    }

    fn add(&mut self, bytes: &[u8]) {
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.bytes += bytes.len() as u64;
    }
}

impl State {
    /// Bytes that are not written yet.
    fn held(&self) -> usize {
        self.waiting.len() + self.rest().len()
    }

    fn rest(&self) -> &[u8] {
        let writing = self.writing.as_ref().map_or(&[][..], |bytes| bytes);
        &writing[self.written..]
    }

    fn cut(&mut self, shared: &Shared) {
        if self.cut.is_none() && self.failed.is_none() {
            let mut cut = Cut::default();
            cut.add(self.rest());
            cut.add(&self.waiting);
            self.cut = Some(cut);
            self.clear();
            shared.moved.notify_all();
        }
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.writing = None;
        self.written = 0;
    }
}

impl Shared {
    /// A thread that panicked has left the state as it should be: no step has two halves.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time is up, unless it is not the reader that keeps us waiting.
    fn is_late(&self, limit: Instant) -> bool {
        let late = Instant::now().saturating_duration_since(limit);
        let ready = || !self.whole && wait_for_room(&self.file, Some(Duration::ZERO));
        late > STARVED || late > Duration::ZERO && !ready()
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.moved.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody must read it, or it takes no more.
fn has_reader(file: &File) -> bool {
    let kind = file.metadata().map(|file| file.file_type());
    file.is_terminal() || kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}

/// The far end.
struct Thread {
    shared: Arc<Shared>,
}

impl Thread {
    fn run(self) {
        privileges::give_up_all();
        let mut own = Arc::new(Vec::new());
        while self.take(&mut own) {
            if let Err(error) = self.write(&own) {
                self.fail(error);
                return;
            }
        }
    }

    /// Waits for something to write, and exchanges buffers; `false` if nothing comes any more.
    fn take(&self, own: &mut Arc<Vec<u8>>) -> bool {
        let mut state = self.shared.lock();
        state.writing = None;
        state.written = 0;
        while state.waiting.is_empty() {
            if state.over || state.cut.is_some() {
                return false;
            }
            state = self.shared.wait(state);
        }
        let bytes = Arc::make_mut(own);
        bytes.clear();
        mem::swap(&mut state.waiting, bytes);
        state.writing = Some(Arc::clone(own));
        true
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.shared.file;
        if self.shared.whole {
            file.write_all(bytes)?;
            self.wrote(bytes.len());
            return Ok(());
        }
        for piece in pieces(bytes) {
            let mut rest = piece;
            while !rest.is_empty() {
                // Who waits here and not in write() has written nothing of a piece yet.
                wait_for_room(file, None);
                if self.shared.lock().cut.is_some() {
                    return Ok(());
                }
                match file.write(rest) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        rest = &rest[written..];
                        self.wrote(written);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Whoever shares it has made it so.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn wrote(&self, bytes: usize) {
        let mut state = self.shared.lock();
        if state.cut.is_none() {
            state.written += bytes;
            self.tell(&mut state);
        }
    }

    fn fail(&self, error: io::Error) {
        let mut state = self.shared.lock();
        state.failed = Some(error.kind());
        state.error = Some(error);
        state.clear();
        self.tell(&mut state);
        self.shared.room.notify_one();
    }

    fn tell(&self, state: &mut State) {
        let held = state.held();
        if state.awaited && held <= FULL / 2 {
            state.awaited = false;
            self.shared.room.notify_one();
        }
        if held == 0 {
            self.shared.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
