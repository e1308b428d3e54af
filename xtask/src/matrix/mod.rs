//! `cargo xtask matrix`: `twtrace check` on every kernel that can be had, and the results in
//! docs/kernels.md.

mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::paths;
use crate::run::{output, say, show};
use crate::vm::image::Profile;
use crate::vm::kernels::{KERNELS, MORE};
use crate::vm::package::Kernel;
use crate::vm::qemu::{Accel, Setup};
use crate::vm::{self, Host};
use table::{Baseline, Behaviour};

const TIME_LIMIT: Duration = Duration::from_secs(600);
/// Where the document has the table.
const BEGIN: &str = "<!-- cargo xtask matrix: begin -->\n";
const END: &str = "<!-- cargo xtask matrix: end -->\n";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// These kernels instead of all; the document is then left alone and the table printed.
    #[arg(long = "kernel", value_name = "NAME|PATH")]
    kernels: Vec<String>,
    /// VMs side by side.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Keep the baselines, in a folder for each kernel.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run nothing: write the document from baselines that were kept so.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kernels", "out"])]
    from: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut baselines = match &args.from {
        Some(folder) => kept(folder)?,
        None => all(args)?,
    };
    ensure!(!baselines.is_empty(), "no kernel was run");
    baselines.sort_by_key(|one| table::version(&one.kernel));
    let table = table::render(&behaviours()?, &baselines, &today()?);
    if args.kernels.is_empty() {
        write(&table)
    } else {
        show(&table);
        Ok(())
    }
}

/// What the kernels show now.
fn all(args: &Args) -> Result<Vec<Baseline>> {
    let kernels = kernels(&args.kernels)?;
    let host = Host::get(Profile::Quick)?;
    let setup = Setup {
        memory_mb: 1536,
        cpus: 2,
        more_cpus: 0,
        accel: Accel::Best,
        timeout: TIME_LIMIT,
        command: ["twtrace", "check", "--save", "/out/baseline"]
            .map(str::to_owned)
            .to_vec(),
        extra: Vec::new(),
    };
    let ends = vm::side_by_side(&kernels, args.jobs, |kernel| {
        say(&format!("booting {}", kernel.release));
        let end = host.boot(kernel, &setup, &mut |_| {})?;
        if let Some(folder) = &args.out {
            end.keep(&folder.join(&kernel.name))?;
        }
        let seconds = end.elapsed.as_secs_f64();
        say(&format!("{}: {seconds:.0} s", kernel.release));
        read(&end.files()?)
    });
    let mut baselines = Vec::new();
    for (kernel, end) in kernels.iter().zip(ends) {
        match end {
            Ok(baseline) => baselines.push(baseline),
            Err(error) => say(&format!("{}: not run: {error:#}", kernel.release)),
        }
    }
    Ok(baselines)
}

/// What they showed when they were run with `--out`.
fn kept(folder: &Path) -> Result<Vec<Baseline>> {
    let shown = folder.display();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))?;
    entries.map(|entry| read(&entry?.path())).collect()
}

/// Each build once; what cannot be had is said and left out.
fn kernels(named: &[String]) -> Result<Vec<Kernel>> {
    let all = KERNELS.iter().chain(MORE).map(|series| series.name);
    let names: Vec<String> = match named {
        [] => all.map(str::to_owned).collect(),
        named => named.to_vec(),
    };
    let mut kernels: Vec<Kernel> = Vec::new();
    for name in names {
        match vm::kernel(&name) {
            Ok(kernel) if kernels.iter().all(|known| known.release != kernel.release) => {
                kernels.push(kernel);
            }
            Ok(_) => {}
            Err(error) => say(&format!("Linux {name}: not run: {error:#}")),
        }
    }
    ensure!(!kernels.is_empty(), "no kernel to run");
    Ok(kernels)
}

fn read(folder: &Path) -> Result<Baseline> {
    let path = folder.join("baseline");
    let text = fs::read_to_string(path).context("twtrace check kept nothing")?;
    Ok(serde_json::from_str(&text)?)
}

/// The table of behaviours, as the program tells it.
fn behaviours() -> Result<Vec<Behaviour>> {
    let mut list = Command::new("cargo");
    list.current_dir(paths::root())
        .args(["run", "--quiet", "--package", "twtrace", "--"])
        .args(["check", "--list", "-o", "json"]);
    let text = output(&mut list)?;
    let each = serde_json::Deserializer::from_str(&text).into_iter::<Line>();
    each.map(|line| Ok(line?.behaviour)).collect()
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    behaviour: Behaviour,
}

fn today() -> Result<String> {
    let date = output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    Ok(date.trim().to_owned())
}

fn write(table: &str) -> Result<()> {
    let path = paths::root().join("docs/kernels.md");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, table::replace(&text, table)?)?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}
