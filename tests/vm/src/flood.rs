//! The workload: SYNs for closed connections, with old timestamps, as fast as this machine can send
//! them. TIME_WAIT refuses every one.

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use twtrace::kernel::counters;

use crate::load::own_namespace;
use crate::nat::plain;
use crate::raw::{Sender, ipv4, old_syn};

/// TIME_WAIT sockets that share the flood.
const TARGETS: usize = 7;

/// Prints `ready`; for each number on stdin, sends that many SYNs and prints how many TIME_WAIT has
/// refused by timestamp, according to the kernel's counter. The namespace lives until stdin ends.
pub(crate) fn serve() -> Result<()> {
    own_namespace()?;
    for (name, value) in [
        ("tcp_timestamps", "2"),
        // The ACKs that answer the SYNs find no socket and draw RSTs, which must not end the
        // TIME_WAIT.
        ("tcp_rfc1337", "1"),
    ] {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
            .with_context(|| format!("cannot set {name} to {value}"))?;
    }
    let mut flood = Flood::new()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let syns: usize = line?.trim().parse().context("not a number of SYNs")?;
        flood.send(syns)?;
        writeln!(stdout, "{}", refused()?)?;
    }
    Ok(())
}

struct Flood {
    sender: Sender,
    packets: Vec<Vec<u8>>,
}

impl Flood {
    /// Makes connections that the server closes first, and a SYN for each.
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 7))?;
        let mut packets = Vec::new();
        for _ in 0..TARGETS {
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            drop(listener.accept()?);
            ensure!(client.read(&mut [0])? == 0, "data came where none was sent");
            let ends = [client.local_addr()?, client.peer_addr()?];
            packets.push(old_syn([ipv4(ends[0])?, ipv4(ends[1])?])?);
        }
        Ok(Self {
            sender: Sender::open()?,
            packets,
        })
    }

    fn send(&mut self, syns: usize) -> Result<()> {
        self.sender.send(&self.packets, syns)
    }
}

/// PAWSTimewait where the kernel has it, else PAWSEstab, which nothing else here increments.
fn refused() -> Result<u64> {
    let counters = counters::read_current().map_err(plain)?.tcp_ext;
    let value = |name| counters.get(name).copied();
    value("PAWSTimewait")
        .or_else(|| value("PAWSEstab"))
        .context("the kernel has no PAWS counter")
}
