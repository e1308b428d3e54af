//! The workload: births from a socket's backlog and births caused by a timer, on one CPU.
//!
//! Since 6.12 a birth from the backlog runs with bottom halves enabled, so a timer can interrupt it
//! and cause another birth. Every server here shuts down first and gets the mini-socket; what
//! differs is how the client's FIN reaches it.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use crate::load::{connect, own_namespace};

/// Client ports of each kind. A late FIN takes 0.2 s, so many connections wait at a time.
const PORTS: u16 = 499;
const FIRST_CLIENT_PORT: u16 = 20_000;
/// The server's receive buffer, and what the client writes: more than fits into it.
const WINDOW: usize = 4_096;
const DATA: [u8; 3 * WINDOW] = [7; 3 * WINDOW];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The CPU to run on.
    cpu: usize,
}

/// Prints `ready`; for each number on stdin, makes that many mini-sockets and prints the number.
/// The namespace lives until stdin ends.
pub(crate) fn serve(args: &Args) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(args.cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one CPU")?;
    own_namespace()?;
    let (mut backlog, mut late) = (Backlog::new()?, Late::new()?);
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let births: u32 = line?.trim().parse().context("not a number of births")?;
        for number in 0..births {
            match number % 2 {
                0 => late.one(),
                _ => backlog.one(),
            }
            .with_context(|| format!("mini-socket {number}"))?;
        }
        late.finish()?;
        writeln!(stdout, "{births}")?;
    }
    Ok(())
}

/// A server, and clients that cycle through the same ports: a SYN from a used port ends the
/// mini-socket.
struct Clients {
    listener: TcpListener,
    first: u16,
    next: u16,
}

impl Clients {
    fn new(listener: TcpListener, first: u16) -> Self {
        Self {
            listener,
            first,
            next: 0,
        }
    }

    /// A connected client and server. The server has shut down its side, and the client has seen
    /// the FIN.
    fn pair(&mut self) -> io::Result<(Socket, TcpStream)> {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, self.first + self.next));
        self.next = (self.next + 1) % PORTS;
        let client = connect(from, self.listener.local_addr()?)?;
        let (server, _) = self.listener.accept()?;
        server.shutdown(Shutdown::Write)?;
        ended(&client)?;
        Ok((client, server))
    }
}

/// The client sends more than the server's window takes, followed by a FIN. When the server reads,
/// it opens the window, and the rest arrives at once, while the server's call still owns the
/// socket. It goes to the backlog, and the call itself creates the mini-socket before it returns
/// (`release_sock`).
struct Backlog {
    clients: Clients,
    buffer: Vec<u8>,
}

impl Backlog {
    fn new() -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.set_recv_buffer_size(WINDOW)?;
        Ok(Self {
            clients: Clients::new(listen(listener)?, FIRST_CLIENT_PORT),
            buffer: vec![0; 2 * DATA.len()],
        })
    }

    fn one(&mut self) -> io::Result<()> {
        let (client, mut server) = self.clients.pair()?;
        (&client).write_all(&DATA)?;
        drop(client);
        while server.read(&mut self.buffer)? > 0 {}
        Ok(())
    }
}

/// The server drops the first FIN. A timer retransmits it 0.2 s later, whatever this CPU is doing
/// then.
struct Late {
    clients: Clients,
    waiting: VecDeque<TcpStream>,
}

impl Late {
    fn new() -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Accepted sockets inherit the filter.
        drop_fins(&listener)?;
        Ok(Self {
            clients: Clients::new(listen(listener)?, FIRST_CLIENT_PORT + PORTS),
            waiting: VecDeque::new(),
        })
    }

    fn one(&mut self) -> io::Result<()> {
        if self.waiting.len() == usize::from(PORTS) {
            self.end()?;
        }
        let (client, server) = self.clients.pair()?;
        drop(client);
        SockRef::from(&server).detach_filter()?;
        self.waiting.push_back(server);
        Ok(())
    }

    /// Waits for the FIN of the oldest connection.
    fn end(&mut self) -> io::Result<()> {
        match self.waiting.pop_front() {
            Some(server) => ended(server),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            self.end()?;
        }
        Ok(())
    }
}

/// Waits for the other side's FIN.
fn ended(mut socket: impl io::Read) -> io::Result<()> {
    match socket.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn listen(socket: Socket) -> Result<TcpListener> {
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(1)?;
    Ok(socket.into())
}

/// A socket filter sees the segment from the TCP header on: bit 0 of byte 13 is FIN.
fn drop_fins(socket: &Socket) -> Result<()> {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const JUMP_IF_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let program = [
        (LOAD_BYTE, 0, 0, 13),
        (JUMP_IF_SET, 0, 1, 1),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, u32::MAX),
    ];
    let filter = |(code, set, clear, k)| Ok(SockFilter::new(u16::try_from(code)?, set, clear, k));
    let filters = program.into_iter().map(filter);
    Ok(socket.attach_filter(&filters.collect::<Result<Vec<_>>>()?)?)
}
