//! Runs inside twtrace's test VMs only: as PID 1 it brings the VM up and runs one command;
//! otherwise it is a workload or a test.

mod bench;
mod births;
mod checks;
mod demo;
mod exhaust;
mod flood;
mod guests;
mod init;
mod load;
mod loaded;
mod loopback;
mod maps;
mod mutate;
mod namespace;
mod nat;
mod pressure;
mod processor;
mod raw;
mod repeat;
mod served;
mod stall;
mod suite;
mod tenants;
mod test;
mod tracer;

use clap::Parser;

/// Workloads and tests for twtrace's VMs.
#[derive(Debug, Parser)]
enum Task {
    /// Do nothing and exit 0.
    True,
    /// Trace a mixed workload and show it.
    Demo,
    /// The demo's workload.
    DemoLoad,
    /// Make loopback connections in a network namespace of its own, controlled by stdin.
    Load(load::Args),
    /// Create mini-sockets from backlogs and timers on one CPU, controlled by stdin.
    Births(births::Args),
    /// Create and remove network namespaces, controlled by stdin.
    Guests(guests::Args),
    /// Send SYNs that TIME_WAIT refuses, in a network namespace of its own, controlled by stdin.
    Flood,
    /// Call connect() where no port is left, in a network namespace of its own, controlled by
    /// stdin.
    Exhaust,
    /// Call connect() where no port is left, from many tasks at once, controlled by stdin.
    ExhaustCrowd,
    /// Run out of ports in a network namespace of its own, controlled by stdin.
    Pressure,
    /// Make connections through a NAT that randomizes ports.
    Nat,
    /// Run a program as if the kernel ignored one of its settings.
    Mutate(mutate::Args),
    /// Make connections as one of three users in three cgroups.
    Tenant(tenants::Args),
    /// Run a command repeatedly until it fails.
    Repeat(repeat::Args),
    /// Run the tests and `twtrace check`; results go to /out/results.
    Suite(suite::Args),
    /// Measure what a connection costs with and without twtrace (for VMs that count instructions).
    BenchCost(bench::Args),
    /// Measure what a refused SYN costs with and without twtrace (for VMs that count instructions).
    BenchRefusals(bench::Args),
    /// List 200,003 existing mini-sockets (for VMs that count instructions).
    BenchSeeding,
    /// Show a million distinct connections in `top`, whose memory must not grow.
    Soak,
    /// Trace births from backlogs and timers at once; none may be missed.
    LoadBirths(test::births::Args),
    /// Trace many network namespaces.
    Crowd(test::crowd::Args),
    /// Trace connections, forged SYNs and short-lived namespaces for an hour.
    SoakHour(test::soak::Args),
    /// Record a load, for the host to replay.
    BenchRecording,
    /// Measure the time from exec to attached.
    BenchAttach(bench::Args),
    /// Write this process's credentials to a file, then wait.
    Whoami(test::privileges::Whoami),
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
        Task::Births(args) => births::serve(&args),
        Task::Guests(args) => guests::serve(&args),
        Task::Flood => flood::serve(),
        Task::Exhaust => exhaust::serve(),
        Task::ExhaustCrowd => exhaust::crowd(),
        Task::Pressure => pressure::serve(),
        Task::Nat => nat::run(),
        Task::Mutate(args) => mutate::run(&args),
        Task::Tenant(args) => tenants::run(&args),
        Task::Repeat(args) => repeat::run(&args),
        Task::Suite(args) => suite::run(&args),
        Task::BenchCost(args) => bench::cost(&args),
        Task::BenchRefusals(args) => bench::refusals(&args),
        Task::LoadBirths(args) => test::births::command(&args),
        Task::Crowd(args) => test::crowd::command(&args),
        Task::SoakHour(args) => test::soak::command(&args),
        Task::Soak => test::top::million(),
        Task::BenchRecording => bench::recording(),
        Task::BenchAttach(args) => bench::attach(&args),
        Task::BenchSeeding => test::ports::many(),
        Task::Whoami(args) => test::privileges::whoami(&args),
    }
}

/// Prints a line.
fn say(line: &str) {
    use std::io::Write as _;
    // If stdout is closed, the VM ends anyway.
    let _ = writeln!(std::io::stdout(), "{line}");
}
