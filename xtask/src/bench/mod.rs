//! `cargo xtask bench`: what twtrace costs, beside what other tools cost by the same method.
//!
//! Under `-icount shift=0` the VM's clock counts instructions, a ns each, so the time of a
//! connection is the number of guest instructions it took, the tracer's own among them: there is
//! one CPU. Differences under 150 instructions are noise. Instructions are not time; they rank.

mod others;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::run::say;
use crate::vm::package::Kernel;
use crate::vm::qemu::{Accel, Setup};
use crate::vm::{self, Host};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kernels to measure on.
    #[arg(long = "kernel", value_name = "NAME|PATH", default_values = ["6.1", "6.18"])]
    kernels: Vec<String>,
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
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let host = Host::get()?;
    let mut measured = Vec::new();
    for name in &args.kernels {
        let kernel = vm::kernel(name)?;
        // One VM at a time: the times to attach are wall time.
        measured.push(measure(&host, kernel)?);
    }
    for kernel in &measured {
        complete(kernel)?;
    }
    table::show_all(&measured);
    Ok(())
}

fn measure(host: &Host, kernel: Kernel) -> Result<Measured> {
    say(&format!("{}: instructions per connection", kernel.release));
    let costs = boot(host, &kernel, "bench-cost", "cost.json", Accel::Icount)?;
    say(&format!("{}: instructions per refused SYN", kernel.release));
    let refusals = boot(
        host,
        &kernel,
        "bench-refusals",
        "refusals.json",
        Accel::Icount,
    )?;
    say(&format!("{}: time to attach", kernel.release));
    let attach = boot(host, &kernel, "bench-attach", "attach.json", Accel::Tcg)?;
    Ok(Measured {
        kernel,
        costs,
        refusals,
        attach,
    })
}

fn boot<T: DeserializeOwned>(
    host: &Host,
    kernel: &Kernel,
    task: &str,
    file: &str,
    accel: Accel,
) -> Result<T> {
    let setup = Setup {
        memory_mb: 1024,
        cpus: 2,
        accel,
        timeout: Duration::from_secs(1200),
        command: ["twtrace-vm", task].map(str::to_owned).to_vec(),
        extra: Vec::new(),
    };
    let end = host.boot(kernel, &setup, &mut |line| say(&format!("  {line}")))?;
    let code = end.verdict.code;
    ensure!(code == 0, "{task} ended with exit code {code}");
    let path = end.files()?.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("the VM left no {file}"))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read the VM's {file}"))
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
