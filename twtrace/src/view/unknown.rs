//! What the command line names and the views do not have.

use std::fmt;

/// A name on the command line that the views do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) known: Vec<&'static str>,
}

impl Unknown {
    /// What there is instead.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("there are: {}", self.known.join(", "))
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} \"{}\"", self.what, self.name)
    }
}

impl std::error::Error for Unknown {}
