//! `--quiet`, `--verbose` and `--color`: the same for all that this process says.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};

use crate::cli::Manner;

static QUIET: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// To be called before anything is said.
pub(super) fn set(manner: Manner) {
    QUIET.store(manner.quiet, Ordering::Relaxed);
    VERBOSE.store(manner.verbose > 0, Ordering::Relaxed);
    ColorChoice::from(manner.color).write_global();
}

/// Only data, warnings and errors.
pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Also how it was done.
pub(super) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Whether text on stdout is in colour: as --color says, else on a terminal that has colours,
/// unless NO_COLOR is set.
pub(super) fn colour() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}
