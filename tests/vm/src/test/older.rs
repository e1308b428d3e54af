//! Preexisting mini-sockets: each gets an end reason, whatever else exists; and where there is no
//! room for a mark, the loss is reported.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::checks::Checks;
use crate::namespace::{Namespace, sysctl};
use crate::tracer::{Tracer, Written};

const WANTED_PORT: u16 = 8_888;
const WANTED: u16 = 99;
const OTHER_PORT: u16 = 9_999;
const OTHERS: u16 = 401;
/// Room for all wanted mini-sockets but not for all that exist, with a hash map or an array.
const ROOM: &str = "400";
/// Time in FIN_WAIT2: longer than attaching takes, so that none ends before.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The timer wheel may fire an eighth late.
const PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);
/// Exit code of a trace that lost something.
const INCOMPLETE: i32 = 3;

/// Only the mini-sockets on one port pass a filter; the others take no room from them.
pub(crate) fn filtered(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/older.json");
    let namespace = Namespace::make("older")?;
    let others = namespace.run(|| orphans(OTHER_PORT, OTHERS, Duration::from_secs(60)))?;
    let wanted = namespace.run(|| orphans(WANTED_PORT, WANTED, TIMEOUT))?;
    let port = WANTED_PORT.to_string();
    let mut args = vec!["trace", "-o", "json", "--attach", attach];
    args.extend(["-L", &port, "--max-sockets", ROOM]);
    let tracer = Tracer::start(&args, stdout)?;
    let there = namespace.run(fin_wait_2)?;
    // Their peers' FINs move them to TIME_WAIT.
    drop(others);
    let left = namespace.run(|| await_timeouts(WANTED_PORT))?;
    let code = tracer.stop()?;
    drop(wanted);
    namespace.end()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    enough(&mut checks, there.len(), WANTED + OTHERS);
    let wanted = there.iter().filter(|port| **port == WANTED_PORT).count() as u64;
    checks.equal("in FIN_WAIT2 in the end", left, 0);
    checks.equal("ends", written.number("/seen")?, wanted);
    let timeouts = written.number("/totals/fin-wait-2-timeout")?;
    checks.equal("ends by fin-wait-2-timeout", timeouts, wanted);
    let strange = written.events.iter().find(|event| {
        event["event"] != "end"
            || event["reason"] != "fin-wait-2-timeout"
            || event["lport"] != WANTED_PORT
    });
    checks.equal("an event that nobody asked for", strange, None);
    lossless(&mut checks, &written);
    checks.equal("exit code", code, 0);
    checks.end(format!("{timeouts} of {wanted} by fin-wait-2-timeout"))
}

/// Nearly all are mini-sockets. Where the last ACK finds the socket still locked by close(), a full
/// socket waits in FIN_WAIT2 instead (`tcp_rcv_state_process`).
fn enough(checks: &mut Checks, there: usize, made: u16) {
    let made = usize::from(made);
    checks.that(there <= made && there + made / 20 >= made, || {
        format!("{there} mini-sockets of {made} sockets in FIN_WAIT2 when tracing began")
    });
}

/// Nothing is lost for lack of room.
fn lossless(checks: &mut Checks, written: &Written) {
    let lost = written.summary["lost"].as_object();
    let named = lost.into_iter().flatten();
    let some: Vec<_> = named
        .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
        .collect();
    checks.equal("lost", some, vec![]);
}

/// A few preexisting mini-sockets, and then enough new ones to fill every map.
const FEW: u16 = 53;
const MORE: [u16; 5] = [199; 5];

/// A mark without room is counted as lost, and an end without its mark makes the trace incomplete.
pub(crate) fn no_room(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/no-room.json");
    let namespace = Namespace::make("no-room")?;
    // The default limit depends on the VM's memory.
    namespace.run(|| sysctl("tcp_max_tw_buckets", "262144"))?;
    let old = namespace.run(|| orphans(WANTED_PORT, FEW, TIMEOUT))?;
    let args = ["--attach", attach, "--max-sockets", "1"];
    let tracer = Tracer::start(&[&["trace", "-o", "json"], &args[..]].concat(), stdout)?;
    let there = namespace.run(fin_wait_2)?.len();
    for more in MORE {
        drop(namespace.run(|| orphans(OTHER_PORT, more, TIMEOUT))?);
    }
    let left = namespace.run(|| await_timeouts(WANTED_PORT))?;
    let code = tracer.stop()?;
    drop(old);
    namespace.end()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    enough(&mut checks, there, FEW);
    checks.equal("in FIN_WAIT2 in the end", left, 0);
    let [timeouts, other] =
        ["fin-wait-2-timeout", "other"].map(|reason| written.number(&format!("/totals/{reason}")));
    let (timeouts, other) = (timeouts?, other?);
    checks.equal("ends of the old", timeouts + other, there as u64);
    checks.that(written.number("/lost/map")? > 0, || {
        "there was room for all births".to_owned()
    });
    checks.equal("exit code", code, INCOMPLETE);
    let marks = written.number(MARKS_LOST)?;
    checks.that(marks > 0 && other <= marks, || {
        format!("{other} ends by other, and {marks} marks lost")
    });
    checks.end(format!("{other} of {there} by other, {marks} marks lost"))
}

/// Where the summary says how many marks found no room.
const MARKS_LOST: &str = "/lost/mark_lost";

/// The peers of mini-sockets in FIN_WAIT2 on a port.
fn orphans(port: u16, count: u16, timeout: Duration) -> Result<Vec<TcpStream>> {
    sysctl("tcp_fin_timeout", &timeout.as_secs().to_string())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let orphan = |_| {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        drop(listener.accept()?);
        ensure!(client.read(&mut [0])? == 0, "data came where none was sent");
        Ok(client)
    };
    (0..count).map(orphan).collect()
}

/// Waits until no mini-socket on that port is in FIN_WAIT2; returns how many still are.
fn await_timeouts(port: u16) -> Result<usize> {
    let started = Instant::now();
    loop {
        let left = fin_wait_2()?.into_iter().filter(|one| *one == port).count();
        if left == 0 || started.elapsed() > PATIENCE {
            return Ok(left);
        }
        thread::sleep(POLL);
    }
}

/// The local port of each mini-socket in FIN_WAIT2 in the current namespace.
fn fin_wait_2() -> Result<Vec<u16>> {
    const FIN_WAIT2: &str = "05";
    /// The timer of a mini-socket.
    const TIMER: &str = "03:";
    let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let port = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state) = (words.next()?, words.next()?, words.next()?);
        let timer = words.nth(1)?;
        let (_, port) = local.split_once(':')?;
        u16::from_str_radix(port, 16)
            .ok()
            .filter(|_| state == FIN_WAIT2 && timer.starts_with(TIMER))
    };
    Ok(table.lines().filter_map(port).collect())
}
