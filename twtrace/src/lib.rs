//! twtrace as a library: everything behind the command line.

pub mod error;
pub mod event;
pub mod kernel;
