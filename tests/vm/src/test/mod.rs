//! The assertions, one file each. Each returns a line of detail for the report.

pub(crate) mod births;
pub(crate) mod books;
pub(crate) mod check;
pub(crate) mod conflicts;
pub(crate) mod contest;
pub(crate) mod crowd;
pub(crate) mod doctor;
pub(crate) mod exhaust;
pub(crate) mod filters;
pub(crate) mod flood;
pub(crate) mod footprint;
pub(crate) mod host;
pub(crate) mod interrupt;
pub(crate) mod kill9;
pub(crate) mod lacking;
pub(crate) mod last_words;
pub(crate) mod mutants;
pub(crate) mod older;
pub(crate) mod owners;
pub(crate) mod ports;
pub(crate) mod privileges;
pub(crate) mod session;
pub(crate) mod slow;
pub(crate) mod soak;
pub(crate) mod stopping;
pub(crate) mod top;
