//! Runs inside twtrace's test VMs only: as PID 1 it brings the VM up and runs one command; with
//! arguments it is a workload or an assertion.

mod init;
mod loopback;

use clap::Parser;

/// Workloads and assertions for twtrace's test VMs.
#[derive(Debug, Parser)]
enum Task {
    /// Do nothing, successfully.
    True,
}

fn main() -> anyhow::Result<()> {
    if std::process::id() == 1 {
        init::boot();
    }
    match Task::parse() {
        Task::True => Ok(()),
    }
}
