//! `cargo xtask demo`: twtrace on a stock kernel, shown as it happens.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::apt;
use crate::run::{say, show};
use crate::vm::image::Profile;
use crate::vm::kernels::KERNELS;
use crate::vm::package::{self, Kernel};
use crate::vm::qemu::{Accel, Setup};
use crate::vm::{self, Host};

/// What most servers that run Debian stable have.
const USUAL: &str = "6.12";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A kernel of the table (5.10, 6.1, …, newest, oldest, host) or the path of a vmlinuz
    /// [default: 6.12, or another of the table if it cannot be had].
    #[arg(long, value_name = "NAME|PATH")]
    kernel: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    for line in [
        "this boots a stock Linux in QEMU, makes connections in it, and shows how their TIME_WAIT ends, and whom it keeps out",
        "what is missing of QEMU and nftables (by apt-get) and a kernel (a download of some 30 MB) comes first",
    ] {
        say(line);
    }
    let kernel = match &args.kernel {
        Some(name) => vm::kernel(name)?,
        None => usual_or_other()?,
    };
    let host = Host::get(Profile::Quick)?;
    say(&format!(
        "booting Linux {}; all in all it takes a minute and a half, as natural expiry takes 60 s",
        kernel.release
    ));
    let setup = Setup {
        memory_mb: 512,
        cpus: 2,
        more_cpus: 0,
        accel: Accel::Best,
        timeout: Duration::from_secs(300),
        command: ["twtrace-vm", "demo"].map(str::to_owned).to_vec(),
        extra: Vec::new(),
    };
    let end = host.boot(&kernel, &setup, &mut show)?;
    ensure!(
        end.verdict.code == 0,
        "the demo ended with exit code {}",
        end.verdict.code
    );
    Ok(())
}

/// The usual kernel as it was fetched before, or now, or whichever else can be had.
fn usual_or_other() -> Result<Kernel> {
    if !apt::is_debian() {
        return vm::kernel("host");
    }
    if let Some(kernel) = package::cached(USUAL) {
        return Ok(kernel);
    }
    let others = KERNELS.iter().map(|series| series.name);
    let others = others.filter(|name| *name != USUAL);
    for name in std::iter::once(USUAL).chain(others) {
        match vm::kernel(name) {
            Ok(kernel) => return Ok(kernel),
            Err(reason) => say(&format!("{reason:#}")),
        }
    }
    bail!("no kernel of the table can be had; pass --kernel PATH");
}
