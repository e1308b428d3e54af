//! Signals that a command waits for.

use std::mem::MaybeUninit;
use std::ptr;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// What ends a command from outside.
pub(super) struct Signals {
    interrupt: Listener,
    terminate: Listener,
    hangup: Listener,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            interrupt: Listener::new(SignalKind::interrupt())?,
            terminate: Listener::new(SignalKind::terminate())?,
            hangup: Listener::new(SignalKind::hangup())?,
        })
    }

    pub(super) async fn any(&mut self) {
        tokio::select! {
            () = self.interrupt.heard() => {}
            () = self.terminate.heard() => {}
            () = self.hangup.heard() => {}
        }
    }
}

/// Waits for one signal. One that was ignored when the program began stays ignored, as `nohup`
/// and shells that start something in the background want it.
pub(super) struct Listener(Option<Signal>);

impl Listener {
    pub(super) fn new(kind: SignalKind) -> Result<Self> {
        if is_ignored(kind) {
            return Ok(Self(None));
        }
        let listening = signal(kind);
        listening
            .map(|signal| Self(Some(signal)))
            .map_err(|error| Error::new(format!("cannot listen for signals: {error}")))
    }

    pub(super) async fn heard(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

fn is_ignored(kind: SignalKind) -> bool {
    let mut found = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing changes; the old one is written to a local.
    let asked = unsafe { libc::sigaction(kind.as_raw_value(), ptr::null(), found.as_mut_ptr()) };
    // SAFETY: the kernel has filled it in.
    asked == 0 && unsafe { found.assume_init() }.sa_sigaction == libc::SIG_IGN
}
