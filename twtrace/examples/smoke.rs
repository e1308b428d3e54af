#![allow(warnings)]
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use twtrace::kernel::{Attach, Options, Session};
fn main() {
    let mode = match std::env::args().nth(1).as_deref() {
        Some("kprobe") => Attach::Kprobe,
        Some("fentry") => Attach::Fentry,
        _ => Attach::Auto,
    };
    let records = std::env::args().nth(2).as_deref() != Some("hist");
    let t = std::time::Instant::now();
    let mut s = match Session::start(&Options {
        attach: mode,
        records,
        ..Options::default()
    }) {
        Ok(s) => s,
        Err(e) => {
            println!("ERR {e}");
            return;
        }
    };
    println!("attached in {:?} {:?}", t.elapsed(), s.meta());
    for a in s.attached() {
        println!(
            "  {} {:?} {:?}",
            a.point.name,
            a.way.as_ref().map(|w| w.0),
            a.refused
        );
    }
    for p in s.programs() {
        println!("  {:?}", p);
    }
    let l = TcpListener::bind("127.0.0.1:7777").unwrap();
    for i in 0..3 {
        let mut c = TcpStream::connect("127.0.0.1:7777").unwrap();
        let (mut a, _) = l.accept().unwrap();
        drop(a); // server closes first
        let mut b = [0u8; 1];
        let _ = c.read(&mut b);
        drop(c);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    s.drain(&mut |r| println!("{:?}", r));
    let snap = s.snapshot().unwrap();
    println!(
        "{:?} missed {:?} slack {} kernel {:?}",
        snap.counters, snap.missed, snap.slack, snap.kernel
    );
    println!(
        "status {}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("Vm") || l.starts_with("Rss"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    if std::env::args().nth(3).is_some() {
        std::thread::sleep(std::time::Duration::from_secs(63));
        s.drain(&mut |r| println!("{:?}", r));
        let snap = s.snapshot().unwrap();
        println!(
            "{:?} missed {:?} hist {}",
            snap.counters,
            snap.missed,
            snap.histograms.iter().sum::<u64>()
        );
    }
}
