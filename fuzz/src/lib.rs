//! What is fuzzed, and what it begins with. `twtrace/tests/property.rs` runs the same functions
//! where there is no fuzzer.

pub mod seeds;
pub mod targets;
