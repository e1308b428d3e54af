//! The command line as people and scripts use it: the program itself is run.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/program.rs"]
mod program;
#[expect(dead_code, reason = "the other golden tests use the rest")]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

use support::golden;

const ESCAPE: char = '\x1b';

fn twtrace(arguments: &[&str]) -> Command {
    let mut command = program::twtrace();
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    twtrace(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn recording(name: &str) -> String {
    golden(name).display().to_string()
}

/// With this on its stdin.
fn fed(arguments: &[&str], bytes: &[u8]) -> Output {
    let mut child = piped(arguments);
    let mut stdin = child.stdin.take().unwrap();
    // Who reads no further closes the pipe.
    let _ = stdin.write_all(bytes);
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn piped(arguments: &[&str]) -> Child {
    twtrace(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// One line, one hint, exit code 2, and no data.
fn refused(output: &Output, line: &str, hint: &str) {
    let said = stderr(output);
    let lines: Vec<_> = said.lines().collect();
    let [first, second] = lines[..] else {
        panic!("not one line and one hint: {said}");
    };
    assert!(first.starts_with(&format!("twtrace: {line}")), "{said}");
    let hinted = second.strip_prefix("hint: ").unwrap_or_default();
    assert!(hinted.contains(hint), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(stdout(output), "");
}

/// Both ends of a terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let pty = openpty(None, None).unwrap();
    (pty.master, pty.slave)
}

#[test]
fn without_utf_8_text_is_ascii_and_data_is_as_ever() {
    let file = recording("v2.twtrace");
    let said = |locale: &str, arguments: &[&str]| {
        let command = [&["report", &file, "--utc"], arguments].concat();
        let output = twtrace(&command).env("LC_ALL", locale).output().unwrap();
        stdout(&output)
    };
    let (with, without) = (said("C.UTF-8", &[]), said("C", &[]));
    assert!(with.contains(" · ") && without.contains(" | "));
    assert!(without.is_ascii(), "{without}");
    let columns = |text: &str| {
        let lines = text.lines().map(|line| line.chars().count());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(columns(&with), columns(&without));
    for format in ["csv", "json"] {
        let arguments = ["-o", format];
        assert_eq!(said("C.UTF-8", &arguments), said("C", &arguments));
    }
}

#[test]
fn a_mistake_is_one_line_and_one_hint() {
    let v2 = recording("v2.twtrace");
    for (arguments, line, hint) in [
        (
            &["trace", "--color", "red"][..],
            "invalid value 'red' for '--color <WHEN>'",
            "auto, always, never",
        ),
        (
            &["report", &v2, "--fields", "reasn"],
            "there is no field \"reasn\"",
            "did you mean reason?",
        ),
        (
            &["hist", "--fields", "colour"],
            "there is no field \"colour\"",
            "there are: ",
        ),
        (
            &["hist", "--by", "per"],
            "invalid value 'per'",
            "did you mean peer?",
        ),
        (
            &["tracee"],
            "unrecognized subcommand 'tracee'",
            "did you mean trace?",
        ),
        (
            &["trace", "-p", "42"],
            "cannot filter by pid: a TIME_WAIT socket has no process",
            "--cgroup and --uid",
        ),
        (
            &["ports", "--pid"],
            "cannot filter by pid",
            "--cgroup and --uid",
        ),
        (
            &["conflicts", "--fail-on", "pressure"],
            "invalid value 'pressure'",
            "refused, stuck",
        ),
        (
            &["ports", "--fail-on", "stuck"],
            "invalid value 'stuck'",
            "failure, pressure",
        ),
        (
            &["report", &v2, "--fail-on", "stuck"],
            "--fail-on stuck is found by --conflicts only",
            "add --conflicts",
        ),
        (
            &["report", &v2, "--conflicts", "--fail-on", "failure"],
            "--fail-on failure is found by --ports only",
            "refused and stuck",
        ),
        (
            &["report", &v2, "--ports", "--fail-on", "refused"],
            "--fail-on refused is found by --conflicts only",
            "failure and pressure",
        ),
        (
            &["report", &v2, "--ports", "--what-if", "recycle"],
            "--what-if is answered by --conflicts only",
            "add --conflicts",
        ),
        (
            &["top", "--batch", "--replay", "/nonexistent"],
            "cannot read /nonexistent: No such file or directory",
            "twtrace record",
        ),
    ] {
        refused(&run(arguments), line, hint);
    }
}

#[cfg(feature = "check")]
#[test]
fn a_mistyped_scenario_is_answered_with_the_nearest() {
    refused(
        &run(&["check", "netns-exitt"]),
        "there is no scenario netns-exitt",
        "did you mean netns-exit?",
    );
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_else() {
    const FILE: &str = "/nonexistent/file";
    for arguments in [
        &["record", FILE][..],
        &["hist", "--hgrm", FILE],
        &["trace", "--ready-file", FILE],
        &["report", &recording("v2.twtrace"), "--hgrm", FILE],
    ] {
        let line = "cannot write /nonexistent/file: No such file or directory";
        refused(&run(arguments), line, "the directory must exist");
    }
}

/// Where nothing may be traced, an old recording stays as it was.
#[test]
fn what_cannot_begin_replaces_no_file() {
    let path = std::env::temp_dir().join(format!("twtrace-kept-{}", std::process::id()));
    fs::write(&path, "precious").unwrap();
    let output = run(&["record", "--btf", "/nonexistent", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    let output = run(&["record", "--btf", "/nonexistent", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!path.exists());
}

#[cfg(feature = "check")]
#[test]
fn a_check_that_cannot_run_announces_nothing() {
    let output = run(&["check", "--btf", "/nonexistent"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.starts_with("twtrace: ") && said.lines().count() <= 2,
        "{said}"
    );
}

#[test]
fn a_recording_neither_goes_to_a_terminal_nor_comes_from_one() {
    let (_master, slave) = terminal();
    let output = twtrace(&["report", "-"]).stdin(slave).output().unwrap();
    refused(
        &output,
        "cannot read the recording: stdin is a terminal",
        "twtrace record - | twtrace report -",
    );
    let (_master, slave) = terminal();
    let output = twtrace(&["doctor", "--read", "-"])
        .stdin(slave)
        .output()
        .unwrap();
    refused(
        &output,
        "cannot read the facts: stdin is a terminal",
        "doctor --facts",
    );
    let (_master, slave) = terminal();
    let mut child = twtrace(&["record", "-"])
        .stdout(slave)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].ends_with("cannot write a recording to stdout: it is a terminal"),
        "{said}"
    );
    assert!(lines[1].starts_with("hint: name a file"), "{said}");
}

#[test]
fn a_pipe_reads_like_a_file() {
    for name in ["v1", "v2", "v3", "v4", "names"] {
        let file = recording(&format!("{name}.twtrace"));
        let bytes = fs::read(&file).unwrap();
        for view in [&["--json"][..], &["--hist"], &["-o", "csv"]] {
            let of_file = run(&[&["report", &file], view].concat());
            let of_pipe = fed(&[&["report", "-"], view].concat(), &bytes);
            assert_eq!(stdout(&of_pipe), stdout(&of_file), "{name} {view:?}");
            assert_eq!(
                of_pipe.status.code(),
                of_file.status.code(),
                "{name} {view:?}"
            );
        }
    }
    let file = recording("v4.twtrace");
    let frames = ["--batch", "--interval", "5s"];
    let of_file = run(&[&["top", "--replay", &file], &frames[..]].concat());
    let of_pipe = fed(
        &[&["top", "--replay", "-"], &frames[..]].concat(),
        &fs::read(&file).unwrap(),
    );
    assert_eq!(stdout(&of_pipe), stdout(&of_file));
    assert!(!of_file.stdout.is_empty());
}

#[test]
fn a_pipe_that_ends_early_shows_all_up_to_there() {
    let whole = fs::read(recording("v2.twtrace")).unwrap();
    let path = std::env::temp_dir().join(format!("twtrace-cut-pipe-{}", std::process::id()));
    let mut most = 0;
    for length in [whole.len() - 1, whole.len() - 40, whole.len() / 2] {
        fs::write(&path, &whole[..length]).unwrap();
        let of_file = run(&["report", path.to_str().unwrap(), "--json"]);
        let of_pipe = fed(&["report", "-", "--json"], &whole[..length]);
        assert_eq!(of_pipe.status.code(), Some(3), "cut at {length}");
        assert_eq!(
            stderr(&of_pipe),
            "warning: the recording was cut; everything up to the cut is shown\n"
        );
        assert_eq!(stdout(&of_pipe), stdout(&of_file), "cut at {length}");
        assert!(stdout(&of_pipe).contains("\"cut\":true"));
        most = most.max(stdout(&of_pipe).lines().count());
    }
    fs::remove_file(&path).unwrap();
    assert!(most > 2, "no events were shown");
    let nothing = fed(&["report", "-"], b"");
    refused(
        &nothing,
        "stdin is not a recording of twtrace: it is empty",
        "twtrace record",
    );
}

/// `ssh HOST twtrace record - | twtrace report -`: lines come while it is recorded, and Ctrl-C,
/// which both ends get, takes neither the rest nor the summary.
#[test]
fn a_pipe_is_shown_as_it_comes_and_read_to_its_end() {
    let bytes = fs::read(recording("v2.twtrace")).unwrap();
    let mut command = twtrace(&["report", "-", "--json"]);
    let mut child = heedful(&mut command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    // All but the end marker, which is 16 bytes of head and its payload.
    let (first, last) = bytes.split_at(bytes.len() - 20);
    stdin.write_all(first).unwrap();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"event\""), "{line}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    stdin.write_all(last).unwrap();
    drop(stdin);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"event\":\"summary\""), "{rest}");
    assert!(rest.contains("\"cut\":false"), "{rest}");
    assert!(child.wait().unwrap().code().is_some(), "it was killed");
}

/// The second Ctrl-C ends it, whoever still writes.
#[test]
fn ctrl_c_twice_ends_the_reading_of_a_pipe() {
    let mut command = twtrace(&["report", "-"]);
    let mut child = heedful(&mut command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(&fs::read(recording("v2.twtrace")).unwrap())
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stdin);
}

/// Whoever runs the tests may ignore SIGINT, and what is started then does, too.
fn heedful(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    let heed = || {
        // SAFETY: the default is no handler.
        unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }?;
        Ok(())
    };
    // SAFETY: signal(2) is all that is called between fork and exec.
    unsafe { command.pre_exec(heed) }
}

fn facts() -> String {
    recording("doctor/6.1.facts.json")
}

/// Text views, each of which has something to colour.
fn views() -> Vec<Vec<String>> {
    let [v2, v3] = ["v2", "v3"].map(|name| recording(&format!("{name}.twtrace")));
    let v1 = recording("v1.twtrace");
    let lines = [
        format!("doctor --read {}", facts()),
        format!("report {v1}"),
        format!("report {v1} --hist"),
        format!("report {v1} --hist --by peer"),
        format!("report {v2} --conflicts"),
        format!("report {v3} --ports"),
    ];
    let words = |line: &String| line.split(' ').map(str::to_owned).collect();
    lines.iter().map(words).collect()
}

#[test]
fn colour_is_where_it_is_asked_for_and_changes_no_letter() {
    for view in views() {
        let view: Vec<_> = view.iter().map(String::as_str).collect();
        let of = |color| stdout(&run(&[&view[..], &["--color", color]].concat()));
        let [auto, never, always] = ["auto", "never", "always"].map(of);
        assert!(!auto.contains(ESCAPE) && auto == never, "{view:?}");
        assert!(always.contains(ESCAPE), "{view:?}");
        let stripped = anstream::adapter::strip_str(&always).to_string();
        assert_eq!(stripped, auto, "{view:?}");
        for line in always.lines() {
            assert_eq!(
                line.matches("\x1b[0m").count() > 0,
                line.contains(ESCAPE),
                "{line}"
            );
        }
        let json = run(&[&view[..], &["--json", "--color", "always"]].concat());
        assert!(!stdout(&json).contains(ESCAPE), "{view:?}");
        if view[0] == "report" {
            let csv = run(&[&view[..], &["-o", "csv", "--color", "always"]].concat());
            assert!(!(stdout(&csv) + &stderr(&csv)).contains(ESCAPE), "{view:?}");
        }
    }
}

/// What is shown on a terminal.
fn on_terminal(command: &mut Command) -> String {
    let (master, slave) = terminal();
    let mut child = command.stdout(slave).spawn().unwrap();
    // The command has the other end open, too.
    command.stdout(Stdio::null());
    let mut shown = Vec::new();
    // It ends with EIO once nobody has the other end open.
    let _ = fs::File::from(master).read_to_end(&mut shown);
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    let doctor = ["doctor", "--read", &facts()];
    let coloured = |command: &mut Command| on_terminal(command).contains(ESCAPE);
    assert!(coloured(&mut twtrace(&doctor)));
    assert!(!coloured(twtrace(&doctor).env("NO_COLOR", "1")));
    assert!(coloured(twtrace(&doctor).env("NO_COLOR", "")));
    assert!(!coloured(twtrace(&doctor).env("TERM", "dumb")));
    assert!(!coloured(twtrace(&doctor).args(["--color", "never"])));
    assert!(coloured(
        twtrace(&doctor)
            .args(["--color", "always"])
            .env("NO_COLOR", "1")
    ));
    assert!(!coloured(twtrace(&doctor).arg("--json")));
    let forced = twtrace(&doctor)
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(stdout(&forced).contains(ESCAPE));
}

#[test]
fn help_obeys_color_wherever_it_stands() {
    for (arguments, coloured) in [
        (&["--help", "--color", "always"][..], true),
        (&["trace", "--color=always", "-h"], true),
        (&["trace", "-h"], false),
    ] {
        assert_eq!(
            stdout(&run(arguments)).contains(ESCAPE),
            coloured,
            "{arguments:?}"
        );
    }
    let shown = on_terminal(&mut twtrace(&["--color", "never", "--help"]));
    assert!(shown.contains("Examples:") && !shown.contains(ESCAPE));
}

#[test]
fn versions_are_one_line_or_several() {
    let short = stdout(&run(&["-V"]));
    assert_eq!(short, format!("twtrace {}\n", env!("CARGO_PKG_VERSION")));
    let long = stdout(&run(&["--version"]));
    assert!(long.starts_with(&short));
    for (line, start) in
        long.lines()
            .skip(1)
            .zip(["commit: ", "target: ", "eBPF object: sha256 ", "features: "])
    {
        let said = line.strip_prefix(start).unwrap_or_default();
        assert!(!said.is_empty(), "{long}");
    }
    assert_eq!(long.lines().count(), 5);
    assert!(long.contains(", ABI "));
    for more in [&["--version", "--verbose"][..], &["--verbose", "--version"]] {
        assert_eq!(stdout(&run(more)), long);
    }
}

#[test]
fn quiet_says_nothing_of_what_is_as_it_should_be() {
    let file = recording("v3.twtrace");
    let csv = ["report", &file, "-o", "csv"];
    let [plain, quiet] = [&[][..], &["-q"]].map(|more| run(&[&csv[..], more].concat()));
    assert_eq!(stdout(&quiet), stdout(&plain));
    assert_eq!(plain.status.code(), quiet.status.code());
    assert!(
        stderr(&plain).contains("kernel counters"),
        "{}",
        stderr(&plain)
    );
    if plain.status.success() {
        assert_eq!(stderr(&quiet), "");
    }
    let whole = fs::read(recording("v2.twtrace")).unwrap();
    let cut = fed(
        &["report", "-", "-q", "-o", "csv"],
        &whole[..whole.len() - 1],
    );
    assert!(stderr(&cut).contains("warning: the recording was cut"));
    assert!(run(&["report", &file, "-q", "-v"]).status.code() == Some(2));
    assert_eq!(
        stdout(&run(&["report", &file, "-v"])),
        stdout(&run(&["report", &file]))
    );
}

#[test]
fn json_is_short_for_the_option() {
    let file = recording("v2.twtrace");
    for view in [&[][..], &["--hist"], &["--conflicts"]] {
        let of = |more: &[&str]| stdout(&run(&[&["report", &file], view, more].concat()));
        assert_eq!(of(&["--json"]), of(&["-o", "json"]));
        assert!(of(&["--json"]).starts_with('{'));
    }
    for command in ["trace", "hist", "conflicts", "ports", "doctor"] {
        let both = run(&[command, "--json", "-o", "json"]);
        refused(
            &both,
            "the argument '--json' cannot be used with '--output",
            &format!("twtrace {command} --help"),
        );
    }
}

#[test]
fn fields_are_listed_without_a_trace() {
    for command in ["trace", "hist", "conflicts", "ports"] {
        let output = run(&[command, "--fields", "help"]);
        assert!(output.status.success());
        assert!(
            stdout(&output)
                .lines()
                .any(|line| line.starts_with("reason"))
        );
    }
    let file = recording("v2.twtrace");
    for arguments in [
        &["report", "--fields", "help"][..],
        &["report", &file, "--fields", "help"],
    ] {
        assert!(run(arguments).status.success());
    }
    let line = "no recording is named: <FILE> is missing";
    refused(
        &run(&["report", "--fields", "reason"]),
        line,
        "twtrace report --help",
    );
    let line = "the following required arguments were not provided: <FILE>";
    refused(&run(&["report", "--hist"]), line, "twtrace report --help");
}
