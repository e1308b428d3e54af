//! One run of QEMU: its arguments, its output, its end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::image::{self, Extra, Programs};
use super::package::Kernel;
use super::verdict::{self, Verdict};
use crate::apt;

const QEMU: &str = "qemu-system-x86_64";
/// Kernels test at boot whether the timer's interrupts come in time, and panic if not ("IO-APIC +
/// timer doesn't work"): a busy host is no broken timer.
const KERNEL_WORDS: &str =
    "console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on no_timer_check";
const POLL: Duration = Duration::from_millis(100);

/// How the VM's instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// KVM where it is proven to work with the kernel, else TCG.
    Best,
    Kvm,
    Tcg,
    /// TCG on one CPU whose clock counts instructions: a ns each.
    Icount,
}

impl Accel {
    /// All CPUs in one thread, one after another: with a thread for each, a CPU may run an int3
    /// that another has just patched away (ftrace, static keys), and the kernel dies of it
    /// ("Oops: int3"). That is risked only where time is measured.
    fn tcg(self) -> &'static str {
        match self {
            Self::Tcg => "tcg,thread=multi",
            _ => "tcg,thread=single",
        }
    }
}

/// What a VM is given.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) memory_mb: u32,
    pub(crate) cpus: u32,
    /// How many could be added: per-CPU maps have room for them.
    pub(crate) more_cpus: u32,
    pub(crate) accel: Accel,
    pub(crate) timeout: Duration,
    pub(crate) command: Vec<String>,
    pub(crate) extra: Vec<Extra>,
}

/// What came out of a VM. Its files live as long as this.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) elapsed: Duration,
    dir: TempDir,
}

impl Outcome {
    /// Unpacks what the command left in /out and returns the folder.
    pub(crate) fn files(&self) -> Result<PathBuf> {
        let folder = self.dir.path().join("out");
        self.keep(&folder)?;
        Ok(folder)
    }

    /// Unpacks it there.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        let archive = fs::File::open(self.dir.path().join("out.tar"))?;
        tar::Archive::new(archive)
            .unpack(folder)
            .context("cannot read the VM's files")
    }
}

/// Installs QEMU if it is missing.
pub(crate) fn ready() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the VMs are x86-64 and this machine is not"
    );
    if which::which(QEMU).is_err() {
        apt::install(&["qemu-system-x86"])?;
    }
    Ok(())
}

/// Boots a kernel, hands on each line of the command's output, and waits for the end.
pub(crate) fn boot(
    kernel: &Kernel,
    programs: &Programs,
    setup: &Setup,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("twtrace-vm-").tempdir()?;
    let initrd = dir.path().join("initrd");
    image::write(&initrd, kernel, programs, &setup.command, &setup.extra)?;
    let console = dir.path().join("console");
    let started = Instant::now();
    let mut vm = Vm(command(kernel, setup, dir.path())
        .spawn()
        .with_context(|| format!("cannot start {QEMU}"))?);
    let output = vm.0.stdout.take().context("QEMU has no stdout")?;
    let ended = thread::scope(|scope| {
        scope.spawn(move || forward(output, line));
        vm.wait(&console, setup.timeout)
    });
    let log = read_lossy(&console);
    let verdict = ended
        .and_then(|()| verdict::read(&log))
        .with_context(|| tail(&log))?;
    Ok(Outcome {
        verdict,
        elapsed: started.elapsed(),
        dir,
    })
}

fn command(kernel: &Kernel, setup: &Setup, dir: &Path) -> Command {
    let mut qemu = Command::new(QEMU);
    qemu.args(["-machine", "pc", "-no-user-config", "-nodefaults"])
        .args(["-display", "none", "-no-reboot", "-net", "none"])
        .args(["-m", &setup.memory_mb.to_string()]);
    let smp = format!("{},maxcpus={}", setup.cpus, setup.cpus + setup.more_cpus);
    match setup.accel {
        Accel::Icount => qemu
            .args(["-accel", "tcg,thread=single", "-smp", "1"])
            .args(["-icount", "shift=0,sleep=off", "-cpu", "max,-cx16"]),
        Accel::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host", "-smp", &smp]),
        // Debian's 6.12 may die of a double fault after cmpxchg16b under TCG.
        Accel::Tcg | Accel::Best => qemu
            .args(["-accel", setup.accel.tcg(), "-cpu", "max,-cx16"])
            .args(["-smp", &smp]),
    };
    let mut words = KERNEL_WORDS.to_owned();
    if setup.accel == Accel::Icount {
        words += " mitigations=off tsc=reliable";
    }
    qemu.arg("-kernel")
        .arg(&kernel.vmlinuz)
        .arg("-initrd")
        .arg(dir.join("initrd"))
        .args(["-append", &words])
        .args(["-chardev", "stdio,id=output,signal=off"])
        .arg("-serial")
        .arg(format!("file:{}", dir.join("console").display()))
        .args(["-serial", "chardev:output", "-serial"])
        .arg(format!("file:{}", dir.join("out.tar").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    qemu
}

fn forward(output: impl Read, line: &mut (dyn FnMut(&str) + Send)) {
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
}

/// A running QEMU; killed if it is dropped before its end.
struct Vm(Child);

impl Vm {
    /// Waits until QEMU exits, the kernel is in trouble, or the time is up.
    fn wait(&mut self, console: &Path, timeout: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                let mut stderr = String::new();
                if let Some(mut pipe) = self.0.stderr.take() {
                    pipe.read_to_string(&mut stderr)?;
                }
                ensure!(
                    status.success(),
                    "QEMU ended with {status}: {}",
                    stderr.trim()
                );
                return Ok(());
            }
            let trouble = verdict::trouble(&read_lossy(console));
            if trouble.is_some() || started.elapsed() > timeout {
                self.kill();
            }
            match trouble {
                Some(trouble) => bail!("{trouble}"),
                None if started.elapsed() > timeout => {
                    bail!("the VM did not end within {} s", timeout.as_secs())
                }
                None => thread::sleep(POLL),
            }
        }
    }

    fn kill(&mut self) {
        // Either it has ended already, or this ends it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lossy(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end of the console, for the error message.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(25);
    format!(
        "the end of the console:\n  {}\n",
        lines[last..].join("\n  ")
    )
}
