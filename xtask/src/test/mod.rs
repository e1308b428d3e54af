//! `cargo xtask test`: what says within ten minutes whether this tree is right; with
//! `--all-kernels`, everything that does.

mod parsers;
mod progress;
mod results;
mod suite;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::run::{run as run_command, say};
use crate::{dist, ebpf, fuzz, package, paths, tidy};
use progress::Progress;
use results::{Results, Verdict};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Everything: all kernels of the table instead of the oldest and the newest, with the long
    /// assertions, more CPUs, PREEMPT_RT and the fuzz targets; about an hour on two cores.
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
    ("man pages and completions", dist::check),
    ("packages and the library's surface", package::check),
    ("eBPF object", ebpf::check),
];

const FUZZ: &str = "fuzz targets";

pub(crate) fn run(args: &Args) -> Result<()> {
    let steps = STEPS.iter().filter(|_| !args.only_vm);
    let names = steps.clone().map(|(name, _)| *name);
    let fuzz = (args.all_kernels && !args.only_vm).then_some(FUZZ);
    let vms = (!args.no_vm).then_some(suite::VMS);
    let progress = Progress::of(names.chain(fuzz).chain(vms).map(str::to_owned).collect());
    let mut results = Results::default();
    for (name, step) in steps {
        say(name);
        let started = Instant::now();
        let done = step();
        let took = started.elapsed();
        if let Err(reason) = &done {
            say(&format!("{name}: {reason:#}"));
        }
        progress.ended(name, Verdict::of(&done).word(), took);
        let seconds = took.as_secs_f64();
        results.add(name, done.map(|detail| format!("{seconds:.0} s {detail}")));
    }
    if fuzz.is_some() {
        fuzzing(&progress, &mut results);
    }
    if vms.is_some() {
        let choice = suite::Choice {
            everything: args.all_kernels,
            named: args.kernels.clone(),
        };
        suite::run(&choice, args.jobs, &progress, &mut results);
    }
    results.show();
    say(&format!("{:.0} s", progress.elapsed().as_secs_f64()));
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
fn fuzzing(progress: &Progress, results: &mut Results) {
    say(FUZZ);
    let started = Instant::now();
    match fuzz::Fuzzer::get() {
        Ok(fuzzer) => {
            let inputs = fuzzer.each(&fuzz::TARGETS, FUZZING);
            results.add(FUZZ, inputs.map(|inputs| format!("inputs: {inputs}")));
        }
        Err(error) => {
            let why = format!("{error:#}; a million inputs of the unit tests stand in");
            say(&format!("{FUZZ}: not run: {why}"));
            results.put(FUZZ, Verdict::Skip, &why);
        }
    }
    progress.ended(FUZZ, results.last().word(), started.elapsed());
}

fn unit() -> Result<String> {
    cargo(&["test", "--quiet", "--workspace", "--locked"])
}
