//! A recording in, exact bytes out, for every view.
//!
//! `golden/v1.twtrace` is kept for ever: a later twtrace must read it and show the same. After a
//! change of a view, `TWTRACE_BLESS=1 cargo test --test golden` writes the expected outputs anew,
//! and the diff tells whether the change is what was meant.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

mod support;

use std::fs;
use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use twtrace::decode::decode;
use twtrace::event::{KernelCounters, Meta, Snapshot};
use twtrace::host::Names;
use twtrace::model::stats::write_hgrm;
use twtrace::model::tally::Detail;
use twtrace::model::{Stats, Tally};
use twtrace::recording::{Item, Reader, Writer};
use twtrace::view::{Of, Options, Output, Renderer, Scope, docs};
use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS, Clock, bucket};
use twtrace_common::record::{
    self, AF_INET, AF_INET6, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_OWNER, FLAG_UNTRACKED,
    KIND_END, KIND_OVERFLOW,
};
use twtrace_common::{REASONS, Reason};

use support::{HOST, MS, S, STARTED, expect, golden, put};

const OTHER: u32 = 4_026_532_281;

/// A mini-socket's end as the kernel side reports it, with the lines of its story.
struct End {
    reason: Reason,
    addresses: (&'static str, &'static str),
    ports: (u16, u16),
    netns: u32,
    flags: u8,
    owner: (u32, u64),
    /// After the start of the trace; 0 is unknown.
    born: u64,
    time_wait: u64,
    ended: u64,
    rearms: u32,
}

const EXPIRED: End = End {
    reason: Reason::Expired,
    addresses: ("10.0.0.5", "10.0.0.9"),
    ports: (443, 41_822),
    netns: HOST,
    flags: FLAG_BORN_FIN_WAIT_2 | FLAG_IN_TIME_WAIT | FLAG_OWNER,
    owner: (33, 5_021),
    born: S,
    time_wait: S + 450_400,
    ended: 62 * S,
    rearms: 0,
};

fn ends() -> Vec<End> {
    vec![
        EXPIRED,
        End {
            reason: Reason::SynReopened,
            ports: (443, 41_830),
            flags: FLAG_IN_TIME_WAIT | FLAG_OWNER,
            born: 2 * S,
            time_wait: 2 * S,
            ended: 4 * S + 110 * MS,
            ..EXPIRED
        },
        End {
            reason: Reason::ConnectReused,
            addresses: ("172.17.0.4", "10.0.0.30"),
            ports: (50_112, 5_432),
            netns: OTHER,
            owner: (1_000, 77),
            born: 3 * S,
            time_wait: 3 * S + 200 * MS,
            ended: 4 * S + 220 * MS,
            ..EXPIRED
        },
        End {
            reason: Reason::FinWait2Timeout,
            addresses: ("2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8::9"),
            ports: (8_080, 65_535),
            flags: FLAG_BORN_FIN_WAIT_2 | FLAG_OWNER,
            born: 5 * S,
            time_wait: 0,
            ended: 65 * S + 300 * MS,
            ..EXPIRED
        },
        End {
            reason: Reason::Reset,
            addresses: ("::ffff:192.0.2.1", "::ffff:198.51.100.77"),
            ports: (80, 1_025),
            ended: S + 13 * MS,
            ..EXPIRED
        },
        // Older than the trace, on a kernel without tw_entry_stamp.
        End {
            flags: FLAG_UNTRACKED | FLAG_IN_TIME_WAIT,
            ports: (443, 40_000),
            born: 0,
            time_wait: 0,
            ended: 30 * S,
            ..EXPIRED
        },
        End {
            ports: (443, 41_900),
            ended: 142 * S,
            rearms: 3,
            ..EXPIRED
        },
    ]
}

