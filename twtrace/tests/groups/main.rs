//! Names of owners, and groups: a recording in, exact bytes out.
//!
//! `golden/names.twtrace` is `v1.twtrace` with births and with what layout 2 brought, names; see
//! `golden.rs` for how these files are made anew.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the other golden tests use the rest")]
mod support;

use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

use support::{HOST, MS, S, STARTED, expect, golden, options, put};
use twtrace::decode::decode;
use twtrace::event::{Event, Meta, Named};
use twtrace::host::Names;
use twtrace::model::groups::{By, Table, Whose};
use twtrace::model::tally::Detail;
use twtrace::model::{Groups, Tally};
use twtrace::recording::{Item, Reader, Writer};
use twtrace::view::{Of, Options, Output, Renderer, Scope, docs};
use twtrace_common::record::{self, KIND_BIRTH, KIND_END};

const NGINX: u64 = 5_021;
const POD: u64 = 5_022;
const LOGIN: u64 = 5_023;
const CONTAINER: u64 = 77;
/// Has no name.
const GONE: u64 = 5_024;

fn meta() -> Meta {
    Meta {
        births: true,
        ..Reader::open(&golden("v1.twtrace")).unwrap().meta().clone()
    }
}

fn named() -> Named {
    let id = "3f8a1c9e5b7d2046a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718";
    let pod = "kubepods.slice/kubepods-pod7f9c0d1e_2b3a_4c5d_8e9f_a0b1c2d3e4f5.slice";
    let cgroups = [
        (NGINX, r"/system.slice/nginx\x2dfront,end.service".into()),
        (POD, format!("/{pod}/cri-containerd-{id}.scope").into()),
        (LOGIN, "/user.slice/user-1000.slice/session-3.scope".into()),
        (CONTAINER, format!("/docker/{id}").into()),
    ];
    Named {
        users: [(33, "www-data".into()), (1_000, "ada".into())].into(),
        netns: [(HOST, "host".into())].into(),
        cgroups: cgroups.into(),
    }
}

/// The birth that this end had, if it is known.
fn birth(end: &[u8]) -> Option<Vec<u8>> {
    let born = offset_of!(record::End, born_ns);
    let born = &end[born..born + size_of::<u64>()];
    if born == [0; 8] {
        return None;
    }
    let mut birth = end[..size_of::<record::Flow>()].to_vec();
    birth.extend(born);
    assert_eq!(birth.len(), size_of::<record::Birth>());
    birth[0] = KIND_BIRTH;
    birth[offset_of!(record::Flow, reason)] = 0;
    Some(birth)
}

fn record_to(path: &Path) {
    let mut cgroups = [NGINX, POD, CONTAINER, LOGIN, NGINX, NGINX, GONE].into_iter();
    let mut reader = Reader::open(&golden("v1.twtrace")).unwrap();
    let mut writer = Writer::create(path, &meta()).unwrap();
    let mut snapshots = 0;
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Record(bytes) if bytes[0] == KIND_END => {
                let mut end = bytes.to_vec();
                let cgroup = cgroups.next().unwrap();
                let at = offset_of!(record::Flow, cgroup);
                put(&mut end, at, &cgroup.to_ne_bytes());
                if let Some(birth) = birth(&end) {
                    writer.record(&birth).unwrap();
                }
                writer.record(&end).unwrap();
            }
            Item::Record(bytes) => writer.record(bytes).unwrap(),
            Item::Snapshot(snapshot) => {
                snapshots += 1;
                if snapshots == 2 {
                    writer.names(&named()).unwrap();
                }
                writer.snapshot(&snapshot).unwrap();
            }
            Item::Names(_) | Item::Found(_) => panic!("layout 1 had neither"),
        }
    }
    writer.finish().unwrap();
}

fn recording() -> PathBuf {
    golden("names.twtrace")
}

fn renderer(options: &Options) -> Renderer {
    let names = Names::of_recording(Reader::names(&recording()));
    Renderer::new(options, &meta(), names).unwrap()
}

