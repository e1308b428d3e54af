//! Holds all scenarios until tracing has begun, and lets only a few work at a time.
//!
//! Too many at once keep the machine so busy that TCP retransmits, and its timers and the resulting
//! RSTs end mini-sockets in ways that no scenario asked for. Kernels before 6.5 suffer most: there,
//! packets wait for ksoftirqd as soon as it runs.

use std::cell::Cell;
use std::collections::HashSet;
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
    working: usize,
    /// Scenarios waiting for a turn that take the longest.
    urgent: usize,
    /// Scenarios waiting to be the only one that works.
    lonely: usize,
    tracing: Tracing,
    /// Inode numbers of the namespaces used so far.
    claimed: HashSet<u32>,
}

/// Scenarios arrive one by one; the runner opens the gate once for all.
#[derive(Debug)]
pub(in crate::check) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// How many may work at a time.
    turns: usize,
}

/// One scenario's pass. Dropping it counts as arriving, so a scenario that stops early does not
/// hold up the others.
#[derive(Debug)]
pub(in crate::check) struct Pass<'a> {
    gate: &'a Gate,
    urgent: bool,
    arrived: Cell<bool>,
    working: Cell<bool>,
}

impl Gate {
    pub(in crate::check) fn new(turns: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            turns,
        }
    }

    /// A pass for one scenario; an urgent one goes before the others.
    pub(in crate::check) fn pass(&self, urgent: bool) -> Pass<'_> {
        Pass {
            gate: self,
            urgent,
            arrived: Cell::new(false),
            working: Cell::new(false),
        }
    }

    /// Waits until `count` scenarios have arrived.
    pub(in crate::check) fn await_arrivals(&self, count: usize) {
        drop(self.wait_while(|state| state.arrived < count));
    }

    /// Lets all scenarios continue, or cancels them.
    pub(in crate::check) fn open(&self, tracing: bool) {
        let tracing = if tracing {
            Tracing::Begun
        } else {
            Tracing::Cancelled
        };
        self.change(|state| state.tracing = tracing);
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_while(&self, unready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waiting = self.changed.wait_while(self.lock(), |state| unready(state));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Ignores poisoning: a panic is reported elsewhere, and the state stays consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Waits for a turn to work.
    pub(in crate::check) fn take_turn(&self) {
        if self.working.replace(true) {
            return;
        }
        let urgent = usize::from(self.urgent);
        self.gate.change(|state| state.urgent += urgent);
        let turns = self.gate.turns;
        let mut state = self.gate.wait_while(|state| {
            state.working >= turns || state.lonely > 0 || (state.urgent > 0 && !self.urgent)
        });
        state.urgent -= urgent;
        state.working += 1;
        drop(state);
        // The last urgent one lets the others try.
        self.gate.changed.notify_all();
    }

    /// Lets another scenario work while this one only waits.
    pub(in crate::check) fn end_turn(&self) {
        if self.working.replace(false) {
            self.gate.change(|state| state.working -= 1);
        }
    }

    /// Runs `work` while no other scenario works, then keeps the turn.
    pub(in crate::check) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        self.end_turn();
        self.gate.change(|state| state.lonely += 1);
        let mut state = self.gate.wait_while(|state| state.working > 0);
        state.lonely -= 1;
        // Leave no turn for others.
        state.working = self.gate.turns;
        drop(state);
        let done = work();
        self.working.set(true);
        self.gate.change(|state| state.working = 1);
        done
    }

    /// Claims a namespace for this scenario; `false` if another scenario had one with this inode
    /// number, which the kernel reuses as soon as a namespace is gone.
    pub(in crate::check) fn claim(&self, netns: u32) -> bool {
        self.gate.lock().claimed.insert(netns)
    }

    /// Waits for tracing to begin; `false` if it was cancelled.
    pub(in crate::check) fn await_tracing(&self) -> bool {
        self.end_turn();
        self.arrive();
        let tracing = self
            .gate
            .wait_while(|state| state.tracing == Tracing::Awaited)
            .tracing;
        self.take_turn();
        tracing == Tracing::Begun
    }

    /// Whether it has waited for tracing already.
    pub(in crate::check) fn has_arrived(&self) -> bool {
        self.arrived.get()
    }

    fn arrive(&self) {
        if !self.arrived.replace(true) {
            self.gate.change(|state| state.arrived += 1);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.end_turn();
        self.arrive();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn only_so_many_work_at_a_time_and_all_come_through() {
        let gate = Gate::new(2);
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..7 {
                scope.spawn(|| {
                    let pass = gate.pass(false);
                    assert!(pass.await_tracing());
                    most.fetch_max(1 + working.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                });
            }
            gate.await_arrivals(7);
            gate.open(true);
        });
        assert!((1..=2).contains(&most.into_inner()));
        assert_eq!(gate.lock().working, 0);
    }

    #[test]
    fn what_is_done_alone_is_done_while_nobody_else_works() {
        let gate = Gate::new(3);
        let (working, alone) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..7 {
                scope.spawn(|| {
                    let pass = gate.pass(false);
                    assert!(pass.await_tracing());
                    pass.alone(|| {
                        assert_eq!(working.load(Ordering::SeqCst), 0);
                        assert_eq!(alone.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        alone.fetch_sub(1, Ordering::SeqCst);
                    });
                    working.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(alone.load(Ordering::SeqCst), 0);
                    thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                });
            }
            gate.await_arrivals(7);
            gate.open(true);
        });
        assert_eq!(gate.lock().working, 0);
    }

    #[test]
    fn one_that_gives_up_holds_nobody_up() {
        let gate = Gate::new(1);
        drop(gate.pass(false));
        gate.await_arrivals(1);
        gate.open(false);
        assert!(!gate.pass(false).await_tracing());
    }
}
