//! How far the scenarios are, for a person at a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// One line that is written over each second; elsewhere nothing.
pub(super) struct Progress {
    total: usize,
    start: Instant,
    shown: u64,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let terminal = stderr().is_terminal();
        Self {
            total,
            start: Instant::now(),
            shown: 0,
            terminal,
        }
    }

    pub(super) fn show(&mut self, done: usize) {
        let seconds = self.start.elapsed().as_secs();
        if seconds > self.shown {
            self.shown = seconds;
            let total = self.total;
            self.write(&format!(
                "\r{done} of {total} done after {seconds} s; TIME_WAIT takes 60 s"
            ));
        }
    }

    pub(super) fn clear(&self) {
        if self.shown > 0 {
            self.write(&format!("\r{:60}\r", ""));
        }
    }

    fn write(&self, text: &str) {
        if self.terminal {
            // Nobody is hurt if the terminal is gone.
            let _ = stderr().write_all(text.as_bytes());
        }
    }
}
