//! Names on the command line that no view has.

use std::fmt;

/// A name on the command line that the views do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) known: Vec<&'static str>,
}

impl Unknown {
    /// The most similar name, or all of them.
    #[must_use]
    pub fn hint(&self) -> String {
        /// Names that are less alike than this share a few letters by chance.
        const ALIKE: f64 = 0.8;
        let likeness = |name: &str| strsim::jaro_winkler(name, &self.name);
        let known = self.known.iter().copied();
        let alike = known.filter(|name| likeness(name) >= ALIKE);
        match alike.max_by(|one, other| likeness(one).total_cmp(&likeness(other))) {
            Some(best) => format!("did you mean {best}?"),
            None => format!("there are: {}", self.known.join(", ")),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} \"{}\"", self.what, self.name)
    }
}

impl std::error::Error for Unknown {}
