//! What is reported of a trace, line by line.

use super::conflicts::told::{Conflict, Reopen};
use super::lifecycle::Life;
use super::refusal::Refused;
use crate::event::{Overflow, PortFailure};

/// An event with its meaning, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    End(Life),
    Overflow(Overflow),
    Refusal(Refused),
    PortFailure(PortFailure),
    /// In place of the end, where conflicts are what matters.
    Reopen(Reopen),
    Conflict(Box<Conflict>),
}
