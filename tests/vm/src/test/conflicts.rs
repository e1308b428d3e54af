//! `twtrace conflicts` with one client behind a NAT that randomizes ports: conflicts occur where
//! the kernel hashes ports into the timestamp offset, and nowhere else.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::checks::Checks;
use crate::tracer::{TWTRACE, Written};

const LOAD: &str = "/bin/twtrace-vm nat";
/// Of the 159 SYNs after the first round, about half meet another connection's TIME_WAIT, and half
/// of those have an older clock. Far fewer mean that some were missed.
const FEWEST: u64 = 8;
/// The kernel function that hashes ports into the offset.
const BY_PORTS: &[u8] = b"\0secure_tcp_seq_and_ts_off\0";

pub(crate) fn run(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/conflicts.json");
    let status = Command::new(TWTRACE)
        .args(["conflicts", "-o", "json", "--attach", attach, "-c", LOAD])
        .stdout(File::create(stdout)?)
        .status()
        .context("cannot start twtrace conflicts")?;
    let written = Written::read(stdout)?;
    let mut checks = Checks::default();
    // With kprobes the kernel may skip a program of ours. That must be reported, and everything
    // else must still hold.
    let missed = written.number("/lost/missed").unwrap_or(0);
    let skipped = attach == "kprobe" && missed > 0;
    let code = if skipped { 3 } else { 0 };
    checks.equal("exit code", status.code(), Some(code));
    checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
    checks.equal(
        "complete",
        written.summary["complete"].as_bool(),
        Some(!skipped),
    );
    for what in ["ring", "map"] {
        checks.equal(what, written.number(&format!("/lost/{what}"))?, 0);
    }
    let syns = written.number("/refusals/syns")?;
    let conflicts = of(&written, "conflict");
    if by_ports()? {
        refused(&mut checks, &written, syns, &conflicts);
    } else {
        checks.equal("SYNs refused", syns, 0);
        checks.equal("conflicts", conflicts.len(), 0);
    }
    checks.end(format!(
        "{syns} SYNs refused, {} conflicts",
        conflicts.len()
    ))
}

fn refused(checks: &mut Checks, written: &Written, syns: u64, conflicts: &[&Value]) {
    checks.that(syns >= FEWEST, || format!("only {syns} SYNs were refused"));
    let told = of(written, "refusal");
    let told = told.iter().filter(|one| one["syn"] == true);
    checks.equal("refusals of SYNs", told.count() as u64, syns);
    let last = conflicts.last().map(|last| &last["causes"][0]["cause"]);
    checks.equal(
        "likely cause",
        last,
        Some(&Value::from("port-rewriting-nat")),
    );
    let done = |one: &&&Value| one["outcome"] == "recovered" || one["outcome"] == "reopened";
    let recovered: Vec<_> = conflicts.iter().filter(done).collect();
    checks.that(!recovered.is_empty(), || "no client recovered".to_owned());
    let delay = |one: &Value| one["delay_ms"].as_f64().is_some_and(|ms| ms > 0.0);
    checks.that(recovered.iter().all(|one| delay(one)), || {
        "a recovered conflict has no delay".to_owned()
    });
}

fn of<'a>(written: &'a Written, kind: &str) -> Vec<&'a Value> {
    let events = written.events.iter();
    events.filter(|event| event["event"] == kind).collect()
}

fn by_ports() -> Result<bool> {
    let btf = fs::read("/sys/kernel/btf/vmlinux").context("cannot read the kernel's BTF")?;
    Ok(btf.windows(BY_PORTS.len()).any(|name| name == BY_PORTS))
}
