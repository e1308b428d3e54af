//! Clients send their last bytes and their FIN in one segment, to a server that has closed. This is
//! not reported as a refused SYN, whatever was refused elsewhere just before.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use socket2::SockRef;

use crate::checks::Checks;
use crate::namespace::{Namespace, mini_sockets, sysctl};
use crate::processor;
use crate::raw::{LONG_AGO, Sender, deaf, ipv4, old_syn};
use crate::tracer::{Tracer, Written};

/// The port where SYNs are refused.
const HTTPS: u16 = 443;
/// The port where clients send their last bytes.
const HTTP: u16 = 80;
const TIMES: u64 = 13;
const POLL: Duration = Duration::from_millis(1);
const LAST: &[u8] = b"GET /goodbye";

pub(crate) fn run(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/last-words.json");
    let tracer = Tracer::start(&["conflicts", "-o", "json", "--attach", attach], stdout)?;
    let namespace = Namespace::make("last-words")?;
    // Unless bottom halves can be preempted, programs keep one sample per CPU: both segments have
    // to meet there.
    processor::on(0, || namespace.run(clients))?;
    let code = tracer.stop()?;
    namespace.end()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    checks.equal("exit code", code, 0);
    checks.equal("SYNs refused", written.number("/refusals/syns")?, TIMES);
    let refused = of(&written, "refusal", HTTPS);
    let syns = refused.iter().filter(|one| one["syn"] == true);
    checks.equal("SYNs refused by 443", syns.count() as u64, TIMES);
    let conflicts = of(&written, "conflict", HTTPS).len() as u64;
    checks.equal("conflicts on 443", conflicts, TIMES);
    checks.equal("conflicts on 80", of(&written, "conflict", HTTP), vec![]);
    checks.equal("ends shown of 80", of(&written, "end", HTTP), vec![]);
    let late = of(&written, "refusal", HTTP);
    checks.equal("segments refused by 80", late.len() as u64, TIMES);
    let strange = late.into_iter().find(|one| !is_last(one));
    checks.equal("an unexpected refusal", strange, None);
    checks.end(format!("{TIMES} clients sent their last bytes with a FIN"))
}

/// The refusal is reported correctly: data that nobody will read, at the expected sequence number
/// and with the client's own clock.
fn is_last(one: &Value) -> bool {
    one["stage"] == "fin-wait-2"
        && one["rule"] == "unexpected"
        && one["reply"] == "rst"
        && one["syn"] == false
        && one["rearmed"] == false
        && one["seq_gap"] == 0
        && one["gap"].as_i64().is_some_and(|gap| gap >= 0)
        && one["tsval"] != LONG_AGO
}

fn of<'a>(written: &'a Written, kind: &str, port: u16) -> Vec<&'a Value> {
    let events = written.events.iter();
    events
        .filter(|event| event["event"] == kind && event["lport"] == port)
        .collect()
}

fn clients() -> Result<()> {
    // Without a random offset in the timestamps, a TSval from the first ms is old on every
    // connection.
    sysctl("tcp_timestamps", "2")?;
    let [https, http] = [HTTPS, HTTP].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    let (https, http) = (https?, http?);
    let sender = Sender::open()?;
    for _ in 0..TIMES {
        let client = closed_by_server(&https)?;
        let ends = [ipv4(client.local_addr()?)?, ipv4(client.peer_addr()?)?];
        drop(client);
        // Otherwise the answer to the SYN would draw a RST, which would be the last segment before
        // the client's.
        let _deaf = deaf(ends[0])?;
        sender.send(&[old_syn(ends)?], 1)?;
        let before = mini_sockets()?;
        let client = closed_by_server(&http)?;
        // The client's ACK of the FIN may be delayed.
        while mini_sockets()? == before {
            thread::sleep(POLL);
        }
        last_words(client)?;
    }
    Ok(())
}

/// A client whose server has closed.
fn closed_by_server(listener: &TcpListener) -> Result<TcpStream> {
    let address: SocketAddr = listener.local_addr()?;
    let mut client = TcpStream::connect(address)?;
    drop(listener.accept()?);
    ensure!(client.read(&mut [0])? == 0, "data came where none was sent");
    Ok(client)
}

/// TCP_CORK holds the bytes back, and close() sends them with the FIN.
fn last_words(mut client: TcpStream) -> Result<()> {
    SockRef::from(&client).set_tcp_cork(true)?;
    client.write_all(LAST).context("cannot send")
}
