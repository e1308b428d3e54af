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
        match nearest(&self.name, self.known.iter().copied()) {
            Some(best) => format!("did you mean {best}?"),
            None => format!("there are: {}", self.known.join(", ")),
        }
    }
}

/// The name that is most like a mistyped one.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Names that are less alike than this share a few letters by chance.
    const ALIKE: f64 = 0.8;
    let likeness = |other: &str| strsim::jaro_winkler(other, name);
    known
        .filter(|other| likeness(other) >= ALIKE)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} \"{}\"", self.what, self.name)
    }
}

impl std::error::Error for Unknown {}
