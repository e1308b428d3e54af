//! Runs inside twtrace's test VMs only: as PID 1 it brings the VM up and runs one command; with
//! arguments it is a workload or an assertion.

mod bench;
mod checks;
mod demo;
mod flood;
mod init;
mod load;
mod loopback;
mod mutate;
mod nat;
mod served;
mod suite;
mod test;
mod tracer;

use clap::Parser;

/// Workloads and assertions for twtrace's test VMs.
#[derive(Debug, Parser)]
enum Task {
    /// Do nothing, successfully.
    True,
    /// Trace a mixed workload and show it.
    Demo,
    /// The demo's workload.
    DemoLoad,
    /// Make loopback connections in a network namespace of its own, as told on stdin.
    Load(load::Args),
    /// Send SYNs that TIME_WAIT refuses, in a network namespace of its own, as told on stdin.
    Flood,
    /// Make connections through a NAT that changes ports at random.
    Nat,
    /// Run a program as if the kernel did not heed one of its settings.
    Mutate(mutate::Args),
    /// Run the assertions and `twtrace check`; results go to /out/results.
    Suite(suite::Args),
    /// Measure what a connection costs with and without twtrace (for VMs that count instructions).
    BenchCost(bench::Args),
    /// Measure what a refused SYN costs with and without twtrace (for VMs that count instructions).
    BenchRefusals(bench::Args),
    /// Measure the time from exec to attached.
    BenchAttach(bench::Args),
}

fn main() -> anyhow::Result<()> {
    if std::process::id() == 1 {
        init::boot();
    }
    match Task::parse() {
        Task::True => Ok(()),
        Task::Demo => demo::run(),
        Task::DemoLoad => demo::load(),
        Task::Load(args) => load::serve(&args),
        Task::Flood => flood::serve(),
        Task::Nat => nat::run(),
        Task::Mutate(args) => mutate::run(&args),
        Task::Suite(args) => suite::run(&args),
        Task::BenchCost(args) => bench::cost(&args),
        Task::BenchRefusals(args) => bench::refusals(&args),
        Task::BenchAttach(args) => bench::attach(&args),
    }
}

/// A line of output.
fn say(line: &str) {
    use std::io::Write as _;
    // A closed stdout ends the VM anyway.
    let _ = writeln!(std::io::stdout(), "{line}");
}
