//! Each filter lets through what it names and nothing else.

use std::path::Path;

use anyhow::Result;

use crate::checks::Checks;
use crate::load::{Args, Load};
use crate::tracer::{Tracer, Written};

/// From 127.0.0.1, ports 20,000 to 20,096, to 127.1.0.0 port 7, which closes first.
const LOAD: Args = Args {
    ports: 97,
    hosts: 1,
};
/// Each port twice: the first SYN ends a mini-socket from before the trace, the second one whose
/// birth was seen.
const CONNECTIONS: u32 = 2 * 97;
/// A stray RST may end one more, or end one before the next SYN arrives.
const STRAY: u64 = 3;

/// Flags, and how many ends pass them.
const FILTERS: &[(&[&str], u64)] = &[
    (&["-4"], 194),
    (&["-6"], 0),
    (&["-L", "7"], 194),
    (&["-L", "8,9"], 0),
    (&["-R", "20001,20003,20005"], 6),
    (&["-R", "7"], 0),
    (&["--addr", "127.1.0.0/16"], 194),
    (&["--addr", "127.0.0.1"], 194),
    (&["--addr", "127.0.0.2/31"], 0),
    // The owner of a preexisting mini-socket is unknown, so it does not pass.
    (&["--uid", "0"], 97),
    (&["--uid", "5"], 0),
    (&["--cgroup", "1"], 97),
    (&["--cgroup", "77"], 0),
    (&["--netns", "host"], 0),
];

pub(crate) fn run(attach: &str) -> Result<String> {
    let mut load = Load::start(&LOAD)?;
    load.run(CONNECTIONS)?;
    let mut checks = Checks::default();
    for (flags, expected) in FILTERS {
        let stdout = Path::new("/tmp/filter.json");
        let mut args = vec!["trace", "-o", "json", "--attach", attach];
        args.extend_from_slice(flags);
        let tracer = Tracer::start(&args, stdout)?;
        load.run(CONNECTIONS)?;
        checks.equal("exit code", tracer.stop()?, 0);
        let written = Written::read(stdout)?;
        let ends = written.number("/seen")?;
        let stray = if *expected == 0 { 0 } else { STRAY };
        checks.that(ends.abs_diff(*expected) <= stray, || {
            format!("{ends} ends passed {}, not {expected}", flags.join(" "))
        });
    }
    checks.end(format!("{} filters", FILTERS.len()))
}
