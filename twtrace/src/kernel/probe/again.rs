//! A second reading of the counters: what moves now matters more than what moved since boot.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, tcp_ext};
use crate::event::facts::{Later, Namespace};
use crate::kernel::netns::{self, Abroad};
use crate::kernel::syscall;

/// How long after the first: a client that gets no answer tries again after 1 s.
const AFTER: Duration = Duration::from_millis(1_200);

/// Reads those of our own namespace, which is the first, and of the others while there is time.
pub(super) fn look(namespaces: &mut [Namespace], started: Instant) {
    let Some((own, others)) = namespaces.split_first_mut() else {
        return;
    };
    thread::sleep(AFTER.saturating_sub(started.elapsed()));
    own.later = here();
    if !others.is_empty() {
        // Those that are not reached were read once.
        let _ = netns::abroad(|abroad| visit(abroad, others));
    }
}

fn visit(abroad: &Abroad, namespaces: &mut [Namespace]) {
    let started = Instant::now();
    let ways = netns::find_all();
    for namespace in namespaces {
        if started.elapsed() >= PATIENCE {
            return;
        }
        let way = ways.get(&namespace.netns);
        namespace.later = way
            .and_then(|ways| ways.open().ok())
            .and_then(|netns| abroad.visit(netns, here).ok()?);
    }
}

/// Of the calling thread's namespace.
fn here() -> Option<Later> {
    let at_ns = syscall::monotonic_ns();
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat").ok()?;
    Some(Later {
        at_ns,
        counters: tcp_ext(&netstat),
    })
}
