//! twtrace as a library: everything behind the command line.

pub mod cmd;
pub mod decode;
pub mod error;
pub mod event;
pub mod kernel;
pub mod host;
pub mod model;
pub mod view;
