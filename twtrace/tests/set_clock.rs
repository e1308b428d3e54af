//! The clock of the host is set while it is traced: the recording tells, and each line has the time
//! of day that it had.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/program.rs"]
mod program;
#[path = "support/records.rs"]
#[expect(dead_code, reason = "what the goldens use")]
mod records;
#[expect(dead_code, reason = "what the tests of views use")]
mod support;

use std::fs;
use std::mem::{offset_of, size_of};
use std::path::Path;

use twtrace::event::found::{Found, SetClock};
use twtrace::recording::{Item, Reader, Writer};
use twtrace_common::record::{self, FLAG_LIMIT, FLAG_OWNER, KIND_OVERFLOW};

use program::twtrace;
use records::{Ends, flow, meta};
use support::{S, STARTED, put};

const HOUR: i64 = 3_600 * S as i64;

/// The host slept for an hour after ten seconds, and was set back by three after twenty.
const CHANGES: [(u64, i64); 2] = [(10, HOUR), (20, -2 * HOUR)];

fn overflow(second: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::Overflow>()];
    let ends = Ends("10.0.0.5", 443, "10.0.0.9", 50_000);
    flow(&mut bytes, KIND_OVERFLOW, 0, FLAG_OWNER | FLAG_LIMIT, &ends);
    let at_ns = STARTED + second * S;
    put(
        &mut bytes,
        offset_of!(record::Overflow, at_ns),
        &at_ns.to_ne_bytes(),
    );
    bytes
}

fn changes() -> [Found; 2] {
    CHANGES.map(|(second, ahead)| {
        Found::Clock(SetClock {
            at_ns: STARTED + second * S,
            wall_offset_ns: meta().wall_offset_ns + ahead,
        })
    })
}

/// A line before, between and after them; one of before comes late.
fn record_to(path: &Path) {
    let mut writer = Writer::create(path, &meta()).unwrap();
    let [slept, set_back] = changes();
    writer.record(&overflow(1)).unwrap();
    writer.found(&slept).unwrap();
    writer.record(&overflow(9)).unwrap();
    writer.record(&overflow(11)).unwrap();
    writer.found(&set_back).unwrap();
    writer.record(&overflow(21)).unwrap();
    writer.finish().unwrap();
}

fn report(path: &Path) -> String {
    let output = twtrace()
        .args(["report", "--utc"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_line_of_a_report_has_the_time_that_it_had() {
    let path = std::env::temp_dir().join(format!("twtrace-set-clock-{}", std::process::id()));
    record_to(&path);
    let text = report(&path);
    let mut reader = Reader::open(&path).unwrap();
    let mut found = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        if let Item::Found(one) = item {
            found.push(one);
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(found, changes());
    let times = [
        "13:02:12.000",
        "13:02:20.000",
        "14:02:22.000",
        "11:02:32.000",
    ];
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("10.0.0.9"))
        .collect();
    assert_eq!(lines.len(), times.len(), "{text}");
    for (line, time) in lines.iter().zip(times) {
        assert!(line.starts_with(time), "{line}");
    }
}
