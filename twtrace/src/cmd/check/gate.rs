//! Holds all scenarios at their start until tracing has begun, or will never begin.

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

impl Gate {
    /// Waits until `count` scenarios have arrived (or given up).
    pub(super) fn await_arrivals(&self, count: usize) {
        let all_there = |state: &mut State| state.arrived < count;
        drop(
            self.changed
                .wait_while(self.lock(), all_there)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Lets all scenarios go on, or go home.
    pub(super) fn open(&self, tracing: bool) {
        self.lock().tracing = if tracing { Tracing::Begun } else { Tracing::Cancelled };
        self.changed.notify_all();
    }

    /// A scenario that will not come.
    pub(super) fn give_up(&self) {
        self.lock().arrived += 1;
        self.changed.notify_all();
    }

    /// Whether tracing has begun in the end.
    pub(super) fn arrive_and_wait(&self) -> bool {
        self.give_up();
        let waiting = |state: &mut State| state.tracing == Tracing::Awaited;
        let state = self
            .changed
            .wait_while(self.lock(), waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.tracing == Tracing::Begun
    }

    /// A thread that panicked says so by itself; the state stays sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
