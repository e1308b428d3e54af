//! Raw records on disk, with the totals and the kernel's counters of the same moments.
//!
//! A recording holds what the ring held, untouched: all meaning is made when it is read. It is
//! append-only, and a file cut anywhere reads up to the cut.

mod blocks;
mod damage;
mod format;
mod meta;
mod read;
mod snapshot;
mod upgrade;
mod write;

pub use read::{Item, Reader};
pub use write::{Writer, cannot_write};

#[cfg(test)]
mod tests;
