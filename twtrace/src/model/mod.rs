//! What the events mean. Pure: no clock, no files, no kernel; time arrives inside events.

pub mod books;
pub(crate) mod census;
pub mod conflicts;
pub mod dashboard;
pub mod doctor;
pub mod groups;
pub(crate) mod lifecycle;
pub(crate) mod population;
pub(crate) mod ports;
pub(crate) mod refusal;
pub(crate) mod report;
pub mod stats;
pub mod tally;

pub use books::Books;
pub use conflicts::{Conflict, Conflicts, Reopen};
pub use dashboard::Dashboard;
pub use groups::Groups;
pub use lifecycle::Life;
pub use population::Population;
pub use ports::Ports;
pub use refusal::Refused;
pub use report::Report;
pub use stats::Stats;
pub use tally::{Summary, Tally};
