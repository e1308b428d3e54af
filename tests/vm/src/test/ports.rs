//! `twtrace ports` counts preexisting sockets, and reports a destination before and after it runs
//! out of ports.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::pressure::{COMMAND, FULL, OTHER, PORTS};
use crate::served::Served;
use crate::tracer::{Tracer, Written};

/// Preexisting sockets, made one after another within a minute: as many as an emulated machine can.
const SOCKETS: u32 = 20_011;
/// As many as a VM that counts instructions can make, and the limits there.
const MANY: u32 = 200_003;
const MOST_CPU: Duration = Duration::from_secs(1);
const MOST_MEMORY_KIB: u64 = 64 * 1024;
/// Over 90 % of the ports.
const MANY_PORTS: u32 = 197;
/// Calls beyond the number of ports.
const MORE: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Result of one run.
struct Seeded {
    /// Mini-sockets in the workload's namespace: as counted by twtrace, and by the kernel before
    /// and after that.
    counted: u64,
    kernel: [u64; 2],
    cpu: Duration,
    peak_kib: u64,
    screen_in: Duration,
}

pub(crate) fn seeding(attach: &str) -> Result<String> {
    let seeded = seed(SOCKETS, attach)?;
    let mut checks = Checks::default();
    same(&mut checks, &seeded);
    checks.that(seeded.counted > u64::from(SOCKETS) / 2, || {
        format!("only {} were alive: the VM is too slow", seeded.counted)
    });
    checks.end(said(&seeded))
}

/// The same with 200,003, for a VM that counts instructions, where CPU time does not depend on the
/// host.
pub(crate) fn many() -> Result<()> {
    let seeded = seed(MANY, "fentry")?;
    let mut checks = Checks::default();
    same(&mut checks, &seeded);
    checks.equal("alive", seeded.counted, u64::from(MANY));
    checks.that(seeded.cpu < MOST_CPU, || {
        format!("it took {:?} of CPU time", seeded.cpu)
    });
    checks.that(seeded.peak_kib < MOST_MEMORY_KIB, || {
        format!("it took {} KiB", seeded.peak_kib)
    });
    crate::say(&checks.end(said(&seeded))?);
    Ok(())
}

fn said(seeded: &Seeded) -> String {
    format!(
        "{} listed, CPU {:.2} s, at most {} KiB, first screen {:.2} s after attaching",
        seeded.counted,
        seeded.cpu.as_secs_f64(),
        seeded.peak_kib,
        seeded.screen_in.as_secs_f64()
    )
}

/// Some may expire meanwhile.
fn same(checks: &mut Checks, seeded: &Seeded) {
    let [before, after] = seeded.kernel;
    checks.that((after..=before).contains(&seeded.counted), || {
        format!(
            "{} counted, the kernel has {after} to {before}",
            seeded.counted
        )
    });
}

fn seed(sockets: u32, attach: &str) -> Result<Seeded> {
    let args = Args {
        ports: 20_001,
        hosts: 16,
    };
    let mut load = Load::start(&args)?;
    load.run(sockets)?;
    let before = load.population()?;
    let stdout = Path::new("/tmp/ports.json");
    let tracer = Tracer::start(&["ports", "1", "-o", "json", "--attach", attach], stdout)?;
    let attached = Instant::now();
    let counted = await_population(stdout, load.netns()?)?;
    let screen_in = attached.elapsed();
    let cpu = tracer.cpu()?;
    let peak_kib = tracer.peak_kib()?;
    let after = load.population()?;
    let code = tracer.stop()?;
    if code != 0 {
        bail!("twtrace ports ended with {code}");
    }
    Ok(Seeded {
        counted,
        kernel: [before, after],
        cpu,
        peak_kib,
        screen_in,
    })
}

/// The first count for this namespace that includes the listing.
fn await_population(stdout: &Path, netns: u64) -> Result<u64> {
    let found = await_event(stdout, |event| {
        event["event"] == "population" && event["netns"] == netns && event["listed"] == true
    })?;
    let sum = |key: &str| found[key].as_u64().unwrap_or(0);
    Ok(sum("time_wait") + sum("fin_wait_2"))
}

