//! Holds all scenarios at their start until tracing has begun, or will never begin.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tracing {
    #[default]
    Awaited,
    Begun,
    Cancelled,
}

#[derive(Debug, Default)]
struct State {
    arrived: usize,
    tracing: Tracing,
}

/// Scenarios arrive one by one; the runner opens it once for all.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// One scenario's pass. Whoever drops it without having waited is counted as arrived, so that one
/// that stops early holds nobody up.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    gate: &'a Gate,
    arrived: Cell<bool>,
}

impl Gate {
    /// A pass for one scenario.
    pub(super) fn arrival(&self) -> Arrival<'_> {
        Arrival {
            gate: self,
            arrived: Cell::new(false),
        }
    }

    /// Waits until `count` scenarios have arrived.
    pub(super) fn await_arrivals(&self, count: usize) {
        drop(self.wait_while(|state| state.arrived < count));
    }

    /// Lets all scenarios go on, or go home.
    pub(super) fn open(&self, tracing: bool) {
        self.lock().tracing = if tracing {
            Tracing::Begun
        } else {
            Tracing::Cancelled
        };
        self.changed.notify_all();
    }

    fn wait_while(&self, unready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waiting = self.changed.wait_while(self.lock(), |state| unready(state));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that panicked says so by itself; the state stays sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival<'_> {
    /// Whether tracing has begun in the end.
    pub(super) fn wait(&self) -> bool {
        self.arrive();
        let state = self
            .gate
            .wait_while(|state| state.tracing == Tracing::Awaited);
        state.tracing == Tracing::Begun
    }

    fn arrive(&self) {
        if !self.arrived.replace(true) {
            self.gate.lock().arrived += 1;
            self.gate.changed.notify_all();
        }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.arrive();
    }
}
