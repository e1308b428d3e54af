//! A program on a terminal, and what became of the terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigHandler, Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW: &str = "\x1b[?25h";

pub(crate) struct Pty {
    master: File,
    slave: OwnedFd,
    child: Child,
    before: Termios,
    /// All that was written so far. As bytes: a read may end within a character.
    output: Vec<u8>,
    /// Behind what was waited for last: the next may come with it in one read.
    heard: usize,
}

/// Whoever runs the tests may ignore signals, and what ignores one at the start goes on to do so.
fn heed() -> io::Result<()> {
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGTSTP,
    ] {
        // SAFETY: the default is no handler.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    Ok(())
}

impl Pty {
    /// Starts a program on a terminal of 80x24.
    pub(crate) fn start(command: &mut Command) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let side = || Stdio::from(slave.try_clone().unwrap());
        let before = tcgetattr(&slave).unwrap();
        command
            .env("TERM", "xterm-256color")
            .stdin(side())
            .stdout(side())
            .stderr(side());
        // SAFETY: signal(2) is all that is called between fork and exec.
        unsafe { command.pre_exec(heed) };
        let child = command.spawn().unwrap();
        Self {
            master: master.into(),
            slave,
            child,
            before,
            output: Vec::new(),
            heard: 0,
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until this was written after what was waited for last.
    pub(crate) fn until(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let found = |new: &[u8]| new.windows(text.len()).position(|at| at == text.as_bytes());
        loop {
            let new = &self.output[self.heard..];
            if let Some(at) = found(new) {
                self.heard += at + text.len();
                return;
            }
            let new = String::from_utf8_lossy(new);
            assert!(Instant::now() < deadline, "no {text:?} in {new:?}");
            self.read();
        }
    }

    /// Waits until the screen was taken over.
    pub(crate) fn until_taken(&mut self) {
        self.until(ENTER);
        assert!(!self.is_as_before(), "keys are not read one by one");
    }

    /// Waits until it has stopped, and looks whether the terminal was given back.
    pub(crate) fn until_stopped(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
        while !matches!(
            waitpid(self.pid(), Some(flags)),
            Ok(WaitStatus::Stopped(..))
        ) {
            assert!(Instant::now() < deadline, "it did not stop");
            self.read();
        }
        self.assert_given_back();
    }

    /// Waits for the end, and looks whether the terminal was given back.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end");
        };
        while self.read() {}
        self.assert_given_back();
        (status, self.text())
    }

    fn assert_given_back(&mut self) {
        while self.read() {}
        let output = self.text();
        let last = |what: &str| output.rfind(what);
        assert!(last(LEAVE) > last(ENTER), "the screen was not left");
        assert!(last(SHOW) > last(ENTER), "the cursor is hidden");
        assert!(self.is_as_before(), "keys are still read one by one");
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    fn is_as_before(&self) -> bool {
        tcgetattr(&self.slave).unwrap() == self.before
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Reads what was written meanwhile; whether there was anything.
    fn read(&mut self) -> bool {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(50_u16)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4_096];
        let read = self.master.read(&mut bytes).unwrap_or(0);
        self.output.extend_from_slice(&bytes[..read]);
        read > 0
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It is over, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
