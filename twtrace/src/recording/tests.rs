use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use twtrace_common::counters::Counters;
use twtrace_common::histogram::{BUCKETS, CLOCKS};
use twtrace_common::{ABI, REASONS};

use super::format::{BlockHead, END, HEAD, RECORDS};
use super::*;
use crate::error::Error;
use crate::event::found::{Found, PortRules, Survey, Users};
use crate::event::{KernelCounters, Meta, Named, Snapshot};

/// A file in memory, with room for so many bytes.
#[derive(Clone)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Disk {
    fn new(room: usize) -> Self {
        Self {
            bytes: Arc::default(),
            room,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.bytes.lock().unwrap();
        let room = self.room - written.len();
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let part = &bytes[..bytes.len().min(room)];
        written.extend(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn meta() -> Meta {
    Meta {
        kernel: "6.12.0".into(),
        hooks: 9,
        wall_offset_ns: -5,
        started_ns: 7,
        rearms: true,
        refusals: true,
        drops: true,
        ..Meta::sample()
    }
}

fn snapshot(at_ns: u64) -> Snapshot {
    let mut histograms = vec![0; REASONS * CLOCKS * BUCKETS];
    histograms[0] = 1;
    histograms[12_345] = at_ns;
    *histograms.last_mut().unwrap() = u64::MAX;
    Snapshot {
        at_ns,
        counters: vec![Counters {
            netns: 4_026_531_840,
            born_time_wait: at_ns,
            ended: std::array::from_fn(|index| index as u64),
            ..Counters::ZERO
        }],
        histograms,
        missed: None,
        kernel: vec![KernelCounters {
            netns: 4_026_531_840,
            cookie: Some(at_ns),
            tcp_ext: [("TW".into(), 3)].into(),
        }],
        slack: 2,
    }
}

fn record(number: u8) -> Vec<u8> {
    vec![number; 60 + usize::from(number)]
}

fn found(at_ns: u64) -> Found {
    Found::Survey(Survey {
        held_fin_wait_2: None,
        netns: 4_026_531_840,
        at_ns,
        rules: PortRules {
            reserved: vec![(1, 2)],
            ..PortRules::default()
        },
        taken: vec![(40_000, 40_001)],
        users: vec![Users {
            laddr: [127, 0, 0, 1].into(),
            raddr: std::net::Ipv6Addr::LOCALHOST.into(),
            rport: 443,
            ports: 19,
        }],
    })
}

fn named(uid: u32) -> Named {
    Named {
        users: [(uid, format!("user {uid}").into())].into(),
        netns: [(4_026_531_840, "host".into())].into(),
        cgroups: [(u64::from(uid), "/system.slice/nginx.service".into())].into(),
    }
}

/// Two snapshots around three records, then something that was found and two more records; names after the records.
fn write(disk: Disk) -> Result<(), Error> {
    let mut writer = Writer::new("t".into(), Box::new(disk), &meta())?;
    writer.snapshot(&snapshot(10))?;
    for number in 0..3 {
        writer.record(&record(number))?;
    }
    writer.names(&named(33))?;
    writer.snapshot(&snapshot(20))?;
    writer.found(&found(30))?;
    for number in 3..5 {
        writer.record(&record(number))?;
    }
    writer.names(&named(34))?;
    writer.finish()
}

fn recording() -> Vec<u8> {
    let disk = Disk::new(usize::MAX);
    write(disk.clone()).unwrap();
    disk.bytes()
}

/// What came out: a record's number, the moment of a snapshot, or the uid that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Record(u8),
    Snapshot(u64),
    Names(u32),
    Found,
}

const ALL: [Seen; 10] = [
    Seen::Snapshot(10),
    Seen::Record(0),
    Seen::Record(1),
    Seen::Record(2),
    Seen::Names(33),
    Seen::Snapshot(20),
    Seen::Found,
    Seen::Record(3),
    Seen::Record(4),
    Seen::Names(34),
];

/// Everything that can be read, and how it ended: cut or not, or with an error.
fn read(bytes: &[u8]) -> (Vec<Seen>, Result<bool, Error>) {
    let mut seen = Vec::new();
    let result = read_into(bytes, &mut seen);
    (seen, result)
}

fn read_into(bytes: &[u8], seen: &mut Vec<Seen>) -> Result<bool, Error> {
    let mut reader = Reader::new("t".into(), Box::new(Cursor::new(bytes.to_vec())))?;
    assert_eq!(reader.meta(), &meta());
    while let Some(item) = reader.next()? {
        seen.push(match item {
            Item::Record(bytes) => {
                assert_eq!(bytes, record(bytes[0]));
                Seen::Record(bytes[0])
            }
            Item::Snapshot(read) => {
                assert_eq!(read, snapshot(read.at_ns));
                Seen::Snapshot(read.at_ns)
            }
            Item::Found(read) => {
                assert_eq!(read, found(30));
                Seen::Found
            }
            Item::Names(read) => {
                let uid = *read.users.keys().next().unwrap();
                assert_eq!(read, named(uid));
                Seen::Names(uid)
            }
        });
    }
    Ok(reader.truncated())
}

#[test]
fn what_was_written_is_read() {
    let (seen, result) = read(&recording());
    assert_eq!(seen, ALL);
    assert!(!result.unwrap());
}

#[test]
fn a_recording_cut_anywhere_reads_up_to_the_cut_and_says_so() {
    let whole = recording();
    let mut most = 0;
    for length in 0..whole.len() {
        let (seen, result) = read(&whole[..length]);
        assert!(ALL.starts_with(&seen), "cut at {length}");
        assert!(seen.len() >= most, "cut at {length}");
        most = seen.len();
        match result {
            Ok(truncated) => assert!(truncated, "cut at {length}"),
            Err(error) => {
                // Only where nothing at all can be read.
                assert!(seen.is_empty(), "cut at {length}");
                let message = error.message();
                let expected = if length == 0 {
                    "not a recording"
                } else {
                    "was cut"
                };
                assert!(message.contains(expected), "cut at {length}: {message}");
            }
        }
    }
    assert_eq!(most, ALL.len());
}

#[test]
fn all_names_are_known_before_the_first_record_up_to_a_cut_or_damage() {
    let whole = recording();
    let path = std::env::temp_dir().join(format!("twtrace-names-of-{}", std::process::id()));
    let names = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Reader::names(&path)
    };
    let users = |bytes: &[u8]| names(bytes).users.into_keys().collect::<Vec<_>>();
    let mut all = named(33);
    all.extend(named(34));
    assert_eq!(names(&whole), all);
    for length in 0..whole.len() {
        let read = read(&whole[..length]).0;
        let expected = [33, 34]
            .into_iter()
            .filter(|uid| read.contains(&Seen::Names(*uid)));
        assert_eq!(
            users(&whole[..length]),
            expected.collect::<Vec<_>>(),
            "cut at {length}"
        );
    }
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(names(&damaged), all, "the end marker is not looked at");
    damaged[HEAD] ^= 1;
    assert!(users(&damaged).is_empty());
    std::fs::remove_file(&path).unwrap();
    assert!(Reader::names(&path).is_empty());
    assert!(Reader::names(&std::env::temp_dir()).is_empty());
}

#[test]
fn the_layout_without_names_is_read() {
    let mut old = recording();
    old[12] = 1;
    assert_eq!(read(&old).0, ALL);
    old[12] = 0;
    assert!(read(&old).1.is_err());
}

#[test]
fn a_damaged_byte_is_noticed_wherever_it_is() {
    let whole = recording();
    for at in 0..whole.len() {
        for bit in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= bit;
            let (seen, result) = read(&damaged);
            assert!(ALL.starts_with(&seen), "byte {at}");
            let error = result.expect_err(&format!("byte {at}"));
            assert!(error.to_string().contains("\nhint: "), "{error}");
        }
    }
}

