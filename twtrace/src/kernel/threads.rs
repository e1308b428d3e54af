//! Work in a second thread, for the time that it takes.

use std::thread::{Builder, scope};

use crate::error::{Error, Result};

/// Does `other` in a thread called `name` and `own` in this one meanwhile.
pub(super) fn beside<A: Send, B>(
    name: &str,
    other: impl FnOnce() -> A + Send,
    own: impl FnOnce() -> B,
) -> Result<(A, B)> {
    scope(|scope| {
        let thread = Builder::new()
            .name(name.into())
            .spawn_scoped(scope, other)
            .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
        let own = own();
        let other = thread
            .join()
            .map_err(|_| Error::new(format!("the thread {name} panicked")))?;
        Ok((other, own))
    })
}
