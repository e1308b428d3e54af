//! `cargo xtask bench`: what twtrace costs, beside what other tools cost by the same method.
//!
//! Under `-icount shift=0` the VM's clock counts instructions, a ns each, so the time of a
//! connection is the number of guest instructions it took, the tracer's own among them: there is
//! one CPU. Differences under 150 instructions are noise. Instructions are not time; they rank.

mod others;
mod replay;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::run::say;
use crate::vm::image::Profile;
use crate::vm::package::Kernel;
use crate::vm::qemu::{Accel, Setup};
use crate::vm::{self, Host};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kernels to measure on.
    #[arg(long = "kernel", value_name = "NAME|PATH", default_values = ["6.1", "6.18"])]
    kernels: Vec<String>,
    /// Measure only this; repeat for more.
    #[arg(long, value_enum, value_name = "PART")]
    part: Vec<Part>,
    /// Measure only the row of this name, such as hist or "trace, file"; repeat for more.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
}

/// The measurements, each in a VM of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Instructions per connection.
    Cost,
    /// Instructions per refused SYN.
    Refusals,
    /// Time, and instructions, from exec to attached.
    Attach,
    /// CPU time that `top` takes on this machine for a load recorded in the VM.
    Replay,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }
}

/// What `twtrace-vm bench-cost` measured in one way of tracing.
#[derive(Debug, Deserialize)]
struct Cost {
    /// Instructions per connection.
    ns: u64,
    /// The tracer's own CPU time per event, in ns of the same clock.
    cpu_ns: Option<f64>,
    rss_kib: Option<u64>,
    code: Option<i32>,
}

/// What `twtrace-vm bench-refusals` measured in one way of tracing, in instructions.
#[derive(Debug, Deserialize)]
struct Refusals {
    /// Per connection that meets no TIME_WAIT.
    connection: u64,
    /// Per refused SYN, the sending of it included.
    syn: u64,
}

/// All measurements on one kernel.
#[derive(Debug)]
struct Measured {
    kernel: Kernel,
    costs: BTreeMap<String, Cost>,
    refusals: BTreeMap<String, Refusals>,
    /// Seconds from exec to attached by command line.
    attach: BTreeMap<String, f64>,
    /// The same where a ns is an instruction, waits included.
    attach_icount: BTreeMap<String, f64>,
    /// CPU seconds per connection on this machine by command line.
    replay: BTreeMap<String, f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let host = Host::get(Profile::Measured)?;
    let mut measured = Vec::new();
    for name in &args.kernels {
        let kernel = vm::kernel(name)?;
        // One VM at a time: the times to attach are wall time.
        measured.push(measure(args, &host, kernel)?);
    }
    for kernel in &measured {
        complete(kernel)?;
    }
    table::show_all(&measured);
    Ok(())
}

fn measure(args: &Args, host: &Host, kernel: Kernel) -> Result<Measured> {
    let mut measured = Measured {
        kernel,
        costs: BTreeMap::new(),
        refusals: BTreeMap::new(),
        attach: BTreeMap::new(),
        attach_icount: BTreeMap::new(),
        replay: BTreeMap::new(),
    };
    let kernel = &measured.kernel;
    let boot = Boot { args, host, kernel };
    if args.wants(Part::Cost) {
        measured.costs = boot.measure("instructions per connection", "cost", Accel::Icount)?;
    }
    if args.wants(Part::Refusals) {
        measured.refusals = boot.measure("instructions per SYN", "refusals", Accel::Icount)?;
    }
    if args.wants(Part::Attach) {
        measured.attach = boot.measure("time to attach", "attach", Accel::Tcg)?;
        measured.attach_icount = boot.measure("work to attach", "attach", Accel::Icount)?;
    }
    if args.wants(Part::Replay) {
        let (task, accel) = ("recording", Accel::Icount);
        measured.replay = boot.run("a load, recorded", task, &[], accel, |files| {
            replay::all(host.programs.twtrace(), files)
        })?;
    }
    Ok(measured)
}

/// What all VMs of one kernel have in common.
struct Boot<'a> {
    args: &'a Args,
    host: &'a Host,
    kernel: &'a Kernel,
}

impl Boot<'_> {
    /// Boots a VM that runs `twtrace-vm bench-TASK` and leaves TASK.json.
    fn measure<T: DeserializeOwned>(&self, title: &str, task: &str, accel: Accel) -> Result<T> {
        let rows = &self.args.only;
        self.run(title, task, rows, accel, |files| read(files, task))
    }

    /// Boots a VM that runs `twtrace-vm bench-TASK ROW…`, and looks at what it left.
    fn run<T>(
        &self,
        title: &str,
        task: &str,
        rows: &[String],
        accel: Accel,
        look: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        say(&format!("{}: {title}", self.kernel.release));
        let mut command = vec!["twtrace-vm".to_owned(), format!("bench-{task}")];
        command.extend(rows.iter().cloned());
        let setup = Setup {
            memory_mb: 1024,
            cpus: 2,
            more_cpus: 0,
            accel,
            timeout: Duration::from_secs(1200),
            command,
            extra: Vec::new(),
        };
        let end = self
            .host
            .boot(self.kernel, &setup, &mut |line| say(&format!("  {line}")))?;
        let code = end.verdict.code;
        ensure!(code == 0, "bench-{task} ended with exit code {code}");
        look(&end.files()?)
    }
}

fn read<T: DeserializeOwned>(files: &Path, task: &str) -> Result<T> {
    let path = files.join(format!("{task}.json"));
    let text = fs::read_to_string(&path).with_context(|| format!("the VM left no {task}.json"))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read the VM's {task}.json"))
}

/// The two measurements without twtrace may differ by this many instructions.
const NOISE: u64 = 300;

/// A figure counts only if nothing was lost for it, and if the kernel did nothing else meanwhile.
fn complete(measured: &Measured) -> Result<()> {
    let without = |name: &str| measured.costs.get(name).map_or(0, |cost| cost.ns);
    let (first, last) = (without("without"), without("without, again"));
    ensure!(
        first.abs_diff(last) <= NOISE,
        "{}: {first} instructions without twtrace at first, {last} at the end: not comparable",
        measured.kernel.release
    );
    for (name, cost) in &measured.costs {
        if cost.code.is_some_and(|code| code != 0) {
            bail!(
                "{}: twtrace {name} ended with exit code {:?}",
                measured.kernel.release,
                cost.code
            );
        }
    }
    Ok(())
}
