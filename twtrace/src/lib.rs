//! twtrace as a library: everything behind the command line.

pub mod event;
