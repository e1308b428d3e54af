//! Births, seeds and calls that got no port: a recording in, exact bytes out.
//!
//! `golden/v3.twtrace` has what ABI 3 brought, and is kept for ever; see `golden.rs` for how the
//! outputs are made anew.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/records.rs"]
mod records;
mod support;

use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

use twtrace::decode::decode;
use twtrace::event::{Call, Event, Meta, Snapshot};
use twtrace::host::Names;
use twtrace::model::Tally;
use twtrace::model::tally::Detail;
use twtrace::recording::{Item, Reader, Writer};
use twtrace::view::{Of, Options, Output, Renderer};
use twtrace_common::Reason;
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS};
use twtrace_common::record::{
    self, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_OWNER, FLAG_PORT_GIVEN, KIND_BIRTH,
    KIND_END, KIND_PORT_FAILURE, KIND_SEED,
};

use records::{Ends, flow, kept};
use support::{HOST, MS, S, STARTED, expect, golden, options, put};

const EADDRINUSE: u32 = 98;
const EADDRNOTAVAIL: u32 = 99;

const DATABASE: Ends = Ends("10.0.0.5", 32_771, "10.0.0.30", 5_432);

fn birth(at: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::Birth>()];
    flow(
        &mut bytes,
        KIND_BIRTH,
        0,
        FLAG_BORN_FIN_WAIT_2 | FLAG_OWNER,
        &DATABASE,
    );
    put(
        &mut bytes,
        offset_of!(record::Birth, at_ns),
        &(STARTED + at).to_ne_bytes(),
    );
    bytes
}

fn seed(remaining_ms: u32) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::Seed>()];
    let ends = Ends("10.0.0.5", 32_770, "10.0.0.30", 5_432);
    flow(&mut bytes, KIND_SEED, 0, FLAG_IN_TIME_WAIT, &ends);
    put(
        &mut bytes,
        offset_of!(record::Seed, at_ns),
        &(STARTED + 2 * MS).to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::Seed, remaining_ms),
        &remaining_ms.to_ne_bytes(),
    );
    bytes
}

fn end(born: u64, ended: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::End>()];
    let flags = FLAG_BORN_FIN_WAIT_2 | FLAG_IN_TIME_WAIT | FLAG_OWNER;
    flow(
        &mut bytes,
        KIND_END,
        Reason::Expired as u8,
        flags,
        &DATABASE,
    );
    for (at, ns) in [
        (offset_of!(record::End, born_ns), born),
        (offset_of!(record::End, time_wait_ns), born + MS),
        (offset_of!(record::End, ended_ns), ended),
    ] {
        put(&mut bytes, at, &(STARTED + ns).to_ne_bytes());
    }
    bytes
}

/// A call that got no port.
struct Failure {
    call: Call,
    ends: Ends,
    errno: u32,
    time_wait: u32,
    command: &'static [u8],
}

fn failures() -> Vec<Failure> {
    let connect = |ends, time_wait| Failure {
        call: Call::Connect,
        ends,
        errno: EADDRNOTAVAIL,
        time_wait,
        command: b"php-fpm",
    };
    let bind = |ends, command| Failure {
        call: Call::Bind,
        ends,
        errno: EADDRINUSE,
        time_wait: 0,
        command,
    };
    vec![
        connect(Ends("10.0.0.5", 0, "10.0.0.30", 5_432), 27_902),
        connect(Ends("10.0.0.5", 0, "10.0.0.31", 5_432), 1),
        connect(Ends("2001:db8::5", 0, "2001:db8::30", 443), 0),
        connect(Ends("::ffff:10.0.0.5", 4_711, "::ffff:10.0.0.30", 80), 1),
        connect(Ends("10.0.0.5", 4_712, "10.0.0.30", 80), 0),
        bind(Ends("0.0.0.0", 80, "0.0.0.0", 0), b"nginx: \"m\", a,b"),
        bind(
            Ends("::ffff:10.0.0.5", 80, "::ffff:0.0.0.0", 0),
            b"\x1b[31mred\n",
        ),
        // A name that is no text.
        bind(Ends("::1", 0, "::", 0), b"\xff\xfe"),
    ]
}

fn failure_record(failure: &Failure, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::PortFailure>()];
    let given = if failure.ends.1 == 0 {
        0
    } else {
        FLAG_PORT_GIVEN
    };
    flow(
        &mut bytes,
        KIND_PORT_FAILURE,
        failure.call as u8,
        FLAG_OWNER | given,
        &failure.ends,
    );
    put(
        &mut bytes,
        offset_of!(record::PortFailure, at_ns),
        &(STARTED + at).to_ne_bytes(),
    );
    for (at, value) in [
        (offset_of!(record::PortFailure, pid), 8_123),
        (offset_of!(record::PortFailure, errno), failure.errno),
        (
            offset_of!(record::PortFailure, time_wait),
            failure.time_wait,
        ),
    ] {
        put(&mut bytes, at, &value.to_ne_bytes());
    }
    put(
        &mut bytes,
        offset_of!(record::PortFailure, command),
        failure.command,
    );
    bytes
}

