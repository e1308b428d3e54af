//! A running `twtrace`, and its JSON output.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) const TWTRACE: &str = "/bin/twtrace";
const ATTACH_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
    /// Time from exec to attached.
    pub(crate) attached_in: Duration,
}

impl Tracer {
    /// Starts `twtrace` with these arguments and returns once it is attached. Its stdout goes to a
    /// new file.
    pub(crate) fn start(args: &[&str], stdout: &Path) -> Result<Self> {
        Self::with_stdout(args, File::create(stdout)?.into())
    }

    /// The same with any kind of stdout.
    pub(crate) fn with_stdout(args: &[&str], stdout: Stdio) -> Result<Self> {
        Self::with_streams(args, stdout, Stdio::inherit())
    }

    /// The same with any kind of stdout and stderr.
    pub(crate) fn with_streams(args: &[&str], stdout: Stdio, stderr: Stdio) -> Result<Self> {
        let ready = Path::new("/tmp/ready");
        if ready.exists() {
            fs::remove_file(ready)?;
        }
        let started = Instant::now();
        let mut child = Command::new(TWTRACE)
            .args(args)
            .arg("--ready-file")
            .arg(ready)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {TWTRACE}"))?;
        while !ready.exists() {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "twtrace {} ended with {status} before it attached",
                    args.join(" ")
                );
            }
            if started.elapsed() > ATTACH_LIMIT {
                child.kill()?;
                bail!("twtrace {} did not attach", args.join(" "));
            }
            thread::sleep(POLL);
        }
        Ok(Self {
            child,
            attached_in: started.elapsed(),
        })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to twtrace"))
    }

    /// Sends SIGINT, as a person would, and returns the exit code.
    pub(crate) fn stop(self) -> Result<i32> {
        self.stop_by(Signal::SIGINT)
    }

    /// Sends a signal and returns the exit code.
    pub(crate) fn stop_by(self, signal: Signal) -> Result<i32> {
        self.signal(signal)?;
        self.end(END_LIMIT)
    }

    /// Waits until it exits and returns the exit code; kills it after `limit`.
    pub(crate) fn end(mut self, limit: Duration) -> Result<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return status.code().context("twtrace was killed");
            }
            if started.elapsed() > limit {
                self.child.kill()?;
                self.child.wait()?;
                bail!("twtrace did not end within {limit:?}");
            }
            thread::sleep(POLL);
        }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill9(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// PID of the tracer.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, what: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .with_context(|| format!("no {what}"))?
            .parse()
            .context("memory is not a number")
    }

    /// Peak resident memory in KiB.
    pub(crate) fn peak_kib(&self) -> Result<u64> {
        self.memory_kib("VmHWM:")
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(self.threads()?.iter().map(|(_, cpu)| *cpu).sum())
    }

    /// CPU time of its threads with this name.
    pub(crate) fn cpu_of(&self, thread: &str) -> Result<Duration> {
        let threads = self.threads()?;
        let named = threads.iter().filter(|(name, _)| name == thread);
        Ok(named.map(|(_, cpu)| *cpu).sum())
    }

    /// Names and CPU times of its threads.
    pub(crate) fn threads(&self) -> Result<Vec<(String, Duration)>> {
        let mut threads = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?;
            let stat = fs::read_to_string(task.join("schedstat"))?;
            let running: u64 = stat.split(' ').next().unwrap_or_default().parse()?;
            threads.push((name.trim().to_owned(), Duration::from_nanos(running)));
        }
        Ok(threads)
    }
}

/// Output of `-o json`: the events and the summary.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) events: Vec<Value>,
    pub(crate) summary: Value,
}

impl Written {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path)?)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut events = Vec::new();
        for line in text.lines() {
            let value: Value =
                serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            events.push(value);
        }
        let summary = events.pop().context("twtrace wrote nothing")?;
        if summary["event"] != "summary" {
            bail!("the last line is not a summary: {summary}");
        }
        Ok(Self { events, summary })
    }

    /// A number of the summary by its path, such as `/lost/ring`.
    pub(crate) fn number(&self, path: &str) -> Result<u64> {
        let value = self.summary.pointer(path).and_then(Value::as_u64);
        value.with_context(|| format!("the summary has no number {path}: {}", self.summary))
    }

    /// Total number of ends by reason.
    pub(crate) fn totals(&self) -> Result<Vec<(String, u64)>> {
        let totals = self.summary["totals"].as_object().context("no totals")?;
        let number = |(reason, count): (&String, &Value)| Some((reason.clone(), count.as_u64()?));
        Ok(totals.iter().filter_map(number).collect())
    }
}
