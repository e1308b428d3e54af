//! Conditions that must hold. All are checked before any failure is reported.

use std::fmt::Debug;

use anyhow::{Result, bail};

#[derive(Debug, Default)]
pub(crate) struct Checks {
    wrong: Vec<String>,
}

impl Checks {
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, what: &str, is: T, should: T) {
        if is != should {
            self.wrong.push(format!("{what} is {is:?}, not {should:?}"));
        }
    }

    pub(crate) fn that(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    /// Whether every check so far has passed.
    pub(crate) fn all_hold(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The detail if everything holds, else an error that lists everything that does not.
    pub(crate) fn end(self, detail: String) -> Result<String> {
        if self.wrong.is_empty() {
            return Ok(detail);
        }
        bail!("{} ({detail})", self.wrong.join("; "))
    }
}
