//! The workload: SYNs for connections that are over, with timestamps from long ago, as fast as this
//! machine can send them. TIME_WAIT refuses every one.

use std::fs;
use std::io::{self, BufRead as _, IoSlice, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{PacketBuilder, TcpOptionElement};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use twtrace::kernel::counters;

use crate::load::own_namespace;
use crate::nat::plain;

/// TIME_WAITs that share the flood.
const TARGETS: usize = 7;
/// Segments per system call.
const BATCH: usize = 64;
/// A timestamp of the first ms after booting: with tcp_timestamps=2 all others are later.
const LONG_AGO: u32 = 1;

/// Says `ready`, then for each number on stdin sends so many SYNs and says how many TIME_WAIT has
/// refused by timestamp, as the kernel counts it. The namespace lives until stdin ends.
pub(crate) fn serve() -> Result<()> {
    own_namespace()?;
    for (name, value) in [
        ("tcp_timestamps", "2"),
        // The ACKs for the SYNs find no socket, and come back as RSTs.
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
    socket: Socket,
    packets: Vec<Vec<u8>>,
}

impl Flood {
    /// Connections that the server closed first, and a SYN for each.
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 7))?;
        let mut packets = Vec::new();
        for _ in 0..TARGETS {
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            drop(listener.accept()?);
            ensure!(client.read(&mut [0])? == 0, "data came where none was sent");
            packets.push(syn(client.local_addr()?, client.peer_addr()?)?);
        }
        // One that receives nothing.
        let raw = Protocol::from(nix::libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(raw))?;
        Ok(Self { socket, packets })
    }

    fn send(&mut self, syns: usize) -> Result<()> {
        let to = Some(SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)));
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let mut sent = 0;
        while sent < syns {
            let batch = BATCH.min(syns - sent);
            let slices: Vec<_> = (sent..sent + batch)
                .map(|number| [IoSlice::new(&self.packets[number % TARGETS])])
                .collect();
            let results = sendmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                &slices,
                vec![to; batch],
                [],
                MsgFlags::empty(),
            )?;
            sent += results.count();
        }
        Ok(())
    }
}

/// With its IP header.
fn syn(from: SocketAddr, to: SocketAddr) -> Result<Vec<u8>> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        bail!("{from} is no IPv4 address");
    };
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        .tcp(from.port(), to.port(), 0, 1024)
        .syn()
        .options(&[
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::Timestamp(LONG_AGO, 0),
        ])?;
    let mut packet = Vec::new();
    builder.write(&mut packet, &[])?;
    Ok(packet)
}

/// PAWSTimewait where the kernel has it, else PAWSEstab: nothing else here moves that.
fn refused() -> Result<u64> {
    let counters = counters::read_current().map_err(plain)?.tcp_ext;
    let value = |name| counters.get(name).copied();
    value("PAWSTimewait")
        .or_else(|| value("PAWSEstab"))
        .context("the kernel has no counter of PAWS")
}
