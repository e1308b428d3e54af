//! The real program on a real terminal, which must be given back however it ends.

#[path = "../support/program.rs"]
mod program;
#[path = "../support/pty.rs"]
mod pty;

use std::fs;

use nix::sys::signal::Signal;
use program::{TWTRACE, program, twtrace};
use pty::Pty;

use super::support::golden;

/// A recording on the screen.
fn top() -> Pty {
    let mut command = twtrace();
    command.args(["top", "--utc", "--speed", "1000", "--replay"]);
    let mut pty = Pty::start(command.arg(golden("names.twtrace")));
    pty.until_taken();
    pty.until("twtrace top");
    pty
}

#[test]
fn q_quits_and_prints_the_books() {
    let mut pty = top();
    pty.until("END OF RECORDING");
    pty.press("q");
    let (status, output) = pty.finish();
    // The recording tells of a loss.
    assert_eq!(status.code(), Some(3));
    let after = output.rsplit("\x1b[?1049l").next().unwrap();
    assert!(after.contains("8 ends"), "{after:?}");
}

#[test]
fn keys_are_heard() {
    let mut pty = top();
    pty.press("?");
    pty.until("shift-tab");
    pty.press(" \t");
    pty.until("▸");
    pty.press("\x03");
    pty.finish();
}

#[test]
fn every_signal_gives_the_terminal_back() {
    for signal in [
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
    ] {
        let pty = top();
        pty.signal(signal);
        let (status, _) = pty.finish();
        assert!(status.code().is_some(), "{signal} was not waited for");
    }
}

/// As `nohup` does it, and a shell for what runs in the background.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (name, signal, other) in [
        ("HUP", Signal::SIGHUP, Signal::SIGTERM),
        ("INT", Signal::SIGINT, Signal::SIGHUP),
        ("TERM", Signal::SIGTERM, Signal::SIGINT),
    ] {
        let ignoring = format!("trap '' {name}; exec \"$0\" \"$@\"");
        let mut command = program("/bin/sh");
        command.args(["-c", &ignoring, TWTRACE]);
        command.args(["top", "--utc", "--speed", "1000", "--replay"]);
        let mut pty = Pty::start(command.arg(golden("names.twtrace")));
        pty.until_taken();
        pty.signal(signal);
        pty.press("?");
        pty.until("shift-tab");
        pty.signal(other);
        let (status, _) = pty.finish();
        assert!(status.code().is_some(), "{other} was not waited for");
    }
}

#[test]
fn it_stops_and_goes_on_as_any_other_program() {
    let mut pty = top();
    for stop in [None, Some(Signal::SIGTSTP)] {
        match stop {
            None => pty.press("\x1a"),
            Some(signal) => pty.signal(signal),
        }
        pty.until_stopped();
        pty.signal(Signal::SIGCONT);
        pty.until_taken();
    }
    pty.press("q");
    pty.finish();
}

#[test]
fn an_error_is_told_on_the_terminal_as_it_was() {
    let whole = fs::read(golden("v2.twtrace")).unwrap();
    let path = std::env::temp_dir().join(format!("twtrace-damaged-{}", std::process::id()));
    // In the last block, which is read only after the screen has been taken.
    let mut damaged = whole.clone();
    let at = damaged.len() - 40;
    damaged[at] ^= 0xff;
    fs::write(&path, &damaged).unwrap();
    let mut command = twtrace();
    let mut pty = Pty::start(
        command
            .args(["top", "--speed", "50", "--replay"])
            .arg(&path),
    );
    pty.until_taken();
    let (status, output) = pty.finish();
    fs::remove_file(&path).unwrap();
    assert_eq!(status.code(), Some(2));
    let after = output.rsplit("\x1b[?1049l").next().unwrap();
    assert!(after.contains("twtrace: "), "{after:?}");
}

#[test]
fn what_is_no_terminal_gets_one_line_and_a_hint() {
    let output = twtrace().arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("stdout is no terminal"));
    assert!(lines[1].starts_with("hint: --batch"));
    assert!(output.stdout.is_empty());
}
