//! A live trace for callers of the library: options in, decoded events and totals out, the books
//! at the end. Nothing is printed, no signal is caught, no privilege is given up.

mod builder;
mod filter;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use builder::Builder;
pub use filter::Filter;

use crate::decode::decode;
use crate::error::{Error, Result};
use crate::event::{Event, Meta, Snapshot};
use crate::kernel::{self, Witness};
use crate::model::tally::Detail;
use crate::model::{Summary, Tally};

/// How often the ring is emptied if it does not fill up before, and a [`Stopper`] is looked at.
const DRAIN: Duration = Duration::from_millis(50);
/// The same while the kernel's counters are read at the end.
const LAST_DRAIN: Duration = Duration::from_millis(2);
/// How long reading them may take.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// How often the maps are looked through for what a long trace leaves behind.
const SWEEP: Duration = Duration::from_secs(60);
/// Events that are decoded at once: what the caller has not asked for stays in the ring.
const BATCH: usize = 1_024;

/// A running trace.
///
/// As an iterator it yields decoded events, waits for the next one, and ends when the trace is
/// over: after [`Builder::duration`], or when a [`Stopper`] was used. [`Session::next_within`]
/// waits no longer than it is told. After the last event, [`Session::finish`] gives the summary.
///
/// Events wait in a ring buffer in the kernel ([`Builder::ring_bytes`]). A caller who takes them too
/// slowly loses some of them; the totals and the summary count those, too.
///
/// A session has one thread, which waits until the kernel's counters are to be read at the end, and
/// enters other network namespaces for that. The caller's threads stay where they are.
///
/// Dropping a session, or the end of the process by any signal, detaches everything. Nothing is
/// pinned and no sysctl is changed.
///
/// # Privileges
///
/// [`Builder::start`] needs root, or `CAP_BPF` and `CAP_PERFMON` (and `CAP_SYS_RESOURCE` before
/// Linux 5.11). `CAP_SYS_ADMIN`, `CAP_SYS_PTRACE` and `CAP_DAC_READ_SEARCH` are used to read the
/// kernel's counters in other network namespaces; without them fewer namespaces are compared, and
/// [`Books::kernel`](crate::books::Books::kernel) says how many were not.
///
/// A session gives up nothing: the process keeps all capabilities that it has, and its soft and
/// hard `RLIMIT_MEMLOCK` become unlimited where it may raise them. The `twtrace` program gives up
/// what it does not need any more; a library must leave that to its caller. Once `start` has
/// returned, `CAP_BPF` (before Linux 6.5) is enough for events and totals, and the three above for
/// the comparison with the kernel in [`Session::finish`].
#[derive(Debug)]
pub struct Session {
    kernel: kernel::Session,
    witness: Witness,
    /// Readable when the ring has filled up to its wake-up mark.
    ring: OwnedFd,
    tally: Tally,
    /// Decoded, and not yet taken.
    ready: VecDeque<Event>,
    stage: Stage,
    /// The iterator has yielded an error: what failed once fails again.
    failed: bool,
    stopper: Stopper,
    /// `None`: until it is stopped.
    until: Option<Instant>,
    sweep_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Tracing,
    /// It is over as soon as the kernel's counters are read, or then.
    Closing(Instant),
    /// Everything is detached. What is in the ring is all there is.
    Detached,
    /// And that was taken, too.
    Over,
}

