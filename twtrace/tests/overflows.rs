//! Overflows, and the limit that they met: a recording in, exact bytes out.
//!
//! `golden/v4.twtrace` has what ABI 4 brought, and is kept for ever; see `golden.rs` for how the
//! outputs are made anew.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/program.rs"]
mod program;
#[path = "support/records.rs"]
mod records;
#[expect(dead_code, reason = "what the tests of views use")]
mod support;

use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

use twtrace::event::Snapshot;
use twtrace::event::found::{Found, PortRules, Survey};
use twtrace::recording::Writer;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::TOTAL_BUCKETS;
use twtrace_common::record::{self, FLAG_LIMIT, FLAG_OWNER, KIND_OVERFLOW};

use program::twtrace;
use records::{Ends, flow, kept, meta};
use support::{HOST, MS, S, STARTED, expect, golden, put};

const LIMIT: u32 = 4_096;

/// At the limit, and where there was no memory.
const ALIVE: [u32; 2] = [LIMIT, 12];

fn overflow(at: u64, alive: u32) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::Overflow>()];
    let ends = Ends("10.0.0.5", 443, "10.0.0.9", 50_000);
    flow(&mut bytes, KIND_OVERFLOW, 0, FLAG_OWNER | FLAG_LIMIT, &ends);
    put(
        &mut bytes,
        offset_of!(record::Overflow, at_ns),
        &(STARTED + at).to_ne_bytes(),
    );
    for (at, number) in [
        (offset_of!(record::Overflow, alive), alive),
        (offset_of!(record::Overflow, limit), LIMIT),
    ] {
        put(&mut bytes, at, &number.to_ne_bytes());
    }
    bytes
}

fn snapshot(at: u64, overflowed: u64) -> Snapshot {
    Snapshot {
        at_ns: STARTED + at,
        counters: vec![Counters {
            netns: HOST,
            overflowed,
            ..Counters::ZERO
        }],
        histograms: vec![0; TOTAL_BUCKETS],
        missed: Some(0),
        kernel: Vec::new(),
        slack: 0,
    }
}

fn record_to(path: &Path) {
    let mut writer = Writer::create(path, &meta()).unwrap();
    writer.snapshot(&snapshot(MS, 0)).unwrap();
    let survey = Survey {
        held_fin_wait_2: None,
        netns: HOST,
        at_ns: STARTED + 2 * MS,
        rules: PortRules {
            tcp_max_tw_buckets: LIMIT,
            ..PortRules::default()
        },
        taken: Vec::new(),
        users: Vec::new(),
    };
    writer.found(&Found::Survey(survey)).unwrap();
    for (alive, second) in ALIVE.into_iter().zip(3..) {
        writer.record(&overflow(second * S, alive)).unwrap();
    }
    writer.snapshot(&snapshot(10 * S, 2)).unwrap();
    writer.finish().unwrap();
}

fn recording() -> PathBuf {
    kept("v4.twtrace", record_to)
}

/// What the program says of the recording.
fn report(args: &[&str]) -> Vec<u8> {
    let mut command = twtrace();
    let command = command.arg("report").args(args).arg("--utc");
    let output = command.arg(recording()).output().unwrap();
    let code = output.status.code();
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_golden_recording_holds_what_is_described_here() {
    support::holds(&recording(), &meta(), record_to);
}

#[test]
fn an_overflow_tells_the_limit_in_every_output() {
    for (output, name) in [
        ("text", "overflows.txt"),
        ("csv", "overflows.csv"),
        ("json", "overflows.json"),
    ] {
        expect(&golden(name), &report(&["-o", output]));
    }
}

#[test]
fn ports_of_a_recording_in_every_output() {
    for (output, name) in [("text", "ports.txt"), ("json", "ports.json")] {
        expect(&golden(name), &report(&["--ports", "-o", output]));
    }
}
