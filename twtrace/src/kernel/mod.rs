//! Everything that asks the running kernel.

pub mod btf;
pub mod counters;
pub mod hooks;
pub mod netns;
pub mod offsets;
pub mod sock_diag;
