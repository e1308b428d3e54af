//! `top` shows each owner with exactly its mini-sockets, and its memory does not grow.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::owners::BY;
use crate::checks::Checks;
use crate::load::{Args, Load, MOST_SOCKETS};
use crate::say;
use crate::tenants::{TENANTS, Tenants};
use crate::tracer::{TWTRACE, Tracer};

const STDOUT: &str = "/tmp/top.txt";
/// The second round ends what the first left.
const ROUNDS: u16 = 2;

pub(crate) fn owners(attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    // Namespaces have a table of their own, which is checked below.
    for (by, name) in BY.into_iter().filter(|by| by.0 != "netns") {
        let tenants = Tenants::settle()?;
        let args = [
            "top", "--batch", "--by", by, "--size", "160x60", "--attach", attach,
        ];
        let tracer = Tracer::start(&args, Path::new(STDOUT))?;
        tenants.connect(ROUNDS)?;
        checks.equal("exit code", tracer.stop()?, 0);
        let last = last_frame()?;
        let made: u64 = TENANTS.iter().map(|one| u64::from(one.connections)).sum();
        for said in [
            format!("TIME_WAIT {made} "),
            "FIN_WAIT2 0 ".to_owned(),
            format!("({})", thousands(u64::from(ROUNDS) * made)),
            "lost 0".to_owned(),
        ] {
            let there = last.contains(&said);
            checks.that(there, || format!("no {said:?} in the last frame"));
        }
        for tenant in &TENANTS {
            let count = u64::from(tenant.connections);
            let there = figures(&last, name(tenant)).contains(&[count, count]);
            checks.that(there, || format!("no {count} of {}: {last}", name(tenant)));
        }
        for netns in ["shop", "bank"] {
            let of_netns = TENANTS.iter().filter(|tenant| tenant.netns == netns);
            let alive = of_netns.map(|tenant| u64::from(tenant.connections)).sum();
            let there = figures(&last, netns).contains(&[alive, 0]);
            checks.that(there, || format!("no {alive} alive in {netns}: {last}"));
        }
    }
    checks.end(format!("{} owners each", TENANTS.len()))
}

/// As many distinct connections as a test has time for, and some more that reopen them.
const SPREAD: Args = Args {
    ports: 4_096,
    hosts: 16,
};
const BEFORE: u32 = 70_003;
const AFTER: u32 = 70_003;
/// More than a million distinct ones.
const MILLION: Args = Args {
    ports: 20_000,
    hosts: 51,
};
const BEFORE_MILLION: u32 = 300_003;
const UP_TO_MILLION: u32 = 700_003;
/// How much more the allocator and the pages of maps may take.
const MORE_KIB: u64 = 2 * 1024;

pub(crate) fn soak(attach: &str) -> Result<String> {
    memory(&SPREAD, [BEFORE, AFTER], attach)
}

/// No two connections are alike, and all those of the last minute are alive at any time.
pub(crate) fn million() -> Result<()> {
    say(&memory(
        &MILLION,
        [BEFORE_MILLION, UP_TO_MILLION],
        "fentry",
    )?);
    Ok(())
}

/// Two batches of connections: the second takes no more memory than the first.
fn memory(spread: &Args, [first, second]: [u32; 2], attach: &str) -> Result<String> {
    let mut load = Load::start(spread)?;
    // The default follows tcp_max_tw_buckets of our namespace; the load raises only its own.
    let room = (2 * u32::from(spread.ports) * u32::from(spread.hosts)).min(MOST_SOCKETS);
    let room = room.to_string();
    let args = ["top", "--batch", "--max-sockets", &room, "--attach", attach];
    let tracer = Tracer::start(&args, Path::new(STDOUT))?;
    load.run(first)?;
    let before = (tracer.rss_kib()?, tracer.cpu()?);
    let took = load.run(second)?;
    let after = (tracer.rss_kib()?, tracer.cpu()?);
    let mut checks = Checks::default();
    checks.equal("exit code", tracer.stop()?, 0);
    checks.that(after.0 <= before.0 + MORE_KIB, || {
        format!("RSS grew from {} to {} KiB", before.0, after.0)
    });
    let last = last_frame()?;
    let births = format!("({})", thousands(u64::from(first + second)));
    checks.that(last.contains(&births), || {
        format!("no {births:?} in the last frame")
    });
    checks.that(last.contains("lost 0"), || {
        format!("something was lost: {last}")
    });
    let cpu = after.1.saturating_sub(before.1);
    checks.end(format!(
        "RSS {} KiB after {first} connections, {} KiB after {}; {} µs of CPU each, in {:.0} s",
        before.0,
        after.0,
        first + second,
        Duration::from_secs_f64(cpu.as_secs_f64() / f64::from(second)).as_micros(),
        took.as_secs_f64()
    ))
}

/// `-n` limits the number of frames, and no line of them is wider than the screen.
pub(crate) fn frames(attach: &str) -> Result<String> {
    let output = std::process::Command::new(TWTRACE)
        .args(["top", "--batch", "-n", "3", "--interval", "300ms"])
        .args(["--size", "80x24", "--attach", attach])
        .output()
        .context("cannot start twtrace top")?;
    let text = String::from_utf8(output.stdout)?;
    let mut checks = Checks::default();
    checks.equal("exit code", output.status.code(), Some(0));
    checks.equal("frames", text.matches("twtrace top").count(), 3);
    // The summary that follows the last frame has lines of any width.
    let lines = text
        .split("twtrace top")
        .skip(1)
        .flat_map(|frame| frame.lines().skip(1).take(23));
    let most = lines.map(|line| line.chars().count()).max();
    checks.that(most <= Some(80), || format!("a line is too long: {text}"));
    checks.end("3 frames".to_owned())
}

/// The output from the last title on.
fn last_frame() -> Result<String> {
    let text = fs::read_to_string(STDOUT)?;
    let at = text.rfind(" twtrace top").context("no frame")?;
    Ok(text[at..].to_owned())
}

/// The first two figures of each row with this name: a namespace and an owner may share it.
fn figures(frame: &str, name: &str) -> Vec<[u64; 2]> {
    let number = |word: &str| word.replace(',', "").parse().ok();
    let row = |line: &str| {
        let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
        let mut words = rest.split_whitespace();
        Some([number(words.next()?)?, number(words.next()?)?])
    };
    frame.lines().filter_map(row).collect()
}

fn thousands(value: u64) -> String {
    match value {
        0..1_000 => value.to_string(),
        _ => format!("{},{:03}", thousands(value / 1_000), value % 1_000),
    }
}