/// Waits for the first event of this kind.
fn await_event(stdout: &Path, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = events(stdout)?.into_iter().find(&wanted) {
            return Ok(found);
        }
        thread::sleep(POLL);
    }
    bail!("the awaited event did not come")
}

/// Events written so far; the last line may be incomplete.
fn events(stdout: &Path) -> io::Result<Vec<Value>> {
    let text = fs::read_to_string(stdout)?;
    let lines = text.lines();
    Ok(lines.flat_map(serde_json::from_str).collect())
}

/// A destination runs out of ports and the failing command is named, while another destination
/// still works.
pub(crate) fn exhaustion(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/exhausted.json");
    let args = [
        "ports",
        "1",
        "-o",
        "json",
        "--attach",
        attach,
        "--fail-on",
        "failure",
    ];
    let tracer = Tracer::start(&args, stdout)?;
    let mut clients = Served::start(&["pressure"])?;
    let netns = clients.netns()?;
    let mut checks = Checks::default();
    clients.order(MANY_PORTS)?;
    checks.equal("failed while many were left", clients.answer()?, 0);
    let here = |event: &Value| event["netns"] == netns && event["rport"] == FULL.port();
    let warned = await_event(stdout, |event| {
        event["event"] == "port-pressure" && event["scope"] == "warning" && here(event)
    })
    .context("no warning")?;
    clients.order(PORTS - MANY_PORTS + MORE)?;
    let failed = clients.answer()?;
    let full = await_event(stdout, |event| {
        event["event"] == "port-pressure" && here(event) && event["in_use"] == PORTS
    })
    .context("no row with all ports in use")?;
    clients.order(0)?;
    checks.equal("failed without a call", clients.answer()?, 0);
    let failure = await_event(stdout, |event| {
        event["event"] == "port-failure" && here(event)
    })?;
    let pid = u64::from(clients.id());
    drop(clients);
    checks.equal("exit code", tracer.stop()?, 1);
    let written = Written::read(stdout)?;

    checks.equal(
        "candidates",
        full["candidates"].as_u64(),
        Some(PORTS.into()),
    );
    checks.equal("reuse", full["reuse"].as_str(), Some("would-help"));
    let early = warned["time_wait"].as_u64() <= Some(MANY_PORTS.into());
    checks.that(early, || format!("warned late: {warned}"));
    // Each call beyond the ports fails, except where a stray RST has ended a TIME_WAIT and freed
    // its port (`tcp_timewait_state_process` without tcp_rfc1337).
    let freed = written.number("/totals/reset")?;
    checks.that((failed..=failed + freed).contains(&MORE.into()), || {
        format!("{failed} of {MORE} failed, {freed} ended by an RST")
    });
    checks.equal("call", failure["call"].as_str(), Some("connect"));
    checks.equal("command", failure["command"].as_str(), Some(COMMAND));
    checks.equal("pid", failure["pid"].as_u64(), Some(pid));
    checks.equal(
        "destination",
        failure["raddr"].as_str(),
        Some(&*FULL.ip().to_string()),
    );
    let blocked = failure["time_wait_candidates"].as_u64();
    checks.equal("held by TIME_WAIT only", blocked, Some(PORTS.into()));
    let failures = written
        .events
        .iter()
        .filter(|event| event["event"] == "port-failure");
    checks.equal("port failures", failures.count() as u64, failed);
    let other = written.events.iter().find(|event| {
        event["event"] == "port-pressure"
            && event["scope"] == "total"
            && event["rport"] == OTHER.port()
    });
    // A stray RST may have ended one of those before the last was made.
    let peak = other.and_then(|one| one["peak"].as_u64()).unwrap_or(0);
    checks.that((peak..=peak + freed).contains(&3), || {
        format!("peak of the other is {peak}, not 3; {freed} ended by an RST")
    });
    checks.end(format!(
        "warned at {} of {PORTS} ports, {failed} calls failed",
        warned["in_use"]
    ))
}