/// Ends a [`Session`] from elsewhere: another thread, a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// Ends the trace within 50 ms, if its events are being waited for, else when they next are.
    /// What was seen until then is still yielded. Async-signal-safe.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_used(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Session {
    /// The options of a trace, to begin with those of `twtrace record`.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn start(options: &kernel::Options, duration: Option<Duration>) -> Result<Self> {
        let mut kernel = kernel::Session::start(options)?;
        let detail = match options.records {
            true => Detail::Records,
            false => Detail::Totals,
        };
        let mut tally = Tally::new(kernel.meta(), detail);
        tally.snapshot(kernel.snapshot()?);
        let now = Instant::now();
        Ok(Self {
            witness: Witness::start(&options.filter)?,
            ring: kernel.wake_up()?,
            kernel,
            tally,
            ready: VecDeque::new(),
            stage: Stage::Tracing,
            failed: false,
            stopper: Stopper::default(),
            until: duration.and_then(|duration| now.checked_add(duration)),
            sweep_at: now + SWEEP,
        })
    }

    /// How and where this is traced.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        self.kernel.meta()
    }

    /// What was asked for and cannot be seen on this kernel, a sentence each. What is not seen is
    /// missing from events and totals, and is no loss in the summary.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        self.kernel.unseen().collect()
    }

    /// Something that ends this trace, whoever waits for its events.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The next event. `None` if there was none within `patience`, and when the trace is over:
    /// [`Session::is_over`] tells them apart.
    ///
    /// # Errors
    ///
    /// A map of the kernel side cannot be read.
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Event>> {
        self.next_until(Instant::now().checked_add(patience))
    }

    /// The trace has ended, and every event was taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over && self.ready.is_empty()
    }

    /// Everything that was counted so far in the kernel, exact whatever the ring buffer lost.
    /// Without the kernel's own counters, which are read when tracing begins and when it ends. Once
    /// the trace has ended, these are its last totals. Takes well under a millisecond.
    ///
    /// # Errors
    ///
    /// A map of the kernel side cannot be read.
    pub fn totals(&mut self) -> Result<Snapshot> {
        match (self.stage, self.tally.last()) {
            (Stage::Detached | Stage::Over, Some(last)) => Ok(last.clone()),
            _ => self.kernel.glance(),
        }
    }

    /// Ends the trace, if it has not ended, and closes the books.
    ///
    /// An event counts as reported if the caller took it. So take all of them first, or the summary
    /// is not [`complete`](Summary::complete): let the duration pass or use a [`Stopper`], and go on
    /// until [`Session::is_over`].
    ///
    /// # Errors
    ///
    /// A map of the kernel side cannot be read.
    pub fn finish(mut self) -> Result<Summary> {
        self.stopper.stop();
        while self.stage != Stage::Over {
            // Nobody sees these.
            self.ready.clear();
            self.step()?;
            self.wait(None)?;
        }
        Ok(self.tally.summary(false))
    }

    /// `None` as the limit: no limit.
    fn next_until(&mut self, limit: Option<Instant>) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.tally.event(event);
                return Ok(Some(event));
            }
            if self.stage == Stage::Over {
                return Ok(None);
            }
            // At least once, however short the limit.
            self.step()?;
            if self.ready.is_empty() {
                if limit.is_some_and(|limit| limit <= Instant::now()) {
                    return Ok(None);
                }
                self.wait(limit)?;
            }
        }
    }

    /// Takes what is in the ring, and goes on to the next stage if it is time.
    fn step(&mut self) -> Result<()> {
        let now = Instant::now();
        match self.stage {
            Stage::Tracing => {
                if self.stopper.is_used() || self.until.is_some_and(|until| until <= now) {
                    self.witness.order();
                    self.stage = Stage::Closing(now + LAST_LOOK);
                } else if self.sweep_at <= now {
                    self.kernel.sweep();
                    self.sweep_at = now + SWEEP;
                }
                let _more = self.drain();
            }
            Stage::Closing(limit) => {
                if let Some(read) = self.last_look(limit <= now)? {
                    let last = self.kernel.finish(read)?;
                    self.tally.snapshot(last);
                    self.stage = Stage::Detached;
                }
                let _more = self.drain();
            }
            Stage::Detached => {
                if self.drain().is_continue() {
                    self.stage = Stage::Over;
                }
            }
            Stage::Over => {}
        }
        Ok(())
    }

    /// The kernel's counters, once they are read. Who has waited for too long does without them.
    fn last_look(&mut self, late: bool) -> Result<Option<kernel::Around>> {
        if late {
            return self.kernel.without_kernel().map(Some);
        }
        match self.witness.try_next()? {
            Some(answer) => self.witness.take(answer, &mut self.kernel),
            None => Ok(None),
        }
    }

    /// `Break` if there may be more.
    fn drain(&mut self) -> ControlFlow<()> {
        let Self {
            kernel,
            tally,
            ready,
            ..
        } = self;
        kernel.drain(&mut |record| {
            match decode(record) {
                Ok(event) => ready.push_back(event),
                Err(_) => tally.undecoded(),
            }
            match ready.len() < BATCH {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
    }

    /// Waits for the ring to fill up, but not for longer than an event may wait in it.
    fn wait(&self, limit: Option<Instant>) -> Result<()> {
        let pause = match self.stage {
            Stage::Tracing => DRAIN,
            Stage::Closing(_) => LAST_DRAIN,
            Stage::Detached | Stage::Over => return Ok(()),
        };
        let now = Instant::now();
        let limits = [limit, self.until.filter(|_| self.stage == Stage::Tracing)];
        let left = limits.into_iter().flatten().map(|at| at - now).min();
        let pause = left.map_or(pause, |left| left.min(pause));
        // Rounded up: not to look again and again in the last millisecond.
        let millis = pause.as_micros().div_ceil(1_000) as u16;
        let mut ring = [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ring, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Error::new(format!(
                "cannot wait for the ring buffer: {error}"
            ))),
        }
    }
}

impl Iterator for Session {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        if self.failed {
            return None;
        }
        let next = self.next_until(None);
        self.failed = next.is_err();
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_may_go_to_another_thread() {
        fn goes<T: Send>() {}
        goes::<Session>();
        goes::<Stopper>();
    }

    #[test]
    fn who_may_not_trace_is_told_what_it_takes() {
        if nix::unistd::geteuid().is_root() {
            return;
        }
        let refused = Session::builder().start().unwrap_err();
        assert!(refused.advice().is_some(), "{refused}");
    }
}
