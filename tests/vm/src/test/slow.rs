//! A slow or stalled reader neither delays the end of a trace nor breaks its books.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read as _, pipe};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::tracer::{TWTRACE, Tracer};

/// Many times what the output's queue and the small ring hold.
const CONNECTIONS: u32 = 10_007;
const LOAD: Args = Args {
    ports: 397,
    hosts: 1,
};
const DURATION: Duration = Duration::from_secs(3);
/// The promise is 2 s; an emulated CPU that also makes the load may take longer. A trace that waits
/// for the reader would take minutes.
const GRACE: Duration = Duration::from_secs(15);
/// The tracer is killed after this.
const LIMIT: Duration = Duration::from_secs(40);
const SAID: &str = "/tmp/slow.err";
/// Exit code of a trace that did not show everything.
const INCOMPLETE: i32 = 3;

/// `--duration` ends a trace on time although it is read at 2.5 KB/s, and every line is accounted
/// for.
pub(crate) fn duration(attach: &str) -> Result<String> {
    let mut load = Load::start(&LOAD)?;
    // Enough to last for the whole trace.
    load.order(3 * CONNECTIONS)?;
    let (reader, writer) = small_pipe()?;
    let args = [
        "trace",
        "-o",
        "json",
        "--duration",
        "3s",
        "--attach",
        attach,
    ];
    let tracer = Tracer::with_streams(&args, writer.into(), File::create(SAID)?.into())?;
    let started = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let slow = read_slowly(reader, Arc::clone(&over));
    let code = tracer.end(LIMIT);
    let took = started.elapsed();
    over.store(true, Ordering::Relaxed);
    load.wait()?;
    let read = slow.join().expect("the reader does not panic")?;

    let mut checks = Checks::default();
    checks.that(code.is_ok() && took < DURATION + GRACE, || {
        format!("3 s took {took:?}: {code:?}")
    });
    let (detail, _) = accounted(&mut checks, &read)?;
    checks.equal("exit code", code.unwrap_or_default(), INCOMPLETE);
    checks.end(format!("{detail}, in {took:.1?}"))
}

/// SIGTERM ends a trace that nobody reads at all.
pub(crate) fn sigterm(attach: &str) -> Result<String> {
    let mut load = Load::start(&LOAD)?;
    let (mut reader, writer) = small_pipe()?;
    let mut args = vec!["trace", "-o", "json", "--attach", attach];
    args.extend(["--ring-bytes", "65536"]);
    let tracer = Tracer::with_streams(&args, writer.into(), File::create(SAID)?.into())?;
    load.run(CONNECTIONS)?;
    tracer.signal(Signal::SIGTERM)?;
    let started = Instant::now();
    let code = tracer.end(LIMIT);
    let took = started.elapsed();
    let mut read = Vec::new();
    reader.read_to_end(&mut read)?;

    let mut checks = Checks::default();
    checks.that(code.is_ok() && took < GRACE, || {
        format!("SIGTERM took {took:?}: {code:?}")
    });
    let (detail, lost) = accounted(&mut checks, &read)?;
    checks.that(lost > 0, || "the ring never was full".to_owned());
    checks.equal("exit code", code.unwrap_or_default(), INCOMPLETE);
    checks.end(format!("{detail}, in {took:.1?}"))
}

/// A recording into a pipe that nobody reads is cut off cleanly, and both `record` and `report` say
/// so.
pub(crate) fn recording(attach: &str) -> Result<String> {
    let (fifo, cut) = ("/tmp/slow.fifo", "/tmp/slow.twt");
    mkfifo(fifo, Mode::S_IRUSR | Mode::S_IWUSR).context("cannot make a FIFO")?;
    let reader = thread::spawn(move || File::open(fifo));
    let mut load = Load::start(&LOAD)?;
    let args = ["record", fifo, "--attach", attach];
    let null = || File::create("/dev/null");
    let tracer = Tracer::with_streams(&args, null()?.into(), File::create(SAID)?.into())?;
    let mut reader = reader.join().expect("the reader does not panic")?;
    load.run(CONNECTIONS)?;
    tracer.signal(Signal::SIGTERM)?;
    let started = Instant::now();
    let code = tracer.end(LIMIT);
    let took = started.elapsed();
    let mut read = Vec::new();
    reader.read_to_end(&mut read)?;
    fs::write(cut, &read)?;
    fs::remove_file(fifo)?;
    let report = Command::new(TWTRACE)
        .args(["report", cut, "-o", "json"])
        .stdout(File::create("/tmp/slow.json")?)
        .status()?;
    let said = fs::read_to_string(SAID)?;

    let mut checks = Checks::default();
    checks.that(code.is_ok() && took < GRACE, || {
        format!("SIGTERM took {took:?}: {code:?}")
    });
    checks.equal("exit code", code.unwrap_or_default(), INCOMPLETE);
    checks.that(said.contains("are missing"), || format!("it said {said:?}"));
    checks.equal("exit code of report", report.code(), Some(INCOMPLETE));
    checks.end(format!(
        "{} bytes read of a recording, in {took:.1?}",
        read.len()
    ))
}

/// A pipe that a few lines fill.
fn small_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = pipe()?;
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4_096)).context("cannot make a pipe small")?;
    Ok((reader, writer))
}

/// Reads 2.5 KB/s until the trace is over, then the rest at once.
fn read_slowly(
    mut reader: PipeReader,
    over: Arc<AtomicBool>,
) -> JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        let mut some = [0; 250];
        while !over.load(Ordering::Relaxed) {
            let read = reader.read(&mut some)?;
            all.extend_from_slice(&some[..read]);
            thread::sleep(Duration::from_millis(100));
        }
        reader.read_to_end(&mut all)?;
        Ok(all)
    })
}

/// Every event seen was read, cut off (according to stderr) or lost in the ring, and every line
/// read is complete.
fn accounted(checks: &mut Checks, read: &[u8]) -> Result<(String, u64)> {
    let said = fs::read_to_string(SAID)?;
    let text = std::str::from_utf8(read)?;
    let lines = text.lines().count() as u64;
    let whole = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
    checks.equal(
        "whole lines",
        text.lines().filter(whole).count() as u64,
        lines,
    );
    let cut = number_before(&said, " lines").unwrap_or(0);
    let refused = number_before(&said, " refusal").unwrap_or(0);
    let seen = number_before(&said, " ends").unwrap_or(0) + refused;
    let lost = number_before(&said, " (ring").unwrap_or(0);
    checks.that(cut > 0 && seen > 0, || format!("it said {said:?}"));
    // The summary is a line, too.
    checks.equal("read, cut and lost", lines + cut + lost, seen + 1);
    let detail = format!("{seen} events, {lines} lines read, {cut} cut off, {lost} lost");
    Ok((detail, lost))
}

/// 10007 in `… 10,007 ends …`.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let before = text.split(word).next().filter(|before| *before != text)?;
    let digits = before
        .rsplit(|one: char| !one.is_ascii_digit() && one != ',')
        .next()?;
    digits.replace(',', "").parse().ok()
}
