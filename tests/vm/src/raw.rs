//! Forged IPv4 packets, including the IP header.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use anyhow::{Result, bail};
use etherparse::{
    PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement, TcpOptionWriteError,
};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Packets per system call.
const BATCH: usize = 64;
/// A TSval from the first ms after boot: with tcp_timestamps=2 (no random offset) all others are
/// later.
pub(crate) const LONG_AGO: u32 = 1;
const WINDOW: u16 = 1_024;

/// Sends over the loopback interface of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Sender(Socket);

impl Sender {
    pub(crate) fn open() -> Result<Self> {
        // An IPPROTO_RAW socket receives nothing.
        let raw = Protocol::from(nix::libc::IPPROTO_RAW);
        Ok(Self(Socket::new(Domain::IPV4, Type::RAW, Some(raw))?))
    }

    /// Sends `count` packets, cycling through `packets`.
    pub(crate) fn send(&self, packets: &[Vec<u8>], count: usize) -> Result<()> {
        let to = Some(SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)));
        let mut headers = MultiHeaders::preallocate(BATCH.min(count), None);
        let mut sent = 0;
        while sent < count {
            let batch = BATCH.min(count - sent);
            let slices: Vec<_> = (sent..sent + batch)
                .map(|number| [IoSlice::new(&packets[number % packets.len()])])
                .collect();
            let results = sendmmsg(
                self.0.as_raw_fd(),
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

/// A segment from the first address to the second; `made` sets flags and options.
pub(crate) fn segment(
    [from, to]: [SocketAddrV4; 2],
    sequence: u32,
    made: impl FnOnce(Made) -> Result<Made, TcpOptionWriteError>,
) -> Result<Vec<u8>> {
    let [source, target] = [from, to].map(|end| end.ip().octets());
    let builder = PacketBuilder::ipv4(source, target, 64);
    let builder = made(builder.tcp(from.port(), to.port(), sequence, WINDOW))?;
    let mut packet = Vec::new();
    builder.write(&mut packet, &[])?;
    Ok(packet)
}

type Made = PacketBuilderStep<TcpHeader>;

/// A SYN with an old timestamp.
pub(crate) fn old_syn(ends: [SocketAddrV4; 2]) -> Result<Vec<u8>> {
    let options = [
        TcpOptionElement::Noop,
        TcpOptionElement::Noop,
        TcpOptionElement::Timestamp(LONG_AGO, 0),
    ];
    segment(ends, 0, |builder| builder.syn().options(&options))
}

/// Swallows segments sent to an address, so that the kernel does not answer them with a RST.
pub(crate) fn deaf(address: SocketAddrV4) -> Result<Socket> {
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
    socket.listen(1)?;
    Ok(socket)
}

pub(crate) fn ipv4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => bail!("{address} is not an IPv4 address"),
    }
}
