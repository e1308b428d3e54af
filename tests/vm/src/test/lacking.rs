//! A kernel whose BTF lacks a function that twtrace hooks: without an optional one twtrace warns
//! and traces on, without a required one it fails and attaches nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::loaded;
use crate::tracer::{TWTRACE, Tracer, Written};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Mounted over it while twtrace runs.
const ALTERED: &str = "/tmp/altered.btf";
const LOAD: Args = Args {
    ports: 50,
    hosts: 1,
};
/// Each port is used twice.
const CONNECTIONS: u32 = 2 * 50;
/// A stray RST may end one before the next SYN arrives.
const STRAY: u64 = 3;

pub(crate) fn run(attach: &str) -> Result<String> {
    let result = without_each(attach);
    with_all()?;
    result
}

fn without_each(attach: &str) -> Result<String> {
    let mut checks = Checks::default();

    without("tcp_abort")?;
    let output = run_briefly("trace", attach)?;
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

    // The symbol still exists, so a kprobe can attach.
    let output = run_briefly("trace", "auto")?;
    let lines = complaints(&output);
    checks.equal("exit code with a kprobe", output.status.code(), Some(0));
    checks.that(lines.is_empty(), || {
        format!("with a kprobe on tcp_abort it says {lines:?}")
    });

    without("tcp_oow_rate_limited")?;
    no_refusals(attach, &mut checks)?;

    without("inet_twsk_kill")?;
    let before = loaded::programs()?.len();
    let output = run_briefly("trace", attach)?;
    let lines = complaints(&output);
    checks.equal("exit code without the end", output.status.code(), Some(2));
    checks.that(
        matches!(&lines[..], [error, hint] if error.starts_with("twtrace: cannot trace inet_twsk_kill")
            && hint.trim_start().starts_with("hint: ")),
        || format!("without inet_twsk_kill it says {lines:?}"),
    );
    checks.that(output.stdout.is_empty(), || "it wrote to stdout".to_owned());
    checks.equal("programs left", loaded::programs()?.len(), before);

    checks.end(
        "warnings without tcp_abort and tcp_oow_rate_limited, an error without inet_twsk_kill"
            .to_owned(),
    )
}

/// Hides this kernel's BTF behind a copy in which one letter of the function's name is changed.
fn without(function: &str) -> Result<()> {
    with_all()?;
    let mut btf = fs::read(VMLINUX)?;
    let name = format!("\0{function}\0");
    let at = btf
        .windows(name.len())
        .position(|window| window == name.as_bytes())
        .with_context(|| format!("{function} is not in this kernel's BTF"))?;
    btf[at + 1] = b'X';
    fs::write(ALTERED, btf).context("cannot write the altered BTF")?;
    let bind = MsFlags::MS_BIND;
    mount(Some(ALTERED), VMLINUX, None::<&str>, bind, None::<&str>)
        .context("cannot mount the altered BTF")
}

/// Shows this kernel's BTF again.
fn with_all() -> Result<()> {
    match umount2(VMLINUX, MntFlags::empty()) {
        // Nothing is mounted over it.
        Err(Errno::EINVAL) => Ok(()),
        result => result.context("cannot unmount the altered BTF"),
    }
}

/// `trace` works without refusals and does not compare counters that it did not count; `conflicts`
/// fails.
fn no_refusals(attach: &str, checks: &mut Checks) -> Result<()> {
    let output = run_briefly("trace", attach)?;
    let lines = complaints(&output);
    checks.equal("exit code without refusals", output.status.code(), Some(0));
    checks.that(
        matches!(&lines[..], [one] if one.starts_with("warning: refusal is not seen")),
        || format!("without tcp_oow_rate_limited it says {lines:?}"),
    );
    let summary: Value = serde_json::from_slice(&output.stdout)?;
    checks.that(summary["refusals"].is_null(), || {
        format!("refusals that were not traced: {}", summary["refusals"])
    });
    let output = run_briefly("conflicts", attach)?;
    let lines = complaints(&output);
    checks.equal("exit code of conflicts", output.status.code(), Some(2));
    checks.that(
        matches!(&lines[..], [_, error, hint] if error.starts_with("twtrace: cannot trace conflicts")
            && hint.trim_start().starts_with("hint: ")),
        || format!("without refusals conflicts says {lines:?}"),
    );
    Ok(())
}

/// Runs a trace that ends as soon as it has begun.
fn run_briefly(command: &str, attach: &str) -> Result<Output> {
    Command::new(TWTRACE)
        .args([command, "-o", "json"])
        .args(["--attach", attach, "-c", "/bin/twtrace-vm true"])
        .output()
        .context("cannot start twtrace")
}

/// Its messages, without the lines that every trace prints.
fn complaints(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .filter(|line| !line.starts_with("twtrace: attaching"))
        .filter(|line| !line.contains(" hooks") && !line.contains(" existed at the start"))
        .map(str::to_owned)
        .collect()
}

fn ends(attach: &str) -> Result<u64> {
    let stdout = Path::new("/tmp/lacking.json");
    let args = ["trace", "-o", "json", "--attach", attach];
    let mut load = Load::start(&LOAD)?;
    let tracer = Tracer::start(&args, stdout)?;
    load.run(CONNECTIONS)?;
    tracer.stop()?;
    Written::read(stdout)?.number("/seen")
}
