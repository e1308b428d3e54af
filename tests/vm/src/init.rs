//! PID 1: mounts file systems, loads modules, brings loopback up, runs the command, sends its files
//! and the verdict, and ends the VM.
//!
//! Output leaves by three serial lines: ttyS0 carries the kernel's log and ours with the verdict,
//! ttyS1 only the command's output, ttyS2 the files of /out as a tar stream.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use crate::loopback;

/// The command from xtask: its words, each terminated by NUL.
const COMMAND: &str = "/etc/twtrace-vm/command";
/// Paths of the modules, one per line, in loading order.
const MODULES: &str = "/etc/twtrace-vm/modules";
/// The command leaves files here for the host.
const OUT: &str = "/out";

/// File systems: type and mount point. All belong to this VM alone.
const MOUNTS: &[(&str, &str)] = &[
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("tmpfs", OUT),
];

/// Does PID 1's work, then reboots, which ends the VM (QEMU runs with -no-reboot).
pub(crate) fn boot() -> ! {
    let verdict = run();
    let line = match &verdict {
        Ok(0) => "verdict: pass 0".to_owned(),
        Ok(code) => format!("verdict: fail {code}"),
        Err(error) => format!("init: {error:#}\nverdict: fail 125"),
    };
    log(&line);
    if let Ok(serial) = File::open("/dev/ttyS0") {
        // Reboot even if the last bytes could not be drained.
        let _ = termios::tcdrain(&serial);
    }
    nix::unistd::sync();
    let error = reboot(RebootMode::RB_AUTOBOOT);
    log(&format!("init: cannot reboot: {error:?}"));
    std::process::exit(1)
}

fn run() -> Result<i32> {
    for (kind, path) in MOUNTS {
        fs::create_dir_all(path).with_context(|| format!("cannot create {path}"))?;
        mount(
            Some(*kind),
            *path,
            Some(*kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("cannot mount {kind} on {path}"))?;
    }
    load_modules()?;
    loopback::up().context("cannot bring lo up")?;
    let output = serial("/dev/ttyS1")?;
    let code = run_command(&output)?;
    termios::tcdrain(&output)?;
    send_files()?;
    Ok(code)
}

/// Opens a serial line in raw mode.
fn serial(path: &str) -> Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .read(true)
        .open(path)
        .with_context(|| format!("cannot open {path}"))?;
    let mut settings = termios::tcgetattr(file.as_fd())?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(file.as_fd(), termios::SetArg::TCSANOW, &settings)?;
    Ok(file)
}

fn load_modules() -> Result<()> {
    let list = fs::read_to_string(MODULES).with_context(|| format!("cannot read {MODULES}"))?;
    for path in list.lines() {
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => log(&format!("init: cannot load {path}: {error}")),
        }
    }
    Ok(())
}

/// Runs the command until it exits, and reaps orphans meanwhile.
fn run_command(output: &File) -> Result<i32> {
    let words = fs::read_to_string(COMMAND).with_context(|| format!("cannot read {COMMAND}"))?;
    let mut words = words.split_terminator('\0');
    let program = words.next().context("the image has no command")?;
    let child = Command::new(program)
        .args(words)
        .env("PATH", "/bin")
        .env("HOME", "/tmp")
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let child = Pid::from_raw(i32::try_from(child.id())?);
    loop {
        match wait()? {
            WaitStatus::Exited(pid, code) if pid == child => return Ok(code),
            WaitStatus::Signaled(pid, signal, _) if pid == child => {
                log(&format!("init: {program} was killed by {signal}"));
                return Ok(128 + signal as i32);
            }
            _ => {}
        }
    }
}

/// Sends the files of /out as a tar stream, an empty one if there are none.
fn send_files() -> Result<()> {
    let serial = serial("/dev/ttyS2")?;
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 16, &serial));
    archive
        .append_dir_all(".", Path::new(OUT))
        .context("cannot send the files of /out")?;
    archive.into_inner()?.flush()?;
    termios::tcdrain(&serial)?;
    Ok(())
}

/// Writes a line to the console; nothing can be done if even that fails.
fn log(line: &str) {
    let text = format!("\n{line}\n");
    let console = OpenOptions::new().write(true).open("/dev/ttyS0");
    match console {
        Ok(mut console) => drop(console.write_all(text.as_bytes())),
        Err(_) => drop(io::stderr().write_all(text.as_bytes())),
    }
}