fn flow(bytes: &mut [u8], end: &End) {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let family = match address(end.addresses.0) {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    put(bytes, offset_of!(record::Flow, family), &[family]);
    put(bytes, offset_of!(record::Flow, flags), &[end.flags]);
    put(
        bytes,
        offset_of!(record::Flow, lport),
        &end.ports.0.to_ne_bytes(),
    );
    put(
        bytes,
        offset_of!(record::Flow, rport),
        &end.ports.1.to_ne_bytes(),
    );
    put(
        bytes,
        offset_of!(record::Flow, netns),
        &end.netns.to_ne_bytes(),
    );
    put(
        bytes,
        offset_of!(record::Flow, uid),
        &end.owner.0.to_ne_bytes(),
    );
    put(
        bytes,
        offset_of!(record::Flow, cgroup),
        &end.owner.1.to_ne_bytes(),
    );
    for (at, text) in [
        (offset_of!(record::Flow, laddr), end.addresses.0),
        (offset_of!(record::Flow, raddr), end.addresses.1),
    ] {
        match address(text) {
            IpAddr::V4(address) => put(bytes, at, &address.octets()),
            IpAddr::V6(address) => put(bytes, at, &address.octets()),
        }
    }
}

fn end_record(end: &End) -> Vec<u8> {
    let stamp = |ns: u64| if ns == 0 { 0 } else { STARTED + ns };
    let mut bytes = vec![0; size_of::<record::End>()];
    flow(&mut bytes, end);
    bytes[0] = KIND_END;
    bytes[offset_of!(record::Flow, reason)] = end.reason as u8;
    put(
        &mut bytes,
        offset_of!(record::End, born_ns),
        &stamp(end.born).to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, time_wait_ns),
        &stamp(end.time_wait).to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, ended_ns),
        &stamp(end.ended).to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(record::End, rearms),
        &end.rearms.to_ne_bytes(),
    );
    bytes
}

fn overflow_record() -> Vec<u8> {
    let mut bytes = vec![0; size_of::<record::Overflow>()];
    let whose = End {
        flags: FLAG_OWNER,
        ports: (443, 50_000),
        ..EXPIRED
    };
    flow(&mut bytes, &whose);
    bytes[0] = KIND_OVERFLOW;
    let at = STARTED + 143 * S;
    put(
        &mut bytes,
        offset_of!(record::Overflow, at_ns),
        &at.to_ne_bytes(),
    );
    bytes
}

fn meta() -> Meta {
    Meta {
        kernel: "6.12.107-golden".into(),
        rearms: true,
        ..support::meta()
    }
}

fn kernel(netns: u32, [tw, killed, recycled, overflow]: [u64; 4]) -> KernelCounters {
    let values = [
        ("TW", tw),
        ("TWKilled", killed),
        ("TWRecycled", recycled),
        ("TCPTimeWaitOverflow", overflow),
    ];
    KernelCounters {
        netns,
        cookie: None,
        tcp_ext: values.map(|(name, value)| (name.into(), value)).into(),
    }
}

fn first() -> Snapshot {
    Snapshot {
        at_ns: STARTED + MS,
        counters: Vec::new(),
        histograms: vec![0; REASONS * CLOCKS * BUCKETS],
        missed: Some(0),
        kernel: vec![kernel(HOST, [1_000, 20, 3, 0])],
        slack: 0,
    }
}

/// What the kernel side would have counted for these ends, one of which did not fit the ring, and
/// a kernel that lost count of a reuse in the other namespace.
fn last() -> Snapshot {
    let mut host = Counters {
        netns: HOST,
        ..Counters::ZERO
    };
    let mut other = Counters {
        netns: OTHER,
        ..Counters::ZERO
    };
    let mut histograms = vec![0; REASONS * CLOCKS * BUCKETS];
    let mut count = |reason: Reason, clock: Clock, ns: u64| {
        histograms[(reason as usize * CLOCKS + clock as usize) * BUCKETS + bucket(ns)] += 1;
    };
    for end in ends() {
        let counters = if end.netns == HOST {
            &mut host
        } else {
            &mut other
        };
        counters.ended[end.reason as usize] += 1;
        counters.rearmed += u64::from(end.rearms);
        if end.flags & FLAG_UNTRACKED != 0 {
            counters.end_untracked += 1;
            continue;
        }
        let in_time_wait = end.flags & FLAG_IN_TIME_WAIT != 0;
        if end.flags & FLAG_BORN_FIN_WAIT_2 != 0 {
            counters.born_fin_wait_2 += 1;
            counters.promoted += u64::from(in_time_wait);
            let until = if in_time_wait {
                end.time_wait
            } else {
                end.ended
            };
            count(end.reason, Clock::FinWait2, until - end.born);
        } else {
            counters.born_time_wait += 1;
        }
        if in_time_wait {
            count(end.reason, Clock::TimeWait, end.ended - end.time_wait);
        }
    }
    host.born_time_wait += 1;
    host.ended[Reason::Expired as usize] += 1;
    host.end_ring_full = 1;
    count(Reason::Expired, Clock::TimeWait, 61 * S);
    host.overflowed = 1;
    Snapshot {
        at_ns: STARTED + 150 * S,
        counters: vec![host, other],
        histograms,
        missed: Some(0),
        kernel: vec![kernel(HOST, [1_005, 21, 3, 1]), kernel(OTHER, [1, 0, 0, 0])],
        slack: 0,
    }
}