/// What `twtrace report --by` counts.
fn groups(by: By, top: usize) -> Table {
    let mut reader = Reader::open(&recording()).unwrap();
    let mut tally = Tally::new(reader.meta(), Detail::Records);
    let mut groups = Groups::new(by, reader.meta());
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Snapshot(snapshot) => tally.snapshot(snapshot),
            Item::Record(bytes) => match decode(bytes) {
                Ok(Event::Birth(birth)) => groups.birth(&birth),
                Ok(event) => groups.report(&tally.event(event).unwrap()),
                Err(_) => tally.undecoded(),
            },
            Item::Names(read) => assert_eq!(read, named()),
            Item::Found(_) => panic!("nothing was asked"),
        }
    }
    let summary = tally.summary(reader.truncated());
    let time = (STARTED, STARTED + summary.duration_ns);
    groups.table(top, time, Some(summary.books.ends.seen))
}

#[test]
fn the_golden_recording_holds_what_is_described_here() {
    support::holds(&recording(), &meta(), record_to);
}

#[test]
fn groups_in_text_by_everything() {
    let mut out = Vec::new();
    let mut renderer = renderer(&options(Output::Text, Of::TRACE));
    renderer.groups_header(&mut out);
    for by in By::ALL {
        renderer.groups(&groups(by, 10), Scope::Total, &mut out);
    }
    renderer.groups(&groups(By::Cgroup, 2), Scope::Interval, &mut out);
    let nothing = Table {
        rows: Vec::new(),
        ..groups(By::Uid, 0)
    };
    renderer.groups(&nothing, Scope::Total, &mut out);
    expect(&golden("groups.txt"), &out);
}

#[test]
fn groups_for_machines() {
    for (output, name) in [(Output::Csv, "groups.csv"), (Output::Json, "groups.json")] {
        let mut out = Vec::new();
        let mut renderer = renderer(&options(output, Of::TRACE));
        renderer.groups_header(&mut out);
        for by in By::ALL {
            renderer.groups(&groups(by, 3), Scope::Total, &mut out);
        }
        expect(&golden(name), &out);
    }
}

#[test]
fn all_rows_together_are_what_the_kernel_side_counted() {
    for by in By::ALL {
        for top in [0, 1, 10] {
            let rows = groups(by, top).rows;
            assert_eq!(rows.iter().map(|row| row.ends).sum::<u64>(), 8);
            let lost = rows.iter().find(|row| row.whose == Whose::NotGrouped);
            assert_eq!(lost.unwrap().ends, 1, "the one that did not fit the ring");
        }
    }
}

#[test]
fn a_group_has_exactly_the_documented_fields_in_json_and_csv() {
    let write = |output| {
        let mut out = Vec::new();
        let mut renderer = renderer(&options(output, Of::TRACE));
        renderer.groups_header(&mut out);
        renderer.groups(&groups(By::Cgroup, 10), Scope::Total, &mut out);
        String::from_utf8(out).unwrap()
    };
    let page = docs::output_md();
    let section = page.split("\n## Groups\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let documented: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for line in write(Output::Json).lines() {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).unwrap();
        let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
        keys.sort_by_key(|key| line.find(&format!("\"{key}\":")));
        assert_eq!(keys, documented);
    }
    let text = write(Output::Csv);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), documented[2..]);
    assert!(reader.records().all(|record| record.is_ok()));
}

#[test]
fn owners_have_the_names_that_the_recording_holds() {
    let fields = "owner,user,cgroup_path,unit,container,pod,netns_name,cgroup";
    for (output, fields, name) in [
        (Output::Text, None, "owners.txt"),
        (Output::Csv, Some(fields), "owners.csv"),
        (Output::Json, Some(fields), "owners.json"),
    ] {
        let mut out = Vec::new();
        let mut renderer = renderer(&Options {
            fields: fields.map(str::to_owned),
            ..options(output, Of::TRACE)
        });
        renderer.header(&mut out);
        let mut reader = Reader::open(&recording()).unwrap();
        let mut tally = Tally::new(reader.meta(), Detail::Records);
        while let Some(item) = reader.next().unwrap() {
            if let Item::Record(bytes) = item
                && let Ok(event) = decode(bytes)
                && let Some(report) = tally.event(event)
            {
                renderer.event(&report, &mut out);
            }
        }
        expect(&golden(name), &out);
    }
}

#[test]
fn times_of_the_support_module_are_those_of_the_recording() {
    let table = groups(By::Netns, 10);
    assert_eq!((table.from_ns, table.to_ns), (STARTED, STARTED + 150 * S));
    assert_eq!(table.rows[0].last_ns, Some(STARTED + 143 * S));
    assert_eq!(S, 1_000 * MS);
}
