//! A kernel without a function that twtrace hooks, as far as its type information tells: without
//! one of some it warns and traces on, without one of the others it says so and attaches nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::tracer::{TWTRACE, Tracer, Written};

const ALTERED: &str = "/tmp/altered.btf";
const LOAD: Args = Args {
    ports: 50,
    hosts: 1,
};
/// Each port comes back once.
const CONNECTIONS: u32 = 2 * 50;
/// A stray RST may end one before the next SYN comes.
const STRAY: u64 = 3;

pub(crate) fn run(attach: &str) -> Result<String> {
    let mut checks = Checks::default();

    without("tcp_abort")?;
    let output = trace(attach)?;
    let lines = complaints(&output);
    checks.equal("exit code without tcp_abort", output.status.code(), Some(0));
    checks.that(
        matches!(&lines[..], [one] if one.starts_with("warning: SOCK_DESTROY is not seen")
            && one.contains("tcp_abort is not in BTF")),
        || format!("without tcp_abort it says {lines:?}"),
    );
    let ends = ends(attach)?;
    checks.that(ends.abs_diff(50) <= STRAY, || {
        format!("{ends} ends without tcp_abort, not 50")
    });

    // The symbol is still there, so the other way of attaching works.
    let output = trace("auto")?;
    let lines = complaints(&output);
    checks.equal("exit code with a kprobe", output.status.code(), Some(0));
    checks.that(lines.is_empty(), || {
        format!("with a kprobe on tcp_abort it says {lines:?}")
    });

    without("inet_twsk_kill")?;
    let before = loaded_programs().count();
    let output = trace(attach)?;
    let lines = complaints(&output);
    checks.equal("exit code without the end", output.status.code(), Some(2));
    checks.that(
        matches!(&lines[..], [error, hint] if error.starts_with("twtrace: cannot trace inet_twsk_kill")
            && hint.trim_start().starts_with("hint: ")),
        || format!("without inet_twsk_kill it says {lines:?}"),
    );
    checks.that(output.stdout.is_empty(), || "it wrote to stdout".to_owned());
    checks.equal("programs left", loaded_programs().count(), before);

    checks.end("a warning without tcp_abort, an error without inet_twsk_kill".to_owned())
}

/// Writes this kernel's BTF with one letter of a name changed.
fn without(function: &str) -> Result<()> {
    let mut btf = fs::read("/sys/kernel/btf/vmlinux")?;
    let name = format!("\0{function}\0");
    let at = btf
        .windows(name.len())
        .position(|window| window == name.as_bytes())
        .with_context(|| format!("{function} is not in this kernel's BTF"))?;
    btf[at + 1] = b'X';
    fs::write(ALTERED, btf).context("cannot write the altered BTF")
}

/// A trace that ends as soon as it has begun.
fn trace(attach: &str) -> Result<Output> {
    Command::new(TWTRACE)
        .args(["trace", "-o", "json", "--btf", ALTERED])
        .args(["--attach", attach, "-c", "/bin/twtrace-vm true"])
        .output()
        .context("cannot start twtrace")
}

/// What it said, without the lines that every trace has.
fn complaints(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .filter(|line| !line.starts_with("twtrace: attaching"))
        .filter(|line| !line.contains(" hooks"))
        .map(str::to_owned)
        .collect()
}

fn ends(attach: &str) -> Result<u64> {
    let stdout = Path::new("/tmp/lacking.json");
    let args = ["trace", "-o", "json", "--btf", ALTERED, "--attach", attach];
    let mut load = Load::start(&LOAD)?;
    let tracer = Tracer::start(&args, stdout)?;
    load.run(CONNECTIONS)?;
    tracer.stop()?;
    Written::read(stdout)?.number("/seen")
}
