//! The workload: connect() to a destination for which no port is left, again and again.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Barrier, Mutex};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::libc::EADDRNOTAVAIL;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::load::own_namespace;

/// An even number of ports: of an odd number, the kernel leaves one out.
const FIRST: u16 = 20_000;
const PORTS: u16 = 14;
/// How many of them are in TIME_WAIT; the others are held by live connections.
pub(crate) const IN_TIME_WAIT: u16 = 7;

/// Says `ready`, then for each number on stdin calls connect() until it has failed so many times,
/// and says how many times it was told EADDRNOTAVAIL. The namespace lives until stdin ends.
pub(crate) fn serve() -> Result<()> {
    own_namespace()?;
    let range = format!("{FIRST} {}", FIRST + PORTS - 1);
    for (name, value) in [("ip_local_port_range", &*range), ("tcp_tw_reuse", "0")] {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
            .with_context(|| format!("cannot set {name} to {value}"))?;
    }
    let mut full = Full::new()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let times: u64 = line?.trim().parse().context("not a number of calls")?;
        writeln!(stdout, "{}", full.fail(times)?)?;
    }
    Ok(())
}

/// A destination all of whose ports are taken.
struct Full {
    listener: TcpListener,
    address: SocketAddr,
    living: Vec<(Socket, TcpStream)>,
}

impl Full {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 7))?;
        let mut full = Self {
            address: listener.local_addr()?,
            listener,
            living: Vec::new(),
        };
        for _ in 0..PORTS {
            let client = socket()?;
            client.connect(&full.address.into())?;
            full.keep(client)?;
        }
        // The client goes first, so the TIME_WAIT is on its side, and on its port.
        for (client, server) in full.living.drain(..usize::from(IN_TIME_WAIT)) {
            drop(client);
            drop(server);
        }
        Ok(full)
    }

    fn keep(&mut self, client: Socket) -> Result<()> {
        let (server, _) = self.listener.accept()?;
        self.living.push((client, server));
        Ok(())
    }

    fn fail(&mut self, times: u64) -> Result<u64> {
        let address = SockAddr::from(self.address);
        let mut client = socket()?;
        let mut failed = 0;
        while failed < times {
            match client.connect(&address) {
                Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL) => failed += 1,
                Err(error) => return Err(error).context("connect() says something else"),
                // A TIME_WAIT has run out; from now on this one holds its port.
                Ok(()) => self.keep(std::mem::replace(&mut client, socket()?))?,
            }
        }
        Ok(failed)
    }
}

/// Tasks of a crowd; far more than there are kretprobes for one function.
const CROWD: usize = 41;
/// Ports that a crowd's call looks at, in a while that is longer than a task's turn on a CPU.
const CANDIDATES: u16 = 800;
/// Calls of each task, and one more by itself.
const CALLS: usize = 23;
/// All that the crowd calls.
pub(crate) const CROWD_CALLS: u64 = (CROWD * (CALLS + 1)) as u64;

/// Calls connect() in many tasks at once, each of which is preempted within its calls, and says how
/// many failed. All ports are bound.
pub(crate) fn crowd() -> Result<()> {
    own_namespace()?;
    let range = format!("{FIRST} {}", FIRST + CANDIDATES - 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)?;
    let bound = (FIRST..FIRST + CANDIDATES).map(|port| {
        let socket = socket()?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        io::Result::Ok(socket)
    });
    let _bound: Vec<_> = bound.collect::<io::Result<_>>()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 7))?;
    let address = listener.local_addr()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for _ in io::stdin().lock().lines() {
        writeln!(stdout, "{}", all_at_once(address)?)?;
    }
    Ok(())
}

fn all_at_once(address: SocketAddr) -> Result<u64> {
    // One after the other, at last: the next call of a task tells that the return of its last one
    // was not seen.
    let alone = Mutex::new(());
    let together = Barrier::new(CROWD);
    let task = || {
        for _ in 0..CALLS {
            fail(address)?;
        }
        together.wait();
        let _alone = alone.lock();
        fail(address)
    };
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..CROWD).map(|_| scope.spawn(task)).collect();
        for one in tasks {
            one.join().map_err(|_| anyhow!("a task panicked"))??;
        }
        Ok(CROWD_CALLS)
    })
}

fn fail(address: SocketAddr) -> Result<()> {
    match socket()?.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL) => Ok(()),
        other => bail!("connect() says {other:?}"),
    }
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, None)
}
