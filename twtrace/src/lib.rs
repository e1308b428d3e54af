//! Trace TCP TIME_WAIT sockets on Linux: how long each lives, why it ends, which new connections it
//! refuses. This is the library behind the `twtrace` command.
//!
//! # What is promised
//!
//! What this documentation shows, and nothing else. Hidden modules, fields and functions are for the
//! `twtrace` program and its tests, and change at any time.
//!
//! * [`Reader`] reads recordings made by `twtrace record`: [events](event), totals and names.
//!   Recordings of older versions are read, too.
//! * [`Session`] traces: events one by one, exact totals at any time, and in the end the
//!   [`books`], which say whether everything was seen and whether the kernel counted the same.
//! * [`stats`] makes percentiles of the lifetimes in totals.
//!
//! Until 1.0 a minor version (0.1 to 0.2) may break this and says so in the changelog. Any version may
//! add fields, variants and methods: name the fields that you want and let `..` and `_` stand for the
//! rest.
//!
//! # Why sockets ended
//!
//! Counts the ends in a recording by reason:
//!
//! ```
//! use std::collections::BTreeMap;
//! use twtrace::{Event, Item, Reader};
//!
//! # fn main() -> twtrace::Result<()> {
//! let mut ends = BTreeMap::new();
//! # let path = "tests/golden/names.twtrace";
//! let mut reader = Reader::open(path)?;
//! for item in &mut reader {
//!     if let Item::Event(Event::End(end)) = item? {
//!         *ends.entry(end.reason.name()).or_insert(0) += 1;
//!     }
//! }
//! println!("{ends:?}");
//! if !reader.summary().complete() {
//!     println!("some are missing");
//! }
//! # assert_eq!(ends["expired"], 3);
//! # Ok(())
//! # }
//! ```
//!
//! # A second of tracing
//!
//! Needs root, or the capabilities that [`Session`] lists:
//!
//! ```no_run
//! use std::time::Duration;
//! use twtrace::{Event, Filter, Session};
//!
//! # fn main() -> twtrace::Result<()> {
//! let mut session = Session::builder()
//!     .filter(Filter::new().local_port(443))
//!     .duration(Duration::from_secs(1))
//!     .start()?;
//! for event in &mut session {
//!     if let Event::End(end) = event? {
//!         println!("{}: {}", end.flow.raddr, end.reason.name());
//!     }
//! }
//! let summary = session.finish()?;
//! println!("complete: {}, lost: {:?}", summary.complete(), summary.books.lost());
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod event;
mod reader;
mod session;

// Inlined where the module is hidden: the documentation would not show them otherwise.
#[doc(inline)]
pub use error::{Error, Result};
pub use event::{Event, Reason, Snapshot};
#[doc(inline)]
pub use kernel::Attach;
pub use reader::{Item, Reader};
pub use session::{Builder, Filter, Session, Stopper};
#[doc(inline)]
pub use text::Text;

/// Whether everything was accounted for: what was seen, reported and lost, beside the kernel's own
/// counters.
pub mod books {
    #[doc(inline)]
    pub use crate::model::books::{Books, Class, Comparison, Counter, Doubt, Lost, Row, Unread};
    #[doc(inline)]
    pub use crate::model::tally::Summary;
}

/// How long mini-sockets lived.
pub mod stats {
    pub use twtrace_common::histogram::Clock;

    #[doc(inline)]
    pub use crate::model::stats::{Lifetimes, Percentiles, Stats};
}

#[doc(hidden)]
#[cfg(feature = "check")]
pub mod check;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod cmd;
#[doc(hidden)]
pub mod decode;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod recording;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod view;
