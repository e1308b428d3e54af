//! `cargo xtask test`: everything that says whether this tree is right.

mod parsers;
mod results;
mod suite;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::run::{run as run_command, say};
use crate::{ebpf, fuzz, paths, tidy};
use results::{Results, Verdict};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All kernels of the table instead of the oldest, the host distribution's and the newest.
    #[arg(long)]
    all_kernels: bool,
    /// These kernels instead: names of the table or paths of vmlinuz files.
    #[arg(
        long = "kernel",
        value_name = "NAME|PATH",
        conflicts_with = "all_kernels"
    )]
    kernels: Vec<String>,
    /// Leave the VMs out.
    #[arg(long, conflicts_with_all = ["all_kernels", "kernels"])]
    no_vm: bool,
    /// Leave out everything but the VMs.
    #[arg(long, conflicts_with = "no_vm")]
    only_vm: bool,
    /// VMs side by side.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
}

/// Does its part and returns details beyond that it passed.
type Step = fn() -> Result<String>;

const STEPS: &[(&str, Step)] = &[
    ("formatting", formatting),
    ("clippy", clippy),
    ("unit and golden tests", unit),
    ("tidy", || tidy::run(&tidy::Args {}).map(|()| String::new())),
    ("KTAP and JUnit by other parsers", parsers::goldens),
    ("eBPF object", ebpf::check),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut results = Results::default();
    for (name, step) in STEPS.iter().filter(|_| !args.only_vm) {
        say(name);
        let started = Instant::now();
        let done = step();
        if let Err(reason) = &done {
            say(&format!("{name}: {reason:#}"));
        }
        let seconds = started.elapsed().as_secs_f64();
        results.add(name, done.map(|detail| format!("{seconds:.0} s {detail}")));
    }
    if !args.only_vm {
        fuzzing(&mut results);
    }
    if !args.no_vm {
        let choice = suite::Choice {
            all: args.all_kernels,
            named: args.kernels.clone(),
        };
        suite::run(&choice, args.jobs, &mut results);
    }
    results.show();
    if results.failed() > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

fn cargo(args: &[&str]) -> Result<String> {
    run_command(Command::new("cargo").current_dir(paths::root()).args(args))?;
    Ok(String::new())
}

fn formatting() -> Result<String> {
    cargo(&["fmt", "--all", "--check"])?;
    let ebpf = [
        "fmt",
        "--check",
        "--manifest-path",
        "twtrace-ebpf/Cargo.toml",
    ];
    cargo(&ebpf)
}

fn clippy() -> Result<String> {
    let args = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ];
    cargo(&[&args[..], &["--", "-Dwarnings"]].concat())?;
    // Without `check` as well, and without the crates that only it needs.
    let without = ["--package", "twtrace", "--no-default-features"];
    cargo(&[
        "clippy",
        "--quiet",
        "--locked",
        without[0],
        without[1],
        without[2],
        "--",
        "-Dwarnings",
    ])
}

/// Seconds of each fuzz target.
const FUZZING: u32 = 20;

/// Where the toolchain does not allow it, the same functions had a million inputs in the unit
/// tests (twtrace/tests/property.rs).
fn fuzzing(results: &mut Results) {
    let name = "fuzz targets";
    say(name);
    match fuzz::Fuzzer::get() {
        Ok(fuzzer) => {
            let inputs = fuzzer.each(&fuzz::TARGETS, FUZZING);
            results.add(name, inputs.map(|inputs| format!("inputs: {inputs}")));
        }
        Err(error) => {
            let why = format!("{error:#}; a million inputs of the unit tests stand in");
            say(&format!("{name}: not run: {why}"));
            results.put(name, Verdict::Skip, &why);
        }
    }
}

fn unit() -> Result<String> {
    cargo(&["test", "--quiet", "--workspace", "--locked"])
}
