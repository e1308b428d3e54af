//! The workload: short connections over loopback, from one thread; the server closes first.
//!
//! Each address pair is reused after `ports x hosts` connections; from then on every SYN meets the
//! TIME_WAIT of its predecessor and reopens it.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use crate::loopback;
use crate::served::Served;

const SERVER_PORT: u16 = 7;
const FIRST_CLIENT_PORT: u16 = 20_000;
/// `tcp_max_tw_buckets` of the load's namespace.
pub(crate) const MOST_SOCKETS: u32 = 1_048_576;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Client ports to cycle through.
    #[arg(long, default_value_t = 400)]
    pub(crate) ports: u16,
    /// Server addresses to cycle through, each with all client ports.
    #[arg(long, default_value_t = 1)]
    pub(crate) hosts: u16,
}

/// Moves this process into a new network namespace with `lo` up.
pub(crate) fn own_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    loopback::up()?;
    // The default limit follows the VM's memory.
    fs::write(
        "/proc/sys/net/ipv4/tcp_max_tw_buckets",
        MOST_SOCKETS.to_string(),
    )
    .context("cannot set tcp_max_tw_buckets")
}

/// The connections of one namespace.
#[derive(Debug)]
pub(crate) struct Churn {
    listener: TcpListener,
    args: Args,
    next: u32,
}

impl Churn {
    pub(crate) fn new(args: Args) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT))?;
        Ok(Self {
            listener,
            args,
            next: 0,
        })
    }

    /// Makes this many connections, closes each, and returns the time taken.
    pub(crate) fn run(&mut self, connections: u32) -> Result<Duration> {
        let started = Instant::now();
        for _ in 0..connections {
            let (client, server) = self.tuple();
            self.one(client, server)
                .with_context(|| format!("connection {} from {client} to {server}", self.next))?;
            self.next += 1;
        }
        Ok(started.elapsed())
    }

    fn tuple(&self) -> (SocketAddr, SocketAddr) {
        let ports = u32::from(self.args.ports);
        let [_, _, port_high, port_low] = (self.next % ports).to_be_bytes();
        let offset = u16::from_be_bytes([port_high, port_low]);
        let host = self.next / ports % u32::from(self.args.hosts);
        let [_, _, host_high, host_low] = host.to_be_bytes();
        let client = SocketAddrV4::new(Ipv4Addr::LOCALHOST, FIRST_CLIENT_PORT + offset);
        let server = SocketAddrV4::new(Ipv4Addr::new(127, 1, host_high, host_low), SERVER_PORT);
        (client.into(), server.into())
    }

    fn one(&self, client: SocketAddr, server: SocketAddr) -> io::Result<()> {
        let socket = connect(client, server)?;
        let (accepted, _) = self.listener.accept()?;
        drop(accepted);
        match (&socket).read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Connects from the given port. The previous connection from it may still be in LAST_ACK: if the
/// VM stalled, its FIN has to be retransmitted.
pub(crate) fn connect(client: SocketAddr, server: SocketAddr) -> io::Result<Socket> {
    let started = Instant::now();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&client.into())?;
        match socket.connect(&server.into()) {
            Ok(()) => return Ok(socket),
            Err(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable
                    && started.elapsed() < PATIENCE =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Prints `ready`; for each number on stdin, makes that many connections and prints the time taken
/// in ns. The namespace lives until stdin ends.
pub(crate) fn serve(args: &Args) -> Result<()> {
    own_namespace()?;
    let mut churn = Churn::new(args.clone())?;
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let connections: u32 = line?
            .trim()
            .parse()
            .context("not a number of connections")?;
        let took = churn.run(connections)?;
        writeln!(stdout, "{}", took.as_nanos())?;
    }
    Ok(())
}

/// A running `twtrace-vm load`.
#[derive(Debug)]
pub(crate) struct Load(Served);

impl Load {
    pub(crate) fn start(args: &Args) -> Result<Self> {
        let (ports, hosts) = (args.ports.to_string(), args.hosts.to_string());
        let args = ["load", "--ports", &ports, "--hosts", &hosts];
        Ok(Self(Served::start(&args)?))
    }

    /// Orders connections without waiting for them.
    pub(crate) fn order(&mut self, connections: u32) -> Result<()> {
        self.0.order(connections)
    }

    /// Waits for the ordered connections and returns the time taken.
    pub(crate) fn wait(&mut self) -> Result<Duration> {
        Ok(Duration::from_nanos(self.0.answer()?))
    }

    pub(crate) fn run(&mut self, connections: u32) -> Result<Duration> {
        self.order(connections)?;
        self.wait()
    }

    /// Inode number of the workload's namespace.
    pub(crate) fn netns(&self) -> Result<u64> {
        self.0.netns()
    }

    /// Mini-sockets alive in the workload's namespace, according to sockstat.
    pub(crate) fn population(&self) -> Result<u64> {
        self.0.mini_sockets()
    }

    /// Mini-sockets alive in the workload's namespace, in both substates, according to
    /// /proc/net/tcp: it shows FIN_WAIT2 as 05 and TIME_WAIT as 06.
    pub(crate) fn mini_sockets(&self) -> Result<u64> {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.0.id()))?;
        let states = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        let count = states.filter(|state| ["05", "06"].contains(state)).count();
        Ok(u64::try_from(count)?)
    }
}
