//! Segments forged in a peer's name and sent over the loopback interface of our own namespace only.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use etherparse::{TcpHeader, TcpHeaderSlice, TcpOptionElement};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::check::lab::step::PATIENCE;
use crate::check::life::{Window, now_ns};

/// A raw socket that sends from any port of one address.
#[derive(Debug)]
pub(in crate::check) struct Forger {
    socket: Socket,
}

/// Contents of a segment; it has the ACK flag if `acknowledgement` is `Some`.
#[derive(Clone, Copy, Debug)]
pub(in crate::check) struct Segment<'a> {
    pub(in crate::check) sequence: u32,
    pub(in crate::check) acknowledgement: Option<u32>,
    pub(in crate::check) syn: bool,
    pub(in crate::check) fin: bool,
    pub(in crate::check) rst: bool,
    pub(in crate::check) data: &'a [u8],
    /// TSval.
    pub(in crate::check) timestamp: Option<u32>,
    /// TSecr, if it has a TSval.
    pub(in crate::check) echo: u32,
    pub(in crate::check) window: u16,
    /// TTL or hop limit.
    pub(in crate::check) ttl: u8,
}

impl Default for Segment<'_> {
    fn default() -> Self {
        Self {
            sequence: 0,
            acknowledgement: None,
            syn: false,
            fin: false,
            rst: false,
            data: &[],
            timestamp: None,
            echo: 0,
            window: u16::MAX,
            ttl: 64,
        }
    }
}

impl Segment<'_> {
    /// Whether it opens a connection.
    pub(in crate::check) fn opens(&self) -> bool {
        self.syn && !self.rst && self.acknowledgement.is_none()
    }

    /// Byte 13 of the TCP header.
    pub(in crate::check) fn flags(&self) -> u8 {
        u8::from(self.fin)
            | u8::from(self.syn) << 1
            | u8::from(self.rst) << 2
            | u8::from(self.acknowledgement.is_some()) << 4
    }

    fn header(&self, from: SocketAddr, to: SocketAddr) -> io::Result<TcpHeader> {
        let mut header = TcpHeader::new(from.port(), to.port(), self.sequence, self.window);
        header.syn = self.syn;
        header.fin = self.fin;
        header.rst = self.rst;
        header.ack = self.acknowledgement.is_some();
        header.acknowledgment_number = self.acknowledgement.unwrap_or(0);
        if let Some(timestamp) = self.timestamp {
            let options = [
                TcpOptionElement::Noop,
                TcpOptionElement::Noop,
                TcpOptionElement::Timestamp(timestamp, self.echo),
            ];
            header.set_options(&options).map_err(io::Error::other)?;
        }
        header.checksum = checksum(&header, from.ip(), to.ip(), self.data)?;
        Ok(header)
    }
}

impl Forger {
    /// Opens one that sends from `address` (for IPv4-mapped addresses, from the IPv4 one).
    pub(in crate::check) fn open(address: IpAddr) -> io::Result<Self> {
        let local = SocketAddr::new(address.to_canonical(), 0);
        let socket = Socket::new(Domain::for_address(local), Type::RAW, Some(Protocol::TCP))?;
        socket.bind(&local.into())?;
        Ok(Self { socket })
    }

    /// Sends one segment; returns when it was sent.
    pub(in crate::check) fn send(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        segment: Segment<'_>,
    ) -> io::Result<Window> {
        let header = segment.header(from, to)?;
        let ttl = u32::from(segment.ttl);
        match to.ip().to_canonical() {
            IpAddr::V4(_) => self.socket.set_ttl_v4(ttl)?,
            IpAddr::V6(_) => self.socket.set_unicast_hops_v6(ttl)?,
        }
        let mut bytes = Vec::with_capacity(header.header_len() + segment.data.len());
        header.write(&mut bytes)?;
        bytes.extend_from_slice(segment.data);
        let start = now_ns();
        self.socket.send_to(&bytes, &destination(to))?;
        Ok(Window::since(start))
    }
}

/// Receives what TCP sends to the peers whose segments we forge.
#[derive(Debug)]
pub(in crate::check) struct Ear {
    socket: Socket,
}

impl Ear {
    /// Receives everything sent to `address` from now on.
    pub(in crate::check) fn open(address: IpAddr) -> io::Result<Self> {
        let Forger { socket } = Forger::open(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket })
    }

    /// The next segment of a connection.
    pub(in crate::check) fn next(&self, from: SocketAddr, to: SocketAddr) -> io::Result<TcpHeader> {
        let mut buffer = [0; 2048];
        loop {
            let length = (&self.socket).read(&mut buffer)?;
            let segment = without_ip(&buffer[..length], to);
            let header = TcpHeaderSlice::from_slice(segment).map_err(io::Error::other)?;
            if (header.source_port(), header.destination_port()) == (from.port(), to.port()) {
                return Ok(header.to_header());
            }
        }
    }
}

/// A raw IPv4 socket receives the IP header, too.
fn without_ip(packet: &[u8], to: SocketAddr) -> &[u8] {
    let length = match to.ip().to_canonical() {
        IpAddr::V4(_) => usize::from(packet.first().map_or(0, |first| first & 15)) * 4,
        IpAddr::V6(_) => 0,
    };
    packet.get(length..).unwrap_or_default()
}

fn checksum(header: &TcpHeader, from: IpAddr, to: IpAddr, data: &[u8]) -> io::Result<u16> {
    match (from.to_canonical(), to.to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
        }
        _ => return Err(io::Error::other("addresses of two families")),
    }
    .map_err(io::Error::other)
}

/// A raw IPv6 socket takes no port.
fn destination(to: SocketAddr) -> SockAddr {
    SocketAddr::new(to.ip().to_canonical(), 0).into()
}
