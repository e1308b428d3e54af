//! The workload: births from a socket's backlog and births from a timer, on one CPU.
//!
//! Since 6.12 a birth from the backlog runs with bottom halves enabled, so a timer may come in the
//! midst of it, and with the timer another birth. All servers here shut down first and have the
//! mini-socket; they differ in how the client's FIN reaches them.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use crate::load::{connect, own_namespace};

/// Client ports of each kind. A late FIN takes 0.2 s, so many connections wait for theirs.
const PORTS: u16 = 499;
const FIRST_CLIENT_PORT: u16 = 20_000;
/// The server's receive buffer, and what the client writes: more than that takes.
const WINDOW: usize = 4_096;
const DATA: [u8; 3 * WINDOW] = [7; 3 * WINDOW];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The CPU to stay on.
    cpu: usize,
}

/// Says `ready`, then for each number on stdin makes so many mini-sockets, and says their number.
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

/// A server, and clients whose ports come back again and again: a SYN from the same one ends the
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

    /// Client and server. The server has shut its side down, and the client knows.
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

/// The client has more to send than the server's window takes, and a FIN after it. When the server
/// reads, it opens the window; the rest arrives on the spot, while the server's call still holds
/// the socket. So it goes to the backlog, and the call itself makes the mini-socket before it
/// returns (`release_sock`).
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

/// The server drops the first FIN. The next one is sent by a timer, 0.2 s later, wherever this CPU
/// is then.
struct Late {
    clients: Clients,
    waiting: VecDeque<TcpStream>,
}

impl Late {
    fn new() -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // What it accepts inherits it.
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

    /// Waits for the FIN of the oldest.
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

/// A filter sees a segment from its TCP header on: byte 13 has the flags, bit 0 of them is FIN.
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