#[test]
fn what_was_written_before_the_disk_was_full_is_read() {
    let whole = recording();
    for room in HEAD..whole.len() {
        let disk = Disk::new(room);
        let error = write(disk.clone()).unwrap_err();
        assert!(error.message().contains("cannot write"), "{error}");
        assert!(error.to_string().contains("hint"), "{error}");
        assert_eq!(disk.bytes(), whole[..room]);
    }
}

#[test]
fn a_foreign_file_is_not_a_recording() {
    let png = b"\x89PNG\r\n\x1a\n and more of it";
    for foreign in [&b""[..], b"GIF89a", png, b"twtrace\r\n and more"] {
        let message = read(foreign).1.unwrap_err();
        assert!(message.message().contains("not a recording"), "{message}");
    }
}

#[test]
fn a_newer_recording_names_both_versions() {
    let mut newer = recording();
    newer[8..12].copy_from_slice(&(ABI + 1).to_ne_bytes());
    let error = read(&newer).1.unwrap_err().to_string();
    let (theirs, ours) = (ABI + 1, ABI);
    assert!(
        error.contains(&format!("records of version {theirs}")),
        "{error}"
    );
    assert!(error.contains(&format!("reads version {ours}")), "{error}");
    let mut newer = recording();
    newer[12] = 9;
    let error = read(&newer).1.unwrap_err().to_string();
    assert!(error.contains("layout of version 9"), "{error}");
}

#[test]
fn a_recording_of_the_other_byte_order_is_said_to_be_so() {
    let mut foreign = recording();
    foreign[8..12].reverse();
    let error = read(&foreign).1.unwrap_err().to_string();
    assert!(error.contains("byte order"), "{error}");
}

