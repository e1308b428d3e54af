//! What twtrace costs when idle: memory, time to attach, work for the verifier.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use aya::programs::ProgramInfo;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::loaded;
use crate::tracer::Tracer;

/// 4,096 ports times 16 addresses: 65,536 different connections.
const SPREAD: Args = Args {
    ports: 4_096,
    hosts: 16,
};
const SOCKETS: u32 = 65_536;
/// So many must be alive when memory is measured; on a slow host the first have run out by then.
const FEWEST: u64 = 32_768;
const MOST_RSS_KIB: u64 = 12 * 1024;
const MOST_VERIFIED: u32 = 2_000;
/// For programs that parse a segment's options and look up its slot.
const MOST_VERIFIED_OF_REFUSALS: u32 = 2_300;
/// Loose, because the VM may share its CPUs; `cargo xtask bench` measures precisely.
const MOST_ATTACH: Duration = Duration::from_secs(3);

pub(crate) fn run(attach: &str) -> Result<String> {
    let mut load = Load::start(&SPREAD)?;
    load.run(SOCKETS)?;
    let tracer = Tracer::start(&["hist", "--attach", attach], Path::new("/tmp/hist.out"))?;
    let alive = load.mini_sockets()?;
    // twtrace returns memory right after attaching.
    thread::sleep(Duration::from_secs(1));
    let rss = tracer.rss_kib()?;
    let attached_in = tracer.attached_in;
    let code = tracer.stop()?;

    let mut checks = Checks::default();
    checks.equal("exit code", code, 0);
    checks.that(alive >= FEWEST, || {
        format!("only {alive} mini-sockets were alive: the VM is too slow")
    });
    checks.that(rss < MOST_RSS_KIB, || format!("RSS {rss} KiB is too much"));
    checks.that(attached_in < MOST_ATTACH, || {
        "attaching took too long".to_owned()
    });
    checks.end(format!(
        "RSS {rss} KiB with {alive} mini-sockets, attached in {} ms",
        attached_in.as_millis()
    ))
}

/// Every program is small enough for any kernel's verifier, and loads quickly.
pub(crate) fn programs(attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    let mut words = Vec::new();
    for command in [&["hist"][..], &["record", "/tmp/at-rest.tw"]] {
        let before = ids()?;
        let command = [command, &["--attach", attach]].concat();
        let tracer = Tracer::start(&command, Path::new("/tmp/at-rest.out"))?;
        let programs = new_programs(&before)?;
        checks.equal("exit code", tracer.stop()?, 0);
        checks.that(!programs.is_empty(), || {
            "no program was attached".to_owned()
        });
        let most = verified(&programs, &mut checks);
        words.push(format!(
            "{} of {}, at most {most}",
            programs.len(),
            command[0]
        ));
    }
    checks.end(format!(
        "verified instructions (0: the kernel does not tell): {}",
        words.join("; ")
    ))
}

/// Checks each program and describes the largest.
fn verified(programs: &[(String, u32)], checks: &mut Checks) -> String {
    for (name, verified) in programs {
        let most = if name.starts_with("refused") {
            MOST_VERIFIED_OF_REFUSALS
        } else {
            MOST_VERIFIED
        };
        checks.that(*verified < most, || {
            format!("{name}: {verified} verified instructions")
        });
    }
    let most = programs.iter().max_by_key(|(_, verified)| verified);
    most.map_or_else(String::new, |(name, verified)| {
        format!("{verified} ({name})")
    })
}

fn ids() -> Result<BTreeSet<u32>> {
    let programs = loaded::programs()?;
    Ok(programs.iter().map(ProgramInfo::id).collect())
}

/// Names of the programs that were not there before, with the number of instructions that the
/// verifier processed.
fn new_programs(before: &BTreeSet<u32>) -> Result<Vec<(String, u32)>> {
    let mut programs = Vec::new();
    for program in loaded::programs()? {
        if !before.contains(&program.id()) {
            let name = program.name_as_str().unwrap_or_default().to_owned();
            programs.push((name, program.verified_instruction_count().unwrap_or(0)));
        }
    }
    Ok(programs)
}