fn record_to(path: &Path) {
    let mut writer = Writer::create(path, &meta()).unwrap();
    writer.snapshot(&first()).unwrap();
    for end in ends() {
        writer.record(&end_record(&end)).unwrap();
    }
    writer.record(&overflow_record()).unwrap();
    // From a newer twtrace, or garbage: counted, not shown.
    writer.record(b"\xee not a record").unwrap();
    writer.snapshot(&last()).unwrap();
    writer.finish().unwrap();
}

fn options(output: Output) -> Options {
    support::options(output, Of::TRACE)
}

/// What `twtrace report` shows of a recording: the events and the summary.
fn trace(path: &Path, options: &Options) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = Reader::open(path).unwrap();
    let mut renderer = Renderer::new(options, reader.meta(), Names::none()).unwrap();
    let mut tally = Tally::new(reader.meta(), Detail::Records);
    renderer.header(&mut out);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Snapshot(snapshot) => tally.snapshot(snapshot),
            Item::Found(_) => {}
            Item::Names(_) => panic!("layout 1 had no names"),
            Item::Record(bytes) => match decode(bytes) {
                Ok(event) => {
                    if let Some(report) = tally.event(event) {
                        renderer.event(&report, &mut out);
                    }
                }
                Err(_) => tally.undecoded(),
            },
        }
    }
    renderer.summary(&tally.summary(reader.truncated()), &mut out);
    out
}

/// The lifetimes of a recording.
fn stats(path: &Path) -> Stats {
    let mut reader = Reader::open(path).unwrap();
    let mut tally = Tally::new(reader.meta(), Detail::Records);
    while let Some(item) = reader.next().unwrap() {
        if let Item::Snapshot(snapshot) = item {
            tally.snapshot(snapshot);
        }
    }
    Stats::total(reader.meta().started_ns, tally.last().unwrap())
}

fn histogram(path: &Path, output: Output, scope: Scope) -> Vec<u8> {
    let reader = Reader::open(path).unwrap();
    let mut renderer = Renderer::new(&options(output), reader.meta(), Names::none()).unwrap();
    let mut out = Vec::new();
    renderer.histogram_header(&mut out);
    renderer.histogram(&stats(path), scope, &mut out);
    out
}

fn recording() -> PathBuf {
    golden("v1.twtrace")
}

#[test]
fn the_golden_recording_holds_what_is_described_here() {
    support::holds(&recording(), &meta(), record_to);
}

#[test]
fn the_trace_as_text() {
    expect(
        &golden("trace.txt"),
        &trace(&recording(), &options(Output::Text)),
    );
}

#[test]
fn the_trace_as_wide_text() {
    let wide = Options {
        wide: true,
        ..options(Output::Text)
    };
    expect(&golden("trace-wide.txt"), &trace(&recording(), &wide));
}

#[test]
fn the_trace_as_csv() {
    expect(
        &golden("trace.csv"),
        &trace(&recording(), &options(Output::Csv)),
    );
}

#[test]
fn the_trace_as_json() {
    expect(
        &golden("trace.json"),
        &trace(&recording(), &options(Output::Json)),
    );
}

