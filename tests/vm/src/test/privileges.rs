//! Which capabilities a tracer keeps, and as which user the command of `-c` runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{getgid, getgroups, getuid};

use crate::checks::Checks;
use crate::tracer::Tracer;

const BPF: u64 = 1 << 39;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_PTRACE: u64 = 1 << 19;
const DAC_READ_SEARCH: u64 = 1 << 2;
const KILL: u64 = 1 << 5;
const NAMESPACES: u64 = SYS_ADMIN | SYS_PTRACE | DAC_READ_SEARCH;

/// Arguments, and the capabilities that the main thread keeps once everything is attached.
const KEPT: &[(&[&str], u64)] = &[
    (&["trace"], BPF | NAMESPACES),
    (&["trace", "-L", "9"], BPF | DAC_READ_SEARCH),
    (&["hist"], BPF | NAMESPACES),
    (&["hist", "-L", "9"], BPF),
    (&["conflicts", "-L", "9"], BPF),
    (&["record", "/tmp/kept.twt", "-L", "9"], BPF | NAMESPACES),
    (
        &[
            "trace",
            "-L",
            "9",
            "-c",
            "twtrace-vm whoami /tmp/kept.user",
            "--user",
            "10007",
        ],
        BPF | DAC_READ_SEARCH | KILL,
    ),
];
/// Capabilities are dropped after the ready file appears and existing sockets are listed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each command keeps the capabilities it needs, and no thread keeps any other.
pub(crate) fn kept(attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    for (args, kept) in KEPT {
        let args = [*args, &["--attach", attach]].concat();
        let tracer = Tracer::start(&args, Path::new("/tmp/kept.out"))?;
        let held = await_held(&tracer, *kept)?;
        let name = args.join(" ");
        checks.that(held.main == *kept, || {
            format!("{name} keeps {:x}, not {kept:x}", held.main)
        });
        checks.equal(&format!("bounding set of {name}"), held.bounding, 0);
        checks.equal(
            &format!("{name} may not gain privileges"),
            held.no_new,
            true,
        );
        checks.that(held.others & !kept == 0, || {
            format!("a thread of {name} keeps {:x}", held.others)
        });
        checks.equal(&format!("exit code of {name}"), tracer.stop()?, 0);
    }
    checks.end(format!("{} commands", KEPT.len()))
}

#[derive(Debug, Default)]
struct Held {
    /// Permitted capabilities of the main thread.
    main: u64,
    bounding: u64,
    no_new: bool,
    /// Permitted capabilities of all other threads.
    others: u64,
}

fn await_held(tracer: &Tracer, kept: u64) -> Result<Held> {
    let started = Instant::now();
    loop {
        let held = held(tracer)?;
        let settled = held.main == kept && held.others & !kept == 0;
        if settled || started.elapsed() > PATIENCE {
            return Ok(held);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn held(tracer: &Tracer) -> Result<Held> {
    let pid = tracer.id();
    let mut held = Held::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let mask = |what| {
            let line = status.lines().find_map(|line| line.strip_prefix(what));
            u64::from_str_radix(line.context("no such line")?.trim(), 16).context("no mask")
        };
        if task.file_name().to_str() == Some(&pid.to_string()) {
            held.main = mask("CapPrm:")?;
            held.bounding = mask("CapBnd:")?;
            held.no_new = mask("NoNewPrivs:")? == 1;
        } else {
            held.others |= mask("CapPrm:")?;
        }
    }
    Ok(held)
}

/// The command runs as the named user, and ends with the trace although it belongs to another user;
/// an unknown user is reported before anything is attached.
pub(crate) fn user(attach: &str) -> Result<String> {
    let said = Path::new("/tmp/user.said");
    let command = "twtrace-vm whoami /tmp/user.said";
    let mut args = vec!["trace", "--attach", attach, "-c", command];
    args.extend(["--user", "10007"]);
    let tracer = Tracer::start(&args, Path::new("/tmp/user.out"))?;
    let started = Instant::now();
    let text = loop {
        ensure!(started.elapsed() < PATIENCE, "the command wrote nothing");
        match fs::read_to_string(said) {
            Ok(text) if text.ends_with('\n') => break text,
            _ => thread::sleep(Duration::from_millis(10)),
        }
    };
    let pid = text.split_whitespace().next().context("it wrote no PID")?;
    let code = tracer.stop()?;
    let started = Instant::now();
    while Path::new("/proc").join(pid).exists() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }

    let mut checks = Checks::default();
    let expected = format!("{pid} 10007 10007 [10007] / 0\n");
    checks.equal("whoami", text.as_str(), expected.as_str());
    checks.equal("exit code", code, 0);
    let left = Path::new("/proc").join(pid).exists();
    checks.equal("the command is left", left, false);
    let unknown = ["trace", "-c", "twtrace-vm true", "--user", "no-such-user"];
    let refused = Tracer::start(&unknown, Path::new("/tmp/user.out"));
    let refused = refused.map(drop).map_err(|error| error.to_string());
    checks.that(
        refused
            .as_ref()
            .is_err_and(|error| error.contains("exit status: 2")),
        || format!("an unknown user: {refused:?}"),
    );
    checks.end("as 10007".to_owned())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Whoami {
    file: PathBuf,
}

/// Writes pid, uid, gid, groups, HOME and NoNewPrivs to a file, as one line; then waits.
pub(crate) fn whoami(args: &Whoami) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let no_new = status
        .lines()
        .find_map(|line| line.strip_prefix("NoNewPrivs:"));
    let groups: Vec<_> = getgroups()?.iter().map(|group| group.as_raw()).collect();
    let line = format!(
        "{} {} {} {groups:?} {} {}\n",
        std::process::id(),
        getuid(),
        getgid(),
        std::env::var("HOME")?,
        no_new.context("no NoNewPrivs")?.trim()
    );
    fs::write(&args.file, line)?;
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}
