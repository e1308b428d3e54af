//! Everything that asks the running kernel.

pub mod counters;
pub mod netns;
pub mod sock_diag;
