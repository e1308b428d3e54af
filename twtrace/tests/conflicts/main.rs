//! Refusals and conflicts: a recording in, exact bytes out.
//!
//! `golden/v2.twtrace` has what ABI 2 brought, and is kept for ever; see `golden.rs` for how the
//! outputs are made anew.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

mod shown;
mod situations;
mod story;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use shown::Shown;
use story::{meta, record_to};
use support::{expect, golden, options};
use twtrace::decode::decode;
use twtrace::host::Names;
use twtrace::model::tally::Detail;
use twtrace::model::{Report, Tally};
use twtrace::recording::{Item, Reader};
use twtrace::view::{Of, Output, Renderer, WhatIf, docs};

fn recording() -> PathBuf {
    golden("v2.twtrace")
}

#[test]
fn the_golden_recording_holds_what_is_described_here() {
    support::holds(&recording(), &meta(), record_to);
}

/// Every event of the recording with its meaning, and then the summary.
fn each(mut tell: impl FnMut(Report)) -> Tally {
    let mut reader = Reader::open(&recording()).unwrap();
    let mut tally = Tally::new(reader.meta(), Detail::Records);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Snapshot(snapshot) => tally.snapshot(snapshot),
            Item::Found(_) => {}
            Item::Names(_) => panic!("layout 1 had no names"),
            Item::Record(bytes) => {
                if let Some(report) = tally.event(decode(bytes).unwrap()) {
                    tell(report);
                }
            }
        }
    }
    tally
}

/// What `twtrace report` shows.
fn trace(output: Output) -> Vec<u8> {
    let mut out = Vec::new();
    let options = options(output, Of::TRACE);
    let mut renderer = Renderer::new(&options, &meta(), Names::none()).unwrap();
    renderer.header(&mut out);
    let tally = each(|report| renderer.event(&report, &mut out));
    renderer.summary(&tally.summary(false), &mut out);
    out
}

/// What `twtrace report --conflicts --what-if recycle` shows.
fn conflicts(output: Output) -> Vec<u8> {
    let mut shown = Shown::new(&meta(), output);
    shown.renderer.header(&mut shown.out);
    let tally = each(|report| shown.event(&report));
    shown.end(&tally, WhatIf { recycle: true });
    shown
        .renderer
        .summary(&tally.summary(false), &mut shown.out);
    shown.out
}

#[test]
fn refusals_in_the_trace() {
    for (output, name) in [
        (Output::Text, "refusals.txt"),
        (Output::Csv, "refusals.csv"),
        (Output::Json, "refusals.json"),
    ] {
        expect(&golden(name), &trace(output));
    }
}

#[test]
fn conflicts_in_every_output() {
    for (output, name) in [
        (Output::Text, "conflicts.txt"),
        (Output::Csv, "conflicts.csv"),
        (Output::Json, "conflicts.json"),
    ] {
        expect(&golden(name), &conflicts(output));
    }
}

#[test]
fn fields_of_each_object_are_those_of_the_schema_in_its_order() {
    let keys = |event: &str| {
        let json = String::from_utf8(conflicts(Output::Json)).unwrap();
        let start = format!("{{\"v\":1,\"event\":\"{event}\"");
        let line = json.lines().find(|line| line.starts_with(&start)).unwrap();
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(object.is_object());
        let mut keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
        keys.sort_by_key(|key| line.find(&format!("\"{key}\":")));
        keys.join(" ")
    };
    let documented = docs::PEER.map(|field| field.0).join(" ");
    assert_eq!(keys("peer"), documented);
    let documented = docs::CONFLICTS.map(|field| field.0).join(" ");
    let documented = format!("v {}", documented.replace(',', ""));
    assert_eq!(keys("conflicts"), documented);
    assert_eq!(
        keys("refusal"),
        "v event stage rule syn flags family laddr lport raddr rport netns at_ns tsval ts_recent \
         gap ts_recent_age_ms seq_gap ttl window reply rearmed"
    );
    assert_eq!(
        keys("reopen"),
        "v event family laddr lport raddr rport netns at_ns time_wait_ms tsval ts_recent gap \
         seq_gap refused_before delay_ms"
    );
    assert_eq!(
        keys("conflict"),
        "v event stage family laddr lport raddr rport netns first_ns syns outcome delay_ms gaps causes \
         stuck_by"
    );
}