#[test]
fn chosen_fields_in_every_output() {
    let fields = Some("reason,time,remote,netns_name,owner,note".to_owned());
    for (output, name) in [
        (Output::Text, "fields.txt"),
        (Output::Csv, "fields.csv"),
        (Output::Json, "fields.json"),
    ] {
        let options = Options {
            fields: fields.clone(),
            ..options(output)
        };
        expect(&golden(name), &trace(&recording(), &options));
    }
}

#[test]
fn the_histograms_in_every_output() {
    for (output, scope, name) in [
        (Output::Text, Scope::Total, "hist.txt"),
        (Output::Text, Scope::Interval, "hist-interval.txt"),
        (Output::Csv, Scope::Total, "hist.csv"),
        (Output::Json, Scope::Total, "hist.json"),
    ] {
        expect(&golden(name), &histogram(&recording(), output, scope));
    }
}

#[test]
fn the_percentile_format() {
    let mut out = Vec::new();
    write_hgrm(&stats(&recording()).merged(Clock::TimeWait), &mut out).unwrap();
    expect(&golden("hist.hgrm"), &out);
}

#[test]
fn a_recording_cut_anywhere_is_shown_up_to_the_cut() {
    let whole = fs::read(recording()).unwrap();
    let shown = trace(&recording(), &options(Output::Json));
    let path = std::env::temp_dir().join(format!("twtrace-cut-{}", std::process::id()));
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        if Reader::open(&path).is_err() {
            continue;
        }
        let cut = trace(&path, &options(Output::Json));
        let cut = String::from_utf8(cut).unwrap();
        let (events, summary) = cut
            .trim_end()
            .rsplit_once('\n')
            .unwrap_or(("", cut.trim_end()));
        assert!(shown.starts_with(events.as_bytes()), "cut at {length}");
        assert!(
            summary.contains("\"cut\":true"),
            "cut at {length}: {summary}"
        );
        assert!(summary.contains("\"complete\":false"), "cut at {length}");
    }
    fs::remove_file(&path).unwrap();
}

/// The objects of a kind, with their fields in order.
fn objects(json: &[u8], event: &str) -> Vec<Vec<String>> {
    let fields = |line: &str| {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).unwrap();
        (object["event"] == event).then(|| object.keys().cloned().collect())
    };
    let json = String::from_utf8(json.to_vec()).unwrap();
    json.lines().filter_map(fields).collect()
}

fn sorted<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut keys: Vec<_> = keys.into_iter().map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn json_has_exactly_the_fields_of_the_schema() {
    let trace = trace(&recording(), &options(Output::Json));
    let histograms = histogram(&recording(), Output::Json, Scope::Total);
    let flow = "v event family laddr lport raddr rport netns uid cgroup";
    let end = "reason born_as born_ns time_wait_ns ended_ns fin_wait_2_ms time_wait_ms rearms preexisting";
    let overflow = ["at_ns", "alive", "limit"];
    for (json, event, expected) in [
        (&trace, "end", sorted(flow.split(' ').chain(end.split(' ')))),
        (&trace, "overflow", sorted(flow.split(' ').chain(overflow))),
        (
            &trace,
            "summary",
            sorted(docs::SUMMARY.map(|field| field.0)),
        ),
        (
            &histograms,
            "histogram",
            sorted(docs::HISTOGRAM.map(|field| field.0)),
        ),
    ] {
        let objects = objects(json, event);
        assert!(!objects.is_empty(), "no {event}");
        for mut object in objects {
            object.sort();
            assert_eq!(object, expected, "{event}");
        }
    }
}

#[test]
fn csv_has_as_many_fields_in_every_line() {
    let trace = trace(&recording(), &options(Output::Csv));
    let text = String::from_utf8(trace).unwrap();
    // The closing lines are for people; a command puts them on stderr.
    let data: Vec<_> = text.lines().take(1 + ends().len() + 1).collect();
    let data = data.join("\n");
    let mut reader = csv::Reader::from_reader(data.as_bytes());
    let fields = reader.headers().unwrap().len();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), ends().len() + 1);
    assert!(records.iter().all(|record| record.len() == fields));
}

#[test]
fn docs_output_md_is_made_from_the_tables() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/output.md");
    expect(&page, docs::output_md().as_bytes());
}
