//! Small files that want much memory.

use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use twtrace_common::record;

use super::craft::{END, FOUND, Forged, META, NAMES, RECORDS, SNAPSHOT, Saved, packed};
use super::golden;
use super::program::twtrace;

/// No recording of this size makes `report` need more, in KiB.
const MOST_KIB: i64 = 50 << 10;
/// Size of the recordings.
const SIZE: usize = 7_400_000;
/// A debug build is slow; one that hangs takes for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a child and returns its exit code and the most memory it had, in KiB. Not what
/// `wait4` tells: that begins with what the parent had.
fn most_memory(mut child: Child) -> (i32, i64) {
    let status = format!("/proc/{}/status", child.id());
    let started = Instant::now();
    let mut most = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let now = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = now.and_then(|now| now.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(now.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            // One that was never looked at ended within a moment.
            return (status.code().expect("it was not killed"), most);
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn report(arguments: &[&str], file: &Path) -> (i32, i64) {
    let child = twtrace()
        .arg("report")
        .args(arguments)
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    most_memory(child)
}

/// A recording with as many copies of a block as make it large.
fn many(name: &str, kind: u8, payload: &[u8]) -> Saved {
    let block = packed(kind, payload);
    let count = (SIZE / block.len()).max(1);
    let whole = Forged::from(&golden("names.twtrace"));
    let (head, rest) = whole.around(1);
    Saved::new(name, &[head, block.repeat(count), rest].concat())
}

const VIEWS: &[&[&str]] = &[
    &[],
    &["--hist"],
    &["--ports"],
    &["--conflicts"],
    &["--hist", "--by", "cgroup"],
];

/// Every view stays small, and ends as it does for a file that is damaged, or whole.
fn harmless(bomb: &Saved) {
    in_views(VIEWS, bomb);
}

fn in_views(views: &[&[&str]], bomb: &Saved) {
    for view in views {
        let (code, kib) = report(view, bomb.path());
        println!("{view:?}: {kib} KiB, exit code {code}");
        assert!([0, 2, 3].contains(&code), "{view:?}: exit code {code}");
        assert!(kib < MOST_KIB, "{view:?}: {kib} KiB");
    }
}

#[test]
fn names_without_end() {
    let (mut file, end) = Forged::from(&golden("names.twtrace")).around(1);
    let long = "x".repeat(60 << 20);
    for uid in 0.. {
        file.extend(packed(
            NAMES,
            format!(r#"{{"users":{{"{uid}":"{long}"}}}}"#).as_bytes(),
        ));
        if file.len() >= SIZE {
            break;
        }
    }
    harmless(&Saved::new("long-names", &[file, end].concat()));
}

#[test]
fn names_in_great_number() {
    let (mut file, end) = Forged::from(&golden("names.twtrace")).around(1);
    for block in 0..15 {
        let names: Vec<_> = (0..2_000)
            .map(|number| {
                format!(
                    r#""{0}":"/{1}/{0}""#,
                    block * 2_000 + number,
                    "x".repeat(900)
                )
            })
            .collect();
        let text = format!(r#"{{"cgroups":{{{}}}}}"#, names.join(","));
        file.extend(packed(NAMES, text.as_bytes()));
    }
    in_views(
        &VIEWS[4..],
        &Saved::new("many-names", &[file, end].concat()),
    );
}

#[test]
fn short_names_in_one_block() {
    for kind in ["users", "netns", "cgroups"] {
        let names: Vec<_> = (0..600_000).map(|n| format!(r#""{n}":"""#)).collect();
        let text = format!(r#"{{"{kind}":{{{}}}}}"#, names.join(","));
        in_views(&VIEWS[4..], &many(kind, NAMES, text.as_bytes()));
    }
}

#[test]
fn meta_data_that_say_more_than_is_asked() {
    let mut whole = Forged::from(&golden("names.twtrace"));
    let meta = String::from_utf8(whole.blocks[0].1.clone()).unwrap();
    let more = "[],".repeat(20 << 20);
    let meta = meta.replacen('{', &format!(r#"{{"more":[{more}0],"#), 1);
    whole.blocks[0] = (META, meta.into_bytes());
    harmless(&whole.save("meta"));
}

/// Of as many namespaces as are read, and of more.
#[test]
fn snapshots_of_everything() {
    let whole = Forged::from(&golden("names.twtrace"));
    let of_snapshot = |block: &&(u8, Vec<u8>)| block.0 == SNAPSHOT;
    let (_, snapshot) = whole.blocks.iter().rfind(of_snapshot).unwrap();
    let snapshot: serde_json::Value = serde_json::from_slice(snapshot).unwrap();
    let counters = snapshot["counters"][0].clone();
    let names: serde_json::Map<_, _> = (0..24).map(|n| (n.to_string(), 1.into())).collect();
    let kernel = serde_json::json!({"netns": 1, "tcp_ext": names});
    let bucket = serde_json::json!([0, 0]);
    for (key, one, most) in [
        ("counters", counters, 4_096),
        ("kernel", kernel, 4_096),
        ("histograms", bucket, 67_584),
    ] {
        for (count, expected) in [(most, 3), (most + 1, 2)] {
            let mut list = vec![one.clone(); count];
            for (number, one) in list.iter_mut().enumerate() {
                if one.is_object() {
                    one["netns"] = number.into();
                }
            }
            let mut snapshot = snapshot.clone();
            snapshot[key] = list.into();
            let block = (SNAPSHOT, snapshot.to_string().into_bytes());
            let blocks = std::iter::repeat_n(block, 4);
            let saved = whole.clone().with(blocks).save(key);
            in_views(&VIEWS[..1], &saved);
            assert_eq!(report(VIEWS[0], saved.path()).0, expected, "{count} {key}");
        }
    }
}

#[test]
fn findings_of_everything() {
    let more = "[],".repeat(20 << 20);
    let text = format!(r#"{{"found":"listing","at_ns":1,"more":[{more}0]}}"#);
    harmless(&many("found", FOUND, text.as_bytes()));
    let text = format!(r#"{{"more":[{more}0],"found":"listing","at_ns":1}}"#);
    harmless(&many("found", FOUND, text.as_bytes()));
}

#[test]
fn records_of_nothing() {
    harmless(&many("records", RECORDS, &vec![0; 60 << 20]));
}

/// No two of them have anything in common.
#[test]
fn records_of_everything() {
    let whole = Forged::from(&golden("names.twtrace"));
    let block = |kind| whole.blocks.iter().find(|block| block.0 == kind).unwrap();
    let (_, records) = block(RECORDS);
    let length = usize::from(u16::from_le_bytes([records[0], records[1]]));
    let one = &records[..2 + length];
    let different = |number: u32| {
        let mut record = one.to_vec();
        for (at, salt) in [
            (offset_of!(record::Flow, laddr), 1),
            (offset_of!(record::Flow, raddr), 3),
            (offset_of!(record::Flow, netns), 5),
            (offset_of!(record::Flow, uid), 7),
            (offset_of!(record::Flow, cgroup), 9),
        ] {
            record[2 + at..2 + at + 4].copy_from_slice(&(number * salt).to_ne_bytes());
        }
        record
    };
    let blocks = (0..200).map(|block| {
        let records = (0..1_000).flat_map(|number| different(block * 1_000 + number));
        (RECORDS, records.collect())
    });
    harmless(&whole.clone().with(blocks).save("records-of-everything"));
}

/// A length that the file does not keep is not believed.
#[test]
fn lengths_that_are_not_there() {
    let mut file = Forged::from(&golden("names.twtrace"));
    file.blocks.retain(|block| block.0 != END);
    let mut bytes = file.to_bytes();
    for claimed in [60_u32 << 20, u32::MAX] {
        let mut head = claimed.to_le_bytes().to_vec();
        head.extend([RECORDS, 0, 0, 0, 1, 2, 3, 4]);
        head.extend(crc32fast::hash(&head).to_le_bytes());
        bytes.extend(head);
        harmless(&Saved::new("claim", &bytes));
        bytes.truncate(bytes.len() - 16);
    }
    // What LZ4 says before it unpacks.
    let payload = [&(60_u32 << 20).to_le_bytes()[..], &[0; 9]].concat();
    let mut block = (payload.len() as u32).to_le_bytes().to_vec();
    block.extend([NAMES, 0, 0, 0]);
    block.extend(crc32fast::hash(&payload).to_le_bytes());
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block.extend(payload);
    bytes.extend(block);
    harmless(&Saved::new("packed", &bytes));
}
