//! twtrace as a library: everything behind the command line.

#[cfg(feature = "check")]
pub mod check;
pub mod cli;
pub mod cmd;
pub mod decode;
pub mod error;
pub mod event;
pub mod host;
pub mod kernel;
pub mod model;
pub mod recording;
pub mod text;
pub mod view;
