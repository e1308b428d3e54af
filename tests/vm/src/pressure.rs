//! The workload that runs out of ports: clients that close first, and two servers.
//!
//! It runs in a namespace of its own with a short ephemeral range and tcp_tw_reuse off, so each
//! connection keeps its local port for the length of TIME_WAIT.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};

use crate::load::own_namespace;

/// Size of the range: even, because the kernel ignores the last port of an odd number
/// (`__inet_hash_connect`, `remaining &= ~1U`).
pub(crate) const PORTS: u32 = 214;
const LOW: u32 = 40_000;
/// The destination that runs out of ports, and another.
pub(crate) const FULL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 5432);
pub(crate) const OTHER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), 5433);
/// Name of the failing command.
pub(crate) const COMMAND: &str = "php-fpm";

/// Prints `ready`; for each number on stdin, makes that many connections to the first server and
/// one to the other, and prints how many to the first failed for lack of a port.
pub(crate) fn serve() -> Result<()> {
    own_namespace()?;
    set("ip_local_port_range", &format!("{LOW} {}", LOW + PORTS - 1))?;
    set("tcp_tw_reuse", "0")?;
    fs::write("/proc/thread-self/comm", COMMAND).context("cannot set the command's name")?;
    for address in [FULL, OTHER] {
        let listener = TcpListener::bind(address)?;
        thread::spawn(move || serve_one(&listener));
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let wanted: u32 = line?
            .trim()
            .parse()
            .context("not a number of connections")?;
        let mut failed = 0;
        for _ in 0..wanted {
            failed += u32::from(!connect(FULL)?);
        }
        ensure!(connect(OTHER)?, "no port is left for the other destination");
        writeln!(stdout, "{failed}")?;
    }
    Ok(())
}

fn set(sysctl: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/net/ipv4/{sysctl}"), value)
        .with_context(|| format!("cannot set {sysctl}"))
}

/// Reads until the client closes, then closes too.
fn serve_one(listener: &TcpListener) {
    for client in listener.incoming().flatten() {
        // A read error means that the client is gone, too.
        let _ = (&client).read(&mut [0]);
    }
}

/// Makes one connection and closes it into TIME_WAIT; `false` if there was no port for it.
fn connect(to: SocketAddr) -> Result<bool> {
    match TcpStream::connect(to) {
        Ok(client) => {
            client.shutdown(std::net::Shutdown::Write)?;
            let end = (&client).read(&mut [0])?;
            ensure!(end == 0, "the server sent data");
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot connect to {to}")),
    }
}
