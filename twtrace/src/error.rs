//! Errors as a person sees them: one line, and one hint.

use std::{fmt, io};

use crate::text::clean;

/// Exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, nothing found.
    Done = 0,
    /// A finding or a failed assertion.
    Finding = 1,
    /// Could not run: usage, privileges, kernel, files.
    CannotRun = 2,
    /// Ran, but events were lost.
    Incomplete = 3,
    /// Everything was skipped (KTAP).
    Skipped = 4,
}

/// What was attempted on which object and why it failed, and what to do about it.
///
/// Shown with `{}`, it is one line, and a second one that begins with `hint: ` if there is an
/// [`advice`](Error::advice).
#[derive(Debug)]
pub struct Error {
    message: String,
    hint: Option<String>,
}

/// A result with our [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// One line, lower case, without a trailing dot. It may name files and say what is in them.
    #[doc(hidden)]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: clean(&message.into()).into_owned(),
            hint: None,
        }
    }

    /// Adds what the user can do.
    #[doc(hidden)]
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(clean(&hint.into()).into_owned());
        self
    }

    /// What failed, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What can be done about it, if anything is known; in words of the command line.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The system's reason without its number: `No such file or directory`.
#[must_use]
pub fn why(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error
        .raw_os_error()
        .map(|number| format!(" (os error {number})"));
    let bare = number.and_then(|number| text.strip_suffix(&number).map(str::to_owned));
    bare.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_numbers() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(why(&missing), "No such file or directory");
        assert_eq!(why(&io::Error::other("no (os error 2)")), "no (os error 2)");
    }
}
