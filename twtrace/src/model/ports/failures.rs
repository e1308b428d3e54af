//! Calls that got no port: how many, the last one, and which are reported.

use foldhash::HashMap;

use super::row::Key;
use crate::event::PortFailure;
use crate::event::found::{OnPort, PortLook};

/// Failures of one kind are reported once in this time (ns).
const TELL_NS: u64 = 1_000_000_000;
/// Ports that callers named and that are told apart.
const MAX_NAMED: usize = 4_096;

/// Failures of one kind.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    pub(super) last: Option<Box<PortFailure>>,
    /// The last failure reported: when, and how many there were.
    told: Option<(u64, u64)>,
    /// What was on the port when it was last looked.
    pub(super) look: Option<Vec<OnPort>>,
}

impl Failures {
    /// Counts one. If it is to be reported, returns how many were not since the last one that was.
    pub(super) fn note(&mut self, failure: &PortFailure) -> Option<u64> {
        self.count += 1;
        self.last = Some(Box::new(*failure));
        let before = match self.told {
            Some((at_ns, _)) if failure.at_ns < at_ns + TELL_NS => return None,
            Some((_, count)) => count,
            None => 0,
        };
        self.told = Some((failure.at_ns, self.count));
        self.look = None;
        Some(self.count - before - 1)
    }

    fn last_ns(&self) -> u64 {
        self.last.as_ref().map_or(0, |failure| failure.at_ns)
    }
}

/// Failures of calls that named their port, by port.
#[derive(Debug, Default)]
pub(super) struct Named(HashMap<Key, Failures>);

impl Named {
    /// As [`Failures::note`].
    pub(super) fn note(&mut self, key: Key, failure: &PortFailure) -> Option<u64> {
        if self.0.len() >= MAX_NAMED && !self.0.contains_key(&key) {
            self.make_room();
        }
        self.0.entry(key).or_default().note(failure)
    }

    /// Takes a look at a port.
    pub(super) fn looked(&mut self, look: &PortLook) {
        for (key, failures) in &mut self.0 {
            if (key.netns, key.lport) == (look.netns, look.port) {
                failures.look.clone_from(&look.sockets);
            }
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Failures> {
        self.0.get(key)
    }

    /// Those with most failures first.
    pub(super) fn first(&self, n: usize) -> Vec<Key> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|&(key, failures)| (std::cmp::Reverse(failures.count), *key));
        all.iter().take(n).map(|&(key, _)| *key).collect()
    }

    /// The half that failed longest ago is forgotten.
    fn make_room(&mut self) {
        let mut times: Vec<_> = self.0.values().map(Failures::last_ns).collect();
        let middle = times.len() / 2;
        let (_, &mut median, _) = times.select_nth_unstable(middle);
        self.0.retain(|_, failures| failures.last_ns() > median);
    }
}
