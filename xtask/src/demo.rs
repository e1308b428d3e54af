//! `cargo xtask demo`: twtrace at work on a stock kernel, in a VM.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::run::{say, show};
use crate::vm::qemu::{Accel, Setup};
use crate::vm::{self, Host};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A kernel of the table or the path of a vmlinuz; `host` is this distribution's own series.
    #[arg(long, value_name = "NAME|PATH", default_value = "host")]
    kernel: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    say(
        "this boots a stock kernel in QEMU and traces real connections in it; it takes two minutes",
    );
    say("it may install qemu-system-x86 and download a kernel package (about 35 MB), and says so");
    let host = Host::get()?;
    let kernel = vm::kernel(&args.kernel)?;
    let setup = Setup {
        memory_mb: 1024,
        cpus: 2,
        accel: Accel::Best,
        timeout: Duration::from_secs(240),
        command: ["twtrace-vm", "demo"].map(str::to_owned).to_vec(),
        extra: Vec::new(),
    };
    say(&format!("booting Linux {}", kernel.release));
    let started = Instant::now();
    let end = host.boot(&kernel, &setup, &mut show)?;
    let seconds = started.elapsed().as_secs();
    ensure!(
        end.verdict.code == 0,
        "the demonstration ended with exit code {}",
        end.verdict.code
    );
    say(&format!("done in {seconds} s, exit code 0"));
    Ok(())
}
