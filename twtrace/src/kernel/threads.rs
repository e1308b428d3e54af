//! Work in other threads, for the time that it takes.

use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

use crate::error::{Error, Result};

/// Does `other` in a thread called `name` and `own` in this one meanwhile.
pub(super) fn beside<A: Send, B>(
    name: &'static str,
    other: impl FnOnce() -> A + Send,
    own: impl FnOnce() -> B,
) -> Result<(A, B)> {
    scope(|scope| {
        let thread = thread_in(scope, name, other)?;
        let own = own();
        Ok((thread.join()?, own))
    })
}

/// A thread of a scope.
pub(super) struct Thread<'s, T> {
    name: &'static str,
    handle: ScopedJoinHandle<'s, T>,
}

/// Starts it.
pub(super) fn thread_in<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 's,
) -> Result<Thread<'s, T>> {
    let handle = Builder::new()
        .name(name.into())
        .spawn_scoped(scope, work)
        .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
    Ok(Thread { name, handle })
}

impl<T> Thread<'_, T> {
    /// Waits for its result.
    pub(super) fn join(self) -> Result<T> {
        let panicked = |_| Error::new(format!("the thread {} panicked", self.name));
        self.handle.join().map_err(panicked)
    }
}