fn meta() -> Meta {
    Meta {
        hooks: 17,
        // So that the books are compared with no kernel.
        filtered: true,
        ..records::meta()
    }
}

fn snapshot(at: u64, counters: &[Counters]) -> Snapshot {
    Snapshot {
        at_ns: STARTED + at,
        counters: counters.to_vec(),
        histograms: vec![0; twtrace_common::REASONS * CLOCKS * BUCKETS],
        missed: Some(0),
        kernel: Vec::new(),
        slack: 0,
    }
}

/// One birth of three did not fit the ring, and of thirteen failures two did not, three were too
/// many.
fn counted() -> Counters {
    let mut counters = Counters {
        netns: HOST,
        born_fin_wait_2: 2,
        born_time_wait: 1,
        birth_ring_full: 1,
        port_failures: [8, 5],
        port_failure_limited: 3,
        port_failure_ring_full: 2,
        ..Counters::ZERO
    };
    counters.ended[Reason::Expired as usize] = 1;
    counters
}

fn record_to(path: &Path) {
    let mut writer = Writer::create(path, &meta()).unwrap();
    writer.snapshot(&snapshot(MS, &[])).unwrap();
    writer.record(&seed(41_230)).unwrap();
    writer.record(&birth(S)).unwrap();
    writer.record(&birth(2 * S)).unwrap();
    for (failure, nth) in failures().iter().zip(3..) {
        writer.record(&failure_record(failure, nth * S)).unwrap();
    }
    writer.record(&end(S, 62 * S)).unwrap();
    writer.snapshot(&snapshot(70 * S, &[counted()])).unwrap();
    writer.finish().unwrap();
}

fn recording() -> PathBuf {
    kept("v3.twtrace", record_to)
}

/// What `twtrace report` shows.
fn trace(options: &Options) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = Reader::open(&recording()).unwrap();
    let mut renderer = Renderer::new(options, reader.meta(), Names::none()).unwrap();
    let mut tally = Tally::new(reader.meta(), Detail::Records);
    renderer.header(&mut out);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Snapshot(snapshot) => tally.snapshot(snapshot),
            Item::Names(_) | Item::Found(_) => {}
            Item::Record(bytes) => {
                if let Some(report) = tally.event(decode(bytes).unwrap()) {
                    renderer.event(&report, &mut out);
                }
            }
        }
    }
    let summary = tally.summary(reader.truncated());
    assert!(!summary.complete());
    renderer.summary(&summary, &mut out);
    out
}

#[test]
fn the_golden_recording_holds_what_is_described_here() {
    support::holds(&recording(), &meta(), record_to);
}

#[test]
fn births_and_seeds_are_there_for_those_who_count_the_living() {
    let mut reader = Reader::open(&recording()).unwrap();
    let (mut births, mut seeds) = (0, 0);
    while let Some(item) = reader.next().unwrap() {
        if let Item::Record(bytes) = item {
            match decode(bytes).unwrap() {
                Event::Birth(birth) => births += birth.at_ns - STARTED,
                Event::Seed(seed) => seeds += seed.remaining_ms,
                _ => {}
            }
        }
    }
    assert_eq!((births, seeds), (3 * S, 41_230));
}

#[test]
fn port_failures_in_every_output() {
    for (output, name) in [
        (Output::Text, "ports-failed.txt"),
        (Output::Csv, "ports-failed.csv"),
        (Output::Json, "ports-failed.json"),
    ] {
        expect(&golden(name), &trace(&options(output, Of::TRACE)));
    }
}

#[test]
fn json_stays_json_whatever_a_task_is_called() {
    let all = Options {
        fields: Some("command,note".to_owned()),
        ..options(Output::Json, Of::TRACE)
    };
    for shown in [trace(&all), trace(&options(Output::Json, Of::TRACE))] {
        let text = String::from_utf8(shown).unwrap();
        let commands: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter_map(|object| Some(object.get("command")?.as_str()?.to_owned()))
            .collect();
        assert_eq!(commands[5], "nginx: \"m\", a,b");
        assert_eq!(commands[6], r"\x1b[31mred\x0a");
    }
}

#[test]
fn nothing_that_a_task_is_called_reaches_a_terminal_as_a_command() {
    let text = String::from_utf8(trace(&options(Output::Text, Of::TRACE))).unwrap();
    assert!(!text.contains('\x1b'));
    assert_eq!(text.matches("NO PORT").count(), failures().len());
}

#[test]
fn fields_of_a_port_failure_are_those_of_the_schema_in_its_order() {
    let text = String::from_utf8(trace(&options(Output::Json, Of::TRACE))).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("port-failure"))
        .unwrap();
    let object: serde_json::Value = serde_json::from_str(line).unwrap();
    let mut keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| line.find(&format!("\"{key}\":")));
    assert_eq!(
        keys.join(" "),
        "v event call family laddr lport raddr rport netns uid cgroup at_ns pid command errno \
         port_given time_wait_candidates"
    );
}
