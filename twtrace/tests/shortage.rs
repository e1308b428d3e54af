//! Sources and destinations that run out of ports, and ports that callers named: a recording in,
//! exact bytes out.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/program.rs"]
mod program;
#[expect(dead_code, reason = "what the tests of kept recordings use")]
#[path = "support/records.rs"]
mod records;
#[expect(dead_code, reason = "what the tests of views use")]
mod support;

use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

use twtrace::event::found::{Found, PortRules, Survey, Users};
use twtrace::event::{Call, Snapshot};
use twtrace::recording::Writer;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::TOTAL_BUCKETS;
use twtrace_common::record::{
    self, FLAG_BORN_FIN_WAIT_2, FLAG_OWNER, FLAG_PORT_GIVEN, KIND_BIRTH, KIND_PORT_FAILURE,
};

use program::twtrace;
use records::{Ends, flow, meta};
use support::{HOST, MS, S, STARTED, expect, golden, put};

const EADDRINUSE: u32 = 98;
const EADDRNOTAVAIL: u32 = 99;
/// The range has a hundred ports.
const LOW: u16 = 40_000;
const HIGH: u16 = 40_099;

const APPLICATION: &str = "10.0.0.5";
const PROXY: &str = "10.0.0.6";

fn stamp(bytes: &mut [u8], at: usize, ns: u64) {
    put(bytes, at, &(STARTED + ns).to_ne_bytes());
}

fn birth(ends: &Ends, flags: u8, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::Birth>()];
    flow(&mut bytes, KIND_BIRTH, 0, FLAG_OWNER | flags, ends);
    stamp(&mut bytes, offset_of!(record::Birth, at_ns), at);
    bytes
}

fn failure(call: Call, ends: &Ends, time_wait: u32, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::PortFailure>()];
    let given = if ends.1 == 0 { 0 } else { FLAG_PORT_GIVEN };
    flow(
        &mut bytes,
        KIND_PORT_FAILURE,
        call as u8,
        FLAG_OWNER | given,
        ends,
    );
    stamp(&mut bytes, offset_of!(record::PortFailure, at_ns), at);
    let errno = match call {
        Call::Connect => EADDRNOTAVAIL,
        Call::Bind => EADDRINUSE,
    };
    for (at, value) in [
        (offset_of!(record::PortFailure, pid), 8_123),
        (offset_of!(record::PortFailure, errno), errno),
        (offset_of!(record::PortFailure, time_wait), time_wait),
    ] {
        put(&mut bytes, at, &value.to_ne_bytes());
    }
    let command = offset_of!(record::PortFailure, command);
    put(&mut bytes, command, b"service");
    bytes
}

/// bind(), then connect(): a port for each connection, by turns to ten destinations.
fn application(writer: &mut Writer) {
    const HOSTS: [&str; 10] = [
        "10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6",
        "10.0.1.7", "10.0.1.8", "10.0.1.9",
    ];
    // The order in which bind() takes them.
    let odd = (LOW + 1..=HIGH).step_by(2);
    let order = odd.chain((LOW..=HIGH).step_by(2));
    for (nth, port) in order.enumerate() {
        let ends = Ends(APPLICATION, port, HOSTS[nth % 10], 443);
        let at = 3 * S + nth as u64 * 100 * MS;
        writer.record(&birth(&ends, 0, at)).unwrap();
    }
}

/// Connections whose other end never closes.
fn proxy(writer: &mut Writer) {
    for port in (LOW..=HIGH).step_by(2) {
        let ends = Ends(PROXY, port, "10.0.2.1", 80);
        let birth = birth(&ends, FLAG_BORN_FIN_WAIT_2, 3 * S);
        writer.record(&birth).unwrap();
    }
}

fn calls(writer: &mut Writer) {
    let unbound = Ends(APPLICATION, 0, "0.0.0.0", 0);
    let bound = Ends(APPLICATION, 50_000, "10.0.1.0", 443);
    for (call, ends, time_wait) in [
        (Call::Bind, unbound, 0),
        (Call::Connect, bound, 1),
        (Call::Connect, Ends(APPLICATION, 50_001, "10.0.1.0", 443), 0),
        (Call::Bind, Ends("0.0.0.0", LOW, "0.0.0.0", 0), 0),
        (Call::Bind, Ends("::", 80, "::", 0), 0),
    ] {
        let failure = failure(call, &ends, time_wait, 14 * S);
        writer.record(&failure).unwrap();
    }
}

fn snapshot(at: u64, births: [u64; 2], port_failures: [u64; 2]) -> Snapshot {
    Snapshot {
        at_ns: STARTED + at,
        counters: vec![Counters {
            netns: HOST,
            born_time_wait: births[0],
            born_fin_wait_2: births[1],
            port_failures,
            ..Counters::ZERO
        }],
        histograms: vec![0; TOTAL_BUCKETS],
        missed: Some(0),
        kernel: Vec::new(),
        slack: 0,
    }
}

fn survey() -> Found {
    let live = Users {
        laddr: "10.0.0.7".parse().unwrap(),
        raddr: "10.0.2.2".parse().unwrap(),
        rport: 5_432,
        ports: 95,
    };
    Found::Survey(Survey {
        held_fin_wait_2: None,
        netns: HOST,
        at_ns: STARTED + 2 * MS,
        rules: PortRules {
            low: LOW,
            high: HIGH,
            tcp_tw_reuse: 1,
            ..PortRules::default()
        },
        taken: Vec::new(),
        users: vec![live],
    })
}

fn record_to(path: &Path) {
    let mut writer = Writer::create(path, &meta()).unwrap();
    writer.snapshot(&snapshot(MS, [0; 2], [0; 2])).unwrap();
    writer.found(&survey()).unwrap();
    proxy(&mut writer);
    writer.snapshot(&snapshot(3 * S, [0, 50], [0; 2])).unwrap();
    application(&mut writer);
    calls(&mut writer);
    writer
        .snapshot(&snapshot(15 * S, [100, 50], [2, 3]))
        .unwrap();
    writer.finish().unwrap();
}

fn recording(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    record_to(&path);
    path
}

#[test]
fn what_runs_out_and_why_reuse_does_not_help_in_every_output() {
    for (output, name) in [
        ("text", "shortage.txt"),
        ("csv", "shortage.csv"),
        ("json", "shortage.json"),
    ] {
        let recording = recording(&format!("{name}.twtrace"));
        let mut command = twtrace();
        let command = command.args(["report", "--ports", "--top", "20", "--utc", "-o", output]);
        let shown = command.arg(recording).output().unwrap();
        let said = String::from_utf8_lossy(&shown.stderr);
        assert_eq!(shown.status.code(), Some(0), "{said}");
        expect(&golden(name), &shown.stdout);
    }
}