/// A whole recording with one more block at its end.
fn with_block(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut whole = recording();
    let payload = lz4_flex::block::compress_prepend_size(payload);
    // The end marker is the last block: its head and twelve or so bytes of payload.
    let marker = BlockHead {
        length: lz4_flex::block::compress_prepend_size(&5_u64.to_le_bytes()).len() as u32,
        kind: END,
        payload_crc: 0,
    };
    whole.truncate(whole.len() - marker.to_bytes().len() - marker.length as usize);
    let head = BlockHead {
        length: payload.len() as u32,
        kind,
        payload_crc: crc32fast::hash(&payload),
    };
    whole.extend(head.to_bytes());
    whole.extend(payload);
    whole
}

#[test]
fn an_end_marker_that_counts_other_records_is_damage() {
    assert!(!read(&with_block(END, &5_u64.to_le_bytes())).1.unwrap());
    for payload in [&4_u64.to_le_bytes()[..], b"", b"123456789"] {
        let (seen, result) = read(&with_block(END, payload));
        assert_eq!(seen, ALL);
        assert!(result.unwrap_err().message().contains("end marker"));
    }
}

#[test]
fn a_block_that_is_whole_but_senseless_is_damage() {
    for (kind, payload) in [
        (RECORDS, &b"\xff\xff short"[..]),
        (RECORDS, b"\x01"),
        (super::format::SNAPSHOT, b"{}"),
        (super::format::META, b"{}"),
        (super::format::NAMES, b"7"),
        (77, b""),
    ] {
        let (seen, result) = read(&with_block(kind, payload));
        assert_eq!(seen, ALL);
        assert!(result.unwrap_err().message().contains("damaged"));
    }
}

#[test]
fn nothing_may_come_after_the_end() {
    let mut longer = recording();
    longer.push(0);
    assert!(
        read(&longer)
            .1
            .unwrap_err()
            .message()
            .contains("after its end")
    );
}

#[test]
fn an_empty_record_is_a_record() {
    let disk = Disk::new(usize::MAX);
    let mut writer = Writer::new("t".into(), Box::new(disk.clone()), &meta()).unwrap();
    writer.record(&[]).unwrap();
    writer.finish().unwrap();
    let mut reader = Reader::new("t".into(), Box::new(Cursor::new(disk.bytes()))).unwrap();
    assert_eq!(reader.next().unwrap(), Some(Item::Record(&[])));
    assert_eq!(reader.next().unwrap(), None);
    assert!(!reader.truncated());
}

#[test]
fn records_are_written_when_a_block_is_full_without_waiting_for_more() {
    let disk = Disk::new(usize::MAX);
    let mut writer = Writer::new("t".into(), Box::new(disk.clone()), &meta()).unwrap();
    let before = disk.bytes().len();
    writer.record(&[1; 88]).unwrap();
    assert_eq!(disk.bytes().len(), before);
    for _ in 0..800 {
        writer.record(&[1; 88]).unwrap();
    }
    assert!(disk.bytes().len() > before);
}

#[test]
fn a_directory_or_a_missing_file_is_named() {
    let directory = std::env::temp_dir();
    let error = Writer::create(&directory, &meta()).unwrap_err();
    assert!(error.message().contains(&directory.display().to_string()));
    let missing = directory.join("twtrace-no-such-recording");
    let error = Reader::open(&missing).unwrap_err();
    assert!(error.message().contains("twtrace-no-such-recording"));
    assert!(Reader::open(&directory).is_err());
}

#[test]
fn many_long_names_are_written_in_parts_that_can_be_read() {
    let path = |id: u64| format!("/{}/{id}", r"\".repeat(1_000));
    let many = Named {
        cgroups: (0..5_000).map(|id| (id, path(id).into())).collect(),
        ..named(33)
    };
    let disk = Disk::new(usize::MAX);
    let mut writer = Writer::new("t".into(), Box::new(disk.clone()), &meta()).unwrap();
    writer.names(&many).unwrap();
    writer.finish().unwrap();
    let mut reader = Reader::new("t".into(), Box::new(Cursor::new(disk.bytes()))).unwrap();
    let mut all = Named::default();
    let mut parts = 0;
    while let Some(item) = reader.next().unwrap() {
        let Item::Names(named) = item else {
            panic!("only names were written");
        };
        assert!(named.most() <= super::format::NAMES_A_BLOCK);
        all.extend(named);
        parts += 1;
    }
    assert_eq!(all, many);
    assert_eq!(parts, 5, "users, netns, and cgroups in three");
}

#[test]
fn damage_is_told_with_its_place() {
    let whole = with_block(77, b"");
    let place = whole.len() - super::format::BLOCK_HEAD - 5;
    let error = read(&whole).1.unwrap_err();
    let expected = format!("recording t is damaged at byte {place}: a block of unknown kind 77");
    assert_eq!(error.message(), expected);
    let long = vec![b' '; 3 << 20];
    let error = read(&with_block(super::format::FOUND, &long))
        .1
        .unwrap_err();
    let expected = "a block of 3145728 bytes where at most 2097152 are allowed";
    assert!(error.message().ends_with(expected), "{error}");
}
