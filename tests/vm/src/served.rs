//! A workload in a process of its own: it prints `ready`, then answers each number on stdin with a
//! number on stdout.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::namespace;

/// A running `twtrace-vm` workload.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Served {
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the workload")?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("the workload has no stdout")?;
        let mut served = Self {
            child,
            orders,
            answers: BufReader::new(answers),
        };
        if served.line()? != "ready" {
            bail!("the workload is not ready");
        }
        Ok(served)
    }

    /// PID of the workload.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Inode number of its network namespace.
    pub(crate) fn netns(&self) -> Result<u64> {
        let path = format!("/proc/{}/ns/net", self.id());
        Ok(std::fs::metadata(path)?.ino())
    }

    /// Mini-sockets alive in its network namespace, according to sockstat.
    pub(crate) fn mini_sockets(&self) -> Result<u64> {
        namespace::mini_sockets_of(&self.id().to_string())
    }

    /// Orders work without waiting for it.
    pub(crate) fn order(&mut self, number: u32) -> Result<()> {
        let orders = self.orders.as_mut().context("the workload has ended")?;
        writeln!(orders, "{number}").context("the workload has died")
    }

    /// Waits for the ordered work and returns the answer.
    pub(crate) fn answer(&mut self) -> Result<u64> {
        self.line()?
            .parse()
            .context("the workload failed, see above")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The workload exits when its stdin is closed.
        let _ = self.child.wait();
    }
}
