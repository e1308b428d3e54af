//! `top`: each owner with exactly its mini-sockets.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::owners::BY;
use crate::checks::Checks;
use crate::tenants::{TENANTS, Tenants};
use crate::tracer::{TWTRACE, Tracer};

const STDOUT: &str = "/tmp/top.txt";
/// The second round ends what the first left.
const ROUNDS: u16 = 2;

pub(crate) fn owners(attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    // Namespaces have a table of their own, which is looked at besides.
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

/// So many frames and no more, each of so many lines at most.
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
    // What comes after the last frame is the summary, as long as its lines are.
    let lines = text
        .split("twtrace top")
        .skip(1)
        .flat_map(|frame| frame.lines().skip(1).take(23));
    let most = lines.map(|line| line.chars().count()).max();
    checks.that(most <= Some(80), || format!("a line is too long: {text}"));
    checks.end("3 frames".to_owned())
}

/// What stands from the last title on.
fn last_frame() -> Result<String> {
    let text = fs::read_to_string(STDOUT)?;
    let at = text.rfind(" twtrace top").context("no frame")?;
    Ok(text[at..].to_owned())
}

/// The first two figures of each row with this name: a namespace may be called as an owner is.
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
