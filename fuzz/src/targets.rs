//! Functions that take any bytes, and must neither panic, hang, nor let through what a terminal
//! obeys.

use std::io::Cursor;

use twtrace::decode;
use twtrace::event::facts::Facts;
use twtrace::event::{CommandName, Event, Named};
use twtrace::host::{Names, Owner};
use twtrace::kernel::btf::{Btf, Kind, stand_in};
use twtrace::kernel::offsets;
use twtrace::model::doctor::diagnose;
use twtrace::recording::{Item, Reader};
use twtrace::text::{LONGEST, Text, is_plain};
use twtrace::view::doctor;
use twtrace::view::paint::Paint;

/// The name of a corpus, and what takes it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("decode", decode),
    ("recording", recording),
    ("btf", btf),
    ("text", text),
    ("facts", facts),
];

/// One record of the ring.
pub fn decode(bytes: &[u8]) {
    match decode::decode(bytes) {
        Ok(Event::PortFailure(failure)) => plain(&failure.command.text()),
        Ok(event) => assert_eq!(event.at_ns(), event.at_ns()),
        Err(error) => plain(&error.to_string()),
    }
}

/// A recording: as it is, or, if it begins with a zero, as blocks around which everything is
/// right. A fuzzer finds no checksums.
pub fn recording(bytes: &[u8]) {
    let file = match bytes.split_first() {
        Some((0, blocks)) => in_blocks(blocks),
        _ => bytes.to_vec(),
    };
    if let Err(error) = read(file) {
        plain(error.message());
    }
}

fn read(file: Vec<u8>) -> twtrace::error::Result<()> {
    let mut reader = Reader::new("fuzzed".into(), Box::new(Cursor::new(file)))?;
    plain(&reader.meta().kernel);
    plain(&reader.meta().attach);
    let mut names = Names::none();
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => decode(record),
            Item::Snapshot(snapshot) => {
                let kernel = snapshot.kernel.iter();
                kernel
                    .flat_map(|one| one.tcp_ext.keys())
                    .for_each(|name| plain(name));
            }
            Item::Found(_) => {}
            Item::Names(named) => {
                let Named {
                    users,
                    netns,
                    cgroups,
                } = &named;
                users
                    .values()
                    .chain(netns.values())
                    .for_each(|name| plain(name));
                cgroups.values().for_each(path);
                names.add(named);
            }
        }
    }
    Ok(())
}

/// `kind length:u16 payload` becomes a block, one after the other; the first is the head's.
fn in_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut file = b"twtrace\n".to_vec();
    file.extend(twtrace_common::ABI.to_ne_bytes());
    file.extend(2_u32.to_le_bytes());
    let mut rest = bytes;
    while let Some(([kind, low, high], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (payload, behind) = behind.split_at(length);
        let payload = lz4_flex::block::compress_prepend_size(payload);
        let mut head = (payload.len() as u32).to_le_bytes().to_vec();
        head.extend([*kind, 0, 0, 0]);
        head.extend(crc32fast::hash(&payload).to_le_bytes());
        file.extend(&head);
        file.extend(crc32fast::hash(&head).to_le_bytes());
        file.extend(payload);
        rest = behind;
    }
    file
}

/// Type information: what is asked of a kernel's is asked of this.
pub fn btf(bytes: &[u8]) {
    const WANTED: [(&str, Kind); 5] = [
        ("loop", Kind::Struct),
        ("sock_common", Kind::Struct),
        ("function", Kind::Function),
        ("btf_trace_loop", Kind::Typedef),
        ("TCP_TIME_WAIT", Kind::Enumerator),
    ];
    let btf = match Btf::parse(bytes.to_vec().into(), &WANTED) {
        Ok(btf) => btf,
        Err(why) => return plain(&why),
    };
    for name in ["loop", "sock_common"] {
        let _ = (btf.member(name, "x"), btf.member(name, "x.x.skc_dport"));
        let _ = btf.has_member(name, "nothing");
    }
    let _ = (
        btf.parameters("function"),
        btf.tracepoint_parameters("loop"),
    );
    let _ = (btf.enumerator("TCP_TIME_WAIT"), btf.len());
    let _ = (
        offsets::values(&btf),
        offsets::ts_offset(&btf),
        offsets::tw_counted_at(&btf),
    );
    let _ = (offsets::resolve(&btf), stand_in(&btf));
}

/// A name, as bytes and as text, and what is read from it.
pub fn text(bytes: &[u8]) {
    let whole = Text::of_bytes(bytes);
    plain(&whole);
    assert!(whole.len() <= LONGEST);
    assert_eq!(Text::new(&whole), whole, "it is clean already");
    plain(&Text::new(&String::from_utf8_lossy(bytes)));
    path(&whole);
    let mut command = [0; 16];
    let length = bytes.len().min(16);
    command[..length].copy_from_slice(&bytes[..length]);
    plain(&CommandName::new(command).text());
}

fn path(path: &Text) {
    plain(path);
    let owner = Owner::of_path(path);
    for told in [
        owner.short(),
        owner.long(),
        owner.unit,
        owner.container,
        owner.pod,
    ] {
        told.iter().for_each(|told| plain(told));
    }
}

/// What `doctor --read` reads, and says of it.
pub fn facts(bytes: &[u8]) {
    let facts: Facts = match serde_json::from_slice(bytes) {
        Ok(facts) => facts,
        Err(_) => return,
    };
    let diagnosis = diagnose(&facts);
    for said in [
        doctor::text(&facts, &diagnosis, Paint::NONE, &mut Names::none()),
        doctor::json(&facts, &diagnosis),
    ] {
        said.lines().for_each(plain);
    }
}

/// No line holds what a terminal obeys or what deceives the eye.
fn plain(line: &str) {
    assert!(line.chars().all(is_plain), "{line:?}");
}
