//! How far the scenarios are, for a person at a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// One line that is written over each second; elsewhere one line at the start.
pub(super) struct Progress {
    pub(super) done: usize,
    total: usize,
    start: Instant,
    shown: u64,
    terminal: bool,
}

impl Progress {
    /// Written over only if the verdicts are for people, too: a serial line is a terminal for both.
    pub(super) fn new(total: usize, for_people: bool, say: fn(&str)) -> Self {
        let terminal = for_people && stderr().is_terminal() && can_overwrite();
        if !terminal {
            say(&format!(
                "{total} cases side by side; TIME_WAIT takes 60 s to run out"
            ));
        }
        Self {
            done: 0,
            total,
            start: Instant::now(),
            shown: 0,
            terminal,
        }
    }

    pub(super) fn show(&mut self) {
        let seconds = self.start.elapsed().as_secs();
        if seconds > self.shown {
            self.shown = seconds;
            let (done, total) = (self.done, self.total);
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

/// A console without TERM may show a carriage return as anything.
fn can_overwrite() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
