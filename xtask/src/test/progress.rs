//! A line for each suite that ends: how it went, how long it took, and what is left.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::run::say;

/// The suites of a run that have not ended; VMs end in any order.
#[derive(Debug)]
pub(super) struct Progress {
    left: Mutex<Vec<String>>,
    started: Instant,
}

impl Progress {
    pub(super) fn of(suites: Vec<String>) -> Self {
        Self {
            left: Mutex::new(suites),
            started: Instant::now(),
        }
    }

    /// A suite turns out to be several.
    pub(super) fn split(&self, suite: &str, into: impl IntoIterator<Item = String>) {
        self.locked(|left| {
            left.retain(|one| one != suite);
            left.extend(into);
        });
    }

    pub(super) fn ended(&self, suite: &str, verdict: &str, took: Duration) {
        say(&self.line(suite, verdict, took));
    }

    /// The whole time so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn line(&self, suite: &str, verdict: &str, took: Duration) -> String {
        let left = self.locked(|left| {
            left.retain(|one| one != suite);
            left.join("; ")
        });
        let seconds = took.as_secs_f64();
        let left = match &*left {
            "" => "nothing is left".to_owned(),
            some => format!("left: {some}"),
        };
        format!("{verdict}  {suite}, {seconds:.0} s; {left}")
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Vec<String>) -> T) -> T {
        // A list of names is whole whatever a thread that panicked was at.
        act(&mut self
            .left
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_tells_what_is_left() {
        let suites = ["formatting", "VMs", "tidy"].map(str::to_owned);
        let progress = Progress::of(suites.into());
        progress.split("VMs", ["Linux 6.18".to_owned()]);
        let line = |suite| progress.line(suite, "pass", Duration::from_millis(2_700));
        assert_eq!(
            line("tidy"),
            "pass  tidy, 3 s; left: formatting; Linux 6.18"
        );
        assert_eq!(
            line("Linux 6.18"),
            "pass  Linux 6.18, 3 s; left: formatting"
        );
        assert_eq!(line("formatting"), "pass  formatting, 3 s; nothing is left");
    }
}
