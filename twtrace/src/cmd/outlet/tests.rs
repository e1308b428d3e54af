use std::fs;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::*;

fn slow() -> (PipeReader, Outlet) {
    let (reader, writer) = pipe().unwrap();
    (reader, Outlet::new(OwnedFd::from(writer).into()).unwrap())
}

fn line(number: usize) -> Vec<u8> {
    format!("{{\"line\":{number},\"filler\":\"{:>300}\"}}\n", "").into_bytes()
}

/// Hands lines over until there is no room, and says how many.
fn fill(outlet: &Outlet) -> usize {
    let mut lines = 0;
    while !outlet.is_full() {
        outlet.hand(&mut line(lines)).unwrap();
        lines += 1;
    }
    lines
}

fn read(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_pipe_that_nobody_reads_keeps_nobody_waiting_and_every_line_is_accounted_for() {
    let (reader, outlet) = slow();
    let began = Instant::now();
    let lines = fill(&outlet);
    outlet.end_by(Instant::now() + Duration::from_millis(200));
    let cut = outlet.finish().unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(outlet);
    let text = read(reader);
    let shown = text.lines().count();
    assert!(shown > 100, "the pipe held {shown} lines");
    assert!(text.ends_with('\n'), "the last line is cut");
    assert_eq!(shown + cut.lines as usize, lines);
    let all: usize = (0..lines).map(|number| line(number).len()).sum();
    assert_eq!(text.len() + cut.bytes as usize, all);
}

#[test]
fn what_comes_after_the_cut_is_counted_and_never_waited_for() {
    let (reader, outlet) = slow();
    let lines = fill(&outlet);
    outlet.cut();
    assert!(!outlet.is_full());
    outlet.hand(&mut b"one\ntwo\n".to_vec()).unwrap();
    let cut = outlet.finish().unwrap().unwrap();
    drop(outlet);
    let shown = read(reader).lines().count();
    assert_eq!(shown + cut.lines as usize, lines + 2);
}

#[test]
fn a_slow_reader_gets_all_in_order_if_it_is_given_the_time() {
    let (mut reader, outlet) = slow();
    let reading = thread::spawn(move || {
        let (mut text, mut some) = (Vec::new(), [0; 10_000]);
        loop {
            match reader.read(&mut some).unwrap() {
                0 => return String::from_utf8(text).unwrap(),
                read => text.extend_from_slice(&some[..read]),
            }
            thread::sleep(Duration::from_micros(500));
        }
    });
    let runtime = crate::cmd::live::runtime().unwrap();
    let expected: String = runtime.block_on(async {
        let mut expected = Vec::new();
        for number in 0..5_000 {
            if outlet.is_full() {
                outlet.room().await;
            }
            expected.extend(line(number));
            outlet.hand(&mut line(number)).unwrap();
        }
        String::from_utf8(expected).unwrap()
    });
    assert_eq!(outlet.finish().unwrap(), None);
    drop(outlet);
    assert!(reading.join().unwrap() == expected);
}

#[test]
fn while_output_waits_the_event_loop_serves_the_rest() {
    let (reader, outlet) = slow();
    fill(&outlet);
    let runtime = crate::cmd::live::runtime().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = outlet.room() => panic!("nobody has read"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    });
    outlet.cut();
    drop(reader);
}

#[test]
fn a_file_gets_all_and_buffers_go_round() {
    let path = std::env::temp_dir().join(format!("twtrace-outlet-{}", std::process::id()));
    let outlet = Outlet::new(File::create(&path).unwrap()).unwrap();
    let mut buffer = Vec::new();
    for number in 0..1_000 {
        buffer.extend(line(number));
        outlet.hand(&mut buffer).unwrap();
        assert!(buffer.is_empty());
    }
    assert_eq!(outlet.finish().unwrap(), None);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(text.lines().count(), 1_000);
}

#[test]
fn what_cannot_be_written_is_told_once() {
    let (reader, outlet) = slow();
    drop(reader);
    outlet.hand(&mut line(0)).unwrap();
    let error = outlet.finish().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(outlet.failed(), Some(ErrorKind::BrokenPipe));
    outlet.hand(&mut line(1)).unwrap();
    assert_eq!(outlet.finish().unwrap(), None);

    let full = Outlet::new(File::options().write(true).open("/dev/full").unwrap()).unwrap();
    full.hand(&mut line(0)).unwrap();
    assert_eq!(full.finish().unwrap_err().kind(), ErrorKind::StorageFull);
}
