//! What the golden tests share.

use std::fs;
use std::path::{Path, PathBuf};

use twtrace::event::{Meta, TwCountedAt};
use twtrace::recording::Reader;
use twtrace::view::{Of, Options, Output};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;
pub(crate) const STARTED: u64 = 5_000 * S;
pub(crate) const HOST: u32 = 4_026_531_840;

/// Of a trace by fentry from [`STARTED`] on that had nothing but ends.
pub(crate) fn meta() -> Meta {
    Meta {
        kernel: "6.18.0".into(),
        attach: "fentry".into(),
        hooks: 9,
        tw_counted_at: TwCountedAt::Birth,
        // 2026-02-03 13:02:11 UTC at the start.
        wall_offset_ns: (1_770_123_731 * S - STARTED) as i64,
        started_ns: STARTED,
        filtered: false,
        rearms: false,
        refusals: false,
        drops: false,
        births: false,
        ports: false,
        quiet_ends: false,
        ts_offset: None,
    }
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub(crate) fn bless() -> bool {
    std::env::var_os("TWTRACE_BLESS").is_some()
}

/// Compares with a file, or writes it.
pub(crate) fn expect(path: &Path, output: &[u8]) {
    if bless() {
        fs::write(path, output).unwrap();
    }
    let expected = String::from_utf8(fs::read(path).unwrap()).unwrap();
    let output = String::from_utf8(output.to_vec()).unwrap();
    if output != expected {
        let differs = |(a, b): &(&str, &str)| a != b;
        let mut lines = output.lines().zip(expected.lines());
        let (got, expected) = lines.find(differs).unwrap_or(("", ""));
        panic!(
            "{}: first difference\n     got: {got}\nexpected: {expected}",
            path.display()
        );
    }
}

pub(crate) fn options(output: Output, events: Of) -> Options {
    Options {
        output,
        fields: None,
        utc: true,
        wide: false,
        events,
    }
}

/// A recording in the tree holds what `record_to` writes today.
pub(crate) fn holds(recording: &Path, meta: &Meta, record_to: fn(&Path)) {
    let name = recording.file_name().unwrap().display();
    let fresh = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
    record_to(&fresh);
    let items = |path: &Path| {
        let mut reader = Reader::open(path).unwrap();
        assert_eq!(reader.meta(), meta);
        let mut items = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            items.push(format!("{item:?}"));
        }
        assert!(!reader.truncated());
        items
    };
    let expected = items(&fresh);
    fs::remove_file(&fresh).unwrap();
    assert_eq!(items(recording), expected);
}
