//! `twtrace check` is killed in the middle of its work: it leaves nothing behind and has changed
//! nothing of the host's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::kill9::Traces;
use crate::checks::Checks;
use crate::tracer::TWTRACE;

/// The kernel frees namespaces and programs in the background.
const PATIENCE: Duration = Duration::from_secs(20);
/// With this many namespaces, many scenarios are running.
const NAMESPACES: usize = 20;
const SETTINGS: [&str; 2] = ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6"];

/// What belongs to the host.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    settings: BTreeMap<String, String>,
    devices: BTreeSet<String>,
    mounts: String,
}

impl Host {
    fn look() -> Result<Self> {
        let mut settings = BTreeMap::new();
        for folder in SETTINGS {
            read_all(Path::new(folder), &mut settings);
        }
        let devices = fs::read_dir("/sys/class/net")?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(Self {
            settings,
            devices: devices.collect::<Result<_>>()?,
            mounts: fs::read_to_string("/proc/self/mounts")?,
        })
    }
}

/// Reads every readable file, including those of each device.
fn read_all(folder: &Path, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, into);
        } else if let Ok(text) = fs::read_to_string(&path) {
            into.insert(path.display().to_string(), text);
        }
    }
}

/// The network namespaces of all threads.
fn namespaces() -> BTreeSet<String> {
    let threads = |process: fs::DirEntry| fs::read_dir(process.path().join("task")).ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes.filter_map(threads).flatten().flatten();
    let links = threads.filter_map(|thread| fs::read_link(thread.path().join("ns/net")).ok());
    links.map(|link| link.display().to_string()).collect()
}

pub(crate) fn run(attach: &str) -> Result<String> {
    let (before, traces, alone) = (Host::look()?, Traces::look()?, namespaces());
    let mut child = Command::new(TWTRACE)
        .args(["check", "--attach", attach])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start twtrace check")?;
    let at_work = await_work(&mut child, &traces);
    child.kill()?;
    child.wait()?;
    let at_work = at_work?;
    let started = Instant::now();
    while (Traces::look()?.since(&traces) != Traces::default() || namespaces() != alone)
        && started.elapsed() < PATIENCE
    {
        thread::sleep(Duration::from_millis(20));
    }

    let mut checks = Checks::default();
    let left = Traces::look()?.since(&traces);
    checks.equal("what is left", left, Traces::default());
    checks.equal("namespaces", namespaces(), alone);
    let after = Host::look()?;
    for (name, value) in &before.settings {
        let now = after.settings.get(name);
        checks.equal(name, now, Some(value));
    }
    checks.equal("devices", after.devices, before.devices);
    checks.equal("mounts", after.mounts, before.mounts);
    checks.end(format!(
        "{at_work} namespaces gone, {} settings as before",
        before.settings.len()
    ))
}

/// Waits until scenarios are running and traced; returns the number of namespaces.
fn await_work(child: &mut Child, before: &Traces) -> Result<usize> {
    let started = Instant::now();
    loop {
        let found = namespaces().len();
        // The kernel answers EAGAIN for a link that is still being created.
        let attached = Traces::look().is_ok_and(|now| now.since(before).is_attached());
        if found > NAMESPACES && attached {
            return Ok(found);
        }
        if let Some(status) = child.try_wait()? {
            bail!("twtrace check ended with {status} before it could be killed");
        }
        if started.elapsed() > PATIENCE * 3 {
            bail!("{found} namespaces were made, and nothing was traced");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
