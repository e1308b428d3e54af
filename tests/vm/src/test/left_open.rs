//! SYNs from ports whose old connection was never closed: in FIN_WAIT2 each that is shown as refused
//! is counted, and on a live connection it is shown, or said not to be seen.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::checks::Checks;
use crate::namespace::{Namespace, mini_sockets};
use crate::raw::{Sender, ipv4, segment};
use crate::tracer::{Tracer, Written};

const HTTPS: u16 = 443;
const TIMES: u64 = 5;
/// ISNs that are half the circle apart: one is before what was received, one beyond the window.
const ISNS: [u32; 2] = [0, 1 << 31];
const POLL: Duration = Duration::from_millis(1);

pub(crate) fn run(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/left-open.json");
    let args = [
        "conflicts",
        "-o",
        "json",
        "--fail-on",
        "refused",
        "--attach",
        attach,
    ];
    let tracer = Tracer::start(&args, stdout)?;
    let namespace = Namespace::make("left-open")?;
    let open = namespace.run(leave_open)?;
    let code = tracer.stop()?;
    drop(open);
    namespace.end()?;
    let written = Written::read(stdout)?;

    let mut checks = Checks::default();
    checks.equal("exit code", code, 1);
    let shown = |stage: &str| {
        let syns = of(&written, "refusal").filter(|one| one["syn"] == true);
        syns.filter(|one| one["stage"] == stage).count() as u64
    };
    let syns = ISNS.len() as u64;
    checks.equal("SYNs shown in FIN_WAIT2", shown("fin-wait-2"), TIMES * syns);
    let all = of(&written, "conflicts").next().context("no summary")?;
    let live = shown("established");
    if all["unseen"].is_null() {
        checks.equal("SYNs shown on a live connection", live, syns);
    } else {
        checks.equal("SYNs shown on a live connection", live, 0);
        checks.equal("grew", &all["unseen"]["grew"], &Value::from(syns));
    }
    let counted = Value::from(TIMES * syns + live);
    checks.equal("SYNs refused", &all["refused"], &counted);
    let peer = of(&written, "peer").next().context("no peer")?;
    let likely = &peer["causes"][0]["cause"];
    checks.equal("likely cause", likely, &Value::from("several-hosts"));
    checks.end(format!("{TIMES} connections left open in FIN_WAIT2"))
}

fn of<'a>(written: &'a Written, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let events = written.events.iter();
    events.filter(move |event| event["event"] == kind)
}

/// The ends that are open still.
fn leave_open() -> Result<Vec<TcpStream>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, HTTPS))?;
    let sender = Sender::open()?;
    let mut open = Vec::new();
    for _ in 0..TIMES {
        let before = mini_sockets()?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        drop(listener.accept()?);
        ensure!(client.read(&mut [0])? == 0, "data came where none was sent");
        // The client's ACK may be delayed.
        while mini_sockets()? == before {
            thread::sleep(POLL);
        }
        come_again(&sender, &client)?;
        open.push(client);
    }
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    come_again(&sender, &client)?;
    open.extend([client, server]);
    Ok(open)
}

/// SYNs of somebody else from the port of this client, without timestamps.
fn come_again(sender: &Sender, client: &TcpStream) -> Result<()> {
    let ends = [ipv4(client.local_addr()?)?, ipv4(client.peer_addr()?)?];
    let syns: Result<Vec<_>> = ISNS
        .into_iter()
        .map(|isn| segment(ends, isn, |builder| Ok(builder.syn())))
        .collect();
    sender.send(&syns?, ISNS.len())
}
