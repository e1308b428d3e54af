//! Detects stalls of this VM: its host is busy, and virtual CPUs wait for real ones.
//!
//! TCP then retransmits and timers fire late, so the kernel does not behave as a test expects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// TCP_RTO_MIN: a stall of this length makes TCP retransmit.
pub(crate) const LONG: Duration = Duration::from_millis(200);
/// How often each CPU is checked.
const PERIOD: Duration = Duration::from_millis(20);
/// Ahead of everything that tests run. Not SCHED_FIFO: on PREEMPT_RT the kernel's own timers run in
/// that class.
const NICENESS: libc::c_int = -20;

/// Watches all CPUs until the VM ends.
#[derive(Debug)]
pub(crate) struct Watch {
    longest_ns: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        let watch = Self {
            longest_ns: Arc::default(),
        };
        for cpu in 0..thread::available_parallelism()?.get() {
            let longest_ns = Arc::clone(&watch.longest_ns);
            let (ready, is_ready) = std::sync::mpsc::channel();
            thread::spawn(move || {
                let prepared = prepare(cpu);
                let failed = prepared.is_err();
                // The receiver still waits, so this cannot fail.
                let _ = ready.send(prepared);
                if failed {
                    return;
                }
                loop {
                    longest_ns.fetch_max(late_ns(), Ordering::Relaxed);
                }
            });
            is_ready
                .recv()?
                .with_context(|| format!("cannot watch CPU {cpu}"))?;
        }
        Ok(watch)
    }

    /// The longest stall of any CPU since the last call.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.swap(0, Ordering::Relaxed))
    }
}

/// Pins this thread to a CPU, ahead of all other threads there.
fn prepare(cpu: usize) -> Result<(), Errno> {
    let mut here = CpuSet::new();
    here.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    // SAFETY: takes numbers only. On Linux the niceness is that of a thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    Errno::result(result).map(drop)
}

fn late_ns() -> u64 {
    let start = Instant::now();
    thread::sleep(PERIOD);
    let late = start.elapsed().saturating_sub(PERIOD);
    u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)
}
