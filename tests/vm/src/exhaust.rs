//! The workload: repeated connect() calls to a destination for which no port is left.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Barrier, Mutex};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::libc::EADDRNOTAVAIL;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::load::own_namespace;

/// The number of ports is even: the kernel ignores the last one of an odd number.
const FIRST: u16 = 20_000;
const PORTS: u16 = 14;
/// Ports held by TIME_WAIT; live connections hold the others.
pub(crate) const IN_TIME_WAIT: u16 = 7;

/// Prints `ready`; for each number on stdin, calls connect() until it has failed that often, and
/// prints how many calls returned EADDRNOTAVAIL. The namespace lives until stdin ends.
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

/// A destination for which every port is taken.
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
        // The client closes first, so the TIME_WAIT is on its side and holds its port.
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
                Err(error) => return Err(error).context("unexpected connect() error"),
                // A TIME_WAIT has expired; this connection takes over its port.
                Ok(()) => self.keep(std::mem::replace(&mut client, socket()?))?,
            }
        }
        Ok(failed)
    }
}

/// Tasks of the crowd: far more than kretprobe instances of one function.
const CROWD: usize = 41;
/// Candidate ports per call: enough that a call outlasts a task's time slice.
const CANDIDATES: u16 = 800;
/// Concurrent calls per task; each task then makes one more, while no other task calls.
const CALLS: usize = 23;
/// All calls of the crowd.
pub(crate) const CROWD_CALLS: u64 = (CROWD * (CALLS + 1)) as u64;

/// Calls connect() from many tasks at once, so that each is preempted during its calls, and prints
/// how many failed. All ports are bound.
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
    // The last calls run one at a time: a task's next call reveals that the return of its previous
    // one was missed.
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
        other => bail!("connect() returned {other:?}, not EADDRNOTAVAIL"),
    }
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, None)
}
