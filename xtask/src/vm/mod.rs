//! `cargo xtask vm`: boots kernels in QEMU and runs a command in each.

pub(crate) mod image;
pub(crate) mod kernels;
mod kvm;
mod modules;
mod nft;
pub(crate) mod package;
pub(crate) mod qemu;
pub(crate) mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::apt;
use crate::run::{say, show};
use image::{Extra, Profile, Programs};
use package::Kernel;
use qemu::{Accel, Setup};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A kernel of the table (5.10, 6.1, …, newest, oldest, host) or the path of a vmlinuz;
    /// repeat for several.
    #[arg(long = "kernel", value_name = "NAME|PATH", default_value = "host")]
    kernels: Vec<String>,
    /// Memory of each VM.
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    memory: u32,
    /// CPUs of each VM.
    #[arg(long, value_name = "N", default_value_t = 2)]
    smp: u32,
    /// CPUs that could be added to each VM; the kernel has per-CPU memory for them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    more_cpus: u32,
    /// Count instructions: one CPU, time stands for work.
    #[arg(long)]
    icount: bool,
    /// Time limit of each VM.
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    timeout: u64,
    /// VMs side by side.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Keep what the command leaves in /out, in a folder for each kernel.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The command to run in each VM.
    #[arg(last = true, default_values = ["twtrace", "check"])]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let host = Host::get(Profile::Measured)?;
    let mut kernels = Vec::new();
    for name in &args.kernels {
        kernels.push(kernel(name)?);
    }
    let setup = Setup {
        memory_mb: args.memory,
        cpus: args.smp,
        more_cpus: args.more_cpus,
        accel: if args.icount {
            Accel::Icount
        } else {
            Accel::Best
        },
        timeout: Duration::from_secs(args.timeout),
        command: args.command.clone(),
        extra: Vec::new(),
    };
    let prefix = kernels.len() > 1;
    let ends = side_by_side(&kernels, args.jobs, |kernel| {
        let name = &kernel.name;
        host.boot(kernel, &setup, &mut |line| match prefix {
            true => show(&format!("{name:6} {line}")),
            false => show(line),
        })
    });
    let mut failed = 0;
    for (kernel, end) in kernels.iter().zip(ends) {
        if let (Ok(end), Some(folder)) = (&end, &args.out) {
            end.keep(&folder.join(&kernel.name))?;
        }
        failed += usize::from(!report(kernel, end));
    }
    ensure!(failed == 0, "{failed} of {} VMs failed", kernels.len());
    Ok(())
}

fn report(kernel: &Kernel, end: Result<qemu::Outcome>) -> bool {
    match end {
        Ok(end) if end.verdict.code == 0 => {
            let seconds = end.elapsed.as_secs_f64();
            say(&format!("{}: pass, {seconds:.1} s", kernel.release));
            true
        }
        Ok(end) => {
            say(&format!(
                "{}: exit code {}",
                kernel.release, end.verdict.code
            ));
            false
        }
        Err(error) => {
            say(&format!("{}: {error:#}", kernel.release));
            false
        }
    }
}

/// What every VM needs of this machine: QEMU, and the programs to put into the image.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) programs: Programs,
    nft: Vec<Extra>,
}

impl Host {
    pub(crate) fn get(profile: Profile) -> Result<Self> {
        qemu::ready()?;
        let nft = nft::files()?;
        say("building twtrace and the VM's init");
        Ok(Self {
            programs: Programs::build(profile)?,
            nft,
        })
    }

    /// Boots a kernel, under KVM where that is proven to work.
    pub(crate) fn boot(
        &self,
        kernel: &Kernel,
        setup: &Setup,
        line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<qemu::Outcome> {
        let mut setup = setup.clone();
        setup.extra.extend(self.nft.iter().cloned());
        if setup.accel == Accel::Best && kvm::works(kernel, &self.programs) {
            setup.accel = Accel::Kvm;
        }
        qemu::boot(kernel, &self.programs, &setup, line)
    }
}

/// A kernel by its name in the table or its path.
pub(crate) fn kernel(name: &str) -> Result<Kernel> {
    if name.contains('/') {
        return package::at_path(Path::new(name));
    }
    if name == "host" && !apt::is_debian() {
        return package::of_this_system();
    }
    kernels::fetch(kernels::series(name)?).with_context(|| format!("cannot get the kernel {name}"))
}

/// Does the work for each item, at most `jobs` at a time; results in the items' order.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let queue = Mutex::new(items.iter().enumerate());
    let next = || queue.lock().ok()?.next();
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.clamp(1, items.len().max(1)))
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    while let Some((index, item)) = next() {
                        done.push((index, work(item)));
                    }
                    done
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_items_order() {
        let items: Vec<u64> = (0..7).collect();
        let slow_first = |&item: &u64| {
            thread::sleep(Duration::from_millis(7 - item));
            item * 2
        };
        assert_eq!(side_by_side(&items, 3, slow_first), [0, 2, 4, 6, 8, 10, 12]);
    }
}
