//! The steps of a scenario, and why it stops.

use std::io;
use std::time::Duration;

use crate::error::Error;

/// How long anything may take, except a timer that is not due yet.
pub(in crate::check) const PATIENCE: Duration = Duration::from_secs(20);

/// Why a scenario did not finish.
#[derive(Debug)]
pub(in crate::check) enum Stop {
    /// This kernel cannot do it.
    Skip(String),
    Fail(String),
    /// Tracing never began.
    Cancelled,
    /// TCP did something that the scenario did not ask for.
    Disturbed(String),
}

/// A step of a scenario.
pub(in crate::check) type Step<T> = Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(error.message().to_owned())
    }
}

/// Says what was attempted when a system call failed.
pub(in crate::check) trait Attempt<T> {
    fn attempt(self, what: &str) -> Step<T>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, what: &str) -> Step<T> {
        self.map_err(|error| Stop::Fail(format!("cannot {what}: {error}")))
    }
}
