use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

use super::*;
use crate::recording::Writer;

/// A file in memory.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A recording of these records, between two snapshots.
fn recorded(records: &[&[u8]]) -> Vec<u8> {
    let disk = Disk::default();
    let mut writer = Writer::new("x".into(), Box::new(disk.clone()), &Meta::sample()).unwrap();
    writer.snapshot(&Snapshot::default()).unwrap();
    for record in records {
        writer.record(record).unwrap();
    }
    let set = SetClock {
        at_ns: 5,
        wall_offset_ns: 7,
    };
    writer.found(&Found::ListingOver { at_ns: 4 }).unwrap();
    writer.found(&Found::Clock(set)).unwrap();
    writer.snapshot(&Snapshot::default()).unwrap();
    writer.finish().unwrap();
    disk.0.lock().unwrap().clone()
}

fn read(bytes: &[u8]) -> Reader {
    Reader::new("x", Cursor::new(bytes.to_vec())).unwrap()
}

#[test]
fn items_come_in_order_and_what_is_for_the_views_is_left_out() {
    let mut reader = read(&recorded(&[]));
    let items: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert!(matches!(
        items[..],
        [Item::Totals(_), Item::Clock(_), Item::Totals(_)]
    ));
    let summary = reader.summary();
    assert!(summary.complete() && !summary.cut);
}

#[test]
fn a_record_that_is_none_is_passed_over_and_counted() {
    let mut reader = read(&recorded(&[b"?", b""]));
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), 3);
    let summary = reader.summary();
    assert_eq!(summary.books.undecoded, 2);
    assert!(!summary.complete() && !summary.cut);
}

#[test]
fn a_recording_that_is_cut_or_damaged_says_so() {
    let whole = recorded(&[]);
    let mut half = read(&whole[..whole.len() - 3]);
    assert!(half.by_ref().all(|item| item.is_ok()));
    assert!(half.summary().cut);
    let mut bytes = whole.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut damaged = read(&bytes);
    assert_eq!(damaged.by_ref().filter(Result::is_err).count(), 1);
    assert!(damaged.next().is_none() && damaged.summary().cut);
}

#[test]
fn who_stops_early_has_no_whole_summary() {
    let mut reader = read(&recorded(&[]));
    reader.next().unwrap().unwrap();
    assert!(reader.summary().cut);
}
