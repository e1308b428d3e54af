//! Which CPU a thread runs on.

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Pins the calling thread to one CPU. Loopback packets are received on the CPU that sent them.
pub(crate) fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &only).with_context(|| format!("cannot stay on CPU {cpu}"))
}

/// Runs `work` on one CPU, in a thread of its own, so that the caller is not pinned, nor anything
/// that it starts later.
pub(crate) fn on<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let there = || {
        stay_on(cpu)?;
        work()
    };
    thread::scope(|scope| scope.spawn(there).join())
        .map_err(|_| anyhow!("the work on CPU {cpu} panicked"))?
}
