//! Runs inside twtrace's test VMs only: as PID 1 it brings the VM up and runs one command; with
//! arguments it is a workload or an assertion.

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
    /// Make mini-sockets from backlogs and timers of one CPU, as told on stdin.
    Births(births::Args),
    /// Make network namespaces come and go, as told on stdin.
    Guests(guests::Args),
    /// Send SYNs that TIME_WAIT refuses, in a network namespace of its own, as told on stdin.
    Flood,
    /// Call connect() where no port is left, in a network namespace of its own, as told on stdin.
    Exhaust,
    /// Do so in many tasks at once.
    ExhaustCrowd,
    /// Run out of ports, in a network namespace of its own, as told on stdin.
    Pressure,
    /// Make connections through a NAT that changes ports at random.
    Nat,
    /// Run a program as if the kernel did not heed one of its settings.
    Mutate(mutate::Args),
    /// Be one of three users in three cgroups, and make connections.
    Tenant(tenants::Args),
    /// Run a command over and over, until it fails.
    Repeat(repeat::Args),
    /// Run the assertions and `twtrace check`; results go to /out/results.
    Suite(suite::Args),
    /// Measure what a connection costs with and without twtrace (for VMs that count instructions).
    BenchCost(bench::Args),
    /// Measure what a refused SYN costs with and without twtrace (for VMs that count instructions).
    BenchRefusals(bench::Args),
    /// List 200,003 mini-sockets that are there (for VMs that count instructions).
    BenchSeeding,
    /// Show a million connections in `top`, no two alike: its memory stays as it is.
    Soak,
    /// Trace so many births from backlogs and timers at once: none is missed.
    LoadBirths(test::births::Args),
    /// Trace many network namespaces.
    Crowd(test::crowd::Args),
    /// Trace connections, forged SYNs and namespaces that come and go, for an hour.
    SoakHour(test::soak::Args),
    /// Record a load, for the host to play.
    BenchRecording,
    /// Measure the time from exec to attached.
    BenchAttach(bench::Args),
    /// Say into a file who this is, and stay.
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

/// A line of output.
fn say(line: &str) {
    use std::io::Write as _;
    // A closed stdout ends the VM anyway.
    let _ = writeln!(std::io::stdout(), "{line}");
}
