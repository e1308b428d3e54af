//! Connections with both ends in our hands, and the socket options that scenarios need.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{getsockopt, setsockopt, sockopt::TcpRepair};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::event::Family;
use crate::kernel::disconnect;

sockopt_impl!(
    /// Seconds in FIN_WAIT2 after close(); negative means no FIN_WAIT2.
    TcpLinger2,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_LINGER2,
    i32
);
sockopt_impl!(
    /// The first bytes of `struct tcp_info`: the kernel returns as many as are asked for.
    InfoHead,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; 8]
);
sockopt_impl!(
    /// The queue that TCP_QUEUE_SEQ refers to.
    RepairQueue,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_REPAIR_QUEUE,
    u32
);
sockopt_impl!(
    /// The next sequence number of that queue.
    QueueSeq,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_QUEUE_SEQ,
    u32
);

const REPAIR_ON: u32 = 1;
/// TCP_REPAIR_OFF_NO_WP (-1): leaves repair mode without sending a window probe.
const REPAIR_OFF: u32 = u32::MAX;
const RECV_QUEUE: u32 = 1;
const SEND_QUEUE: u32 = 2;

/// One connection: the end that closes first, and the other.
#[derive(Debug)]
pub(in crate::check) struct Pair {
    pub(in crate::check) active: TcpStream,
    pub(in crate::check) passive: TcpStream,
}

impl Pair {
    /// The other end closes first.
    pub(in crate::check) fn swapped(self) -> Self {
        Self {
            active: self.passive,
            passive: self.active,
        }
    }
}

/// Sequence numbers of a connection on which nothing was sent yet.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::check) struct Sequence {
    /// The next byte of the active closer, after its FIN.
    pub(in crate::check) own: u32,
    /// The next byte of the passive closer, before its FIN.
    pub(in crate::check) peer: u32,
    /// The last TSval of a deaf passive closer; `None` if it is not deaf or has no timestamps.
    pub(in crate::check) clock: Option<u32>,
}

/// The loopback address of a family.
pub(in crate::check) fn loopback(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::LOCALHOST.into(),
        Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        Family::Ipv4Mapped => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
    }
}

/// A socket bound to `local` with SO_REUSEADDR.
pub(in crate::check) fn bound(local: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(local)?;
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// A TCP socket of the address's family.
pub(in crate::check) fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
}

/// The sequence numbers as the passive end sees them before either end closes.
pub(in crate::check) fn sequence(passive: &TcpStream) -> io::Result<Sequence> {
    let before = match getsockopt(passive, TcpRepair)? {
        REPAIR_ON => REPAIR_ON,
        _ => REPAIR_OFF,
    };
    setsockopt(passive, TcpRepair, &REPAIR_ON)?;
    let next = |queue| -> nix::Result<u32> {
        setsockopt(passive, RepairQueue, &queue)?;
        getsockopt(passive, QueueSeq)
    };
    let numbers = (next(RECV_QUEUE), next(SEND_QUEUE));
    setsockopt(passive, TcpRepair, &before)?;
    Ok(Sequence {
        own: numbers.0?.wrapping_add(1),
        peer: numbers.1?,
        clock: None,
    })
}

/// Whether a connection has timestamps.
pub(in crate::check) fn has_timestamps(stream: &TcpStream) -> io::Result<bool> {
    const OPTIONS: usize = 5; // tcpi_options
    const TIMESTAMPS: u8 = 1; // TCPI_OPT_TIMESTAMPS
    Ok(getsockopt(stream, InfoHead)?[OPTIONS] & TIMESTAMPS != 0)
}

/// Makes a socket receive and send nothing, not even when it is closed. TCP still finds it, so no
/// RST is sent in its place.
pub(in crate::check) fn deafen(stream: &TcpStream) -> io::Result<()> {
    drop_all(&SockRef::from(stream))?;
    Ok(setsockopt(stream, TcpRepair, &REPAIR_ON)?)
}

/// Makes a socket drop everything it receives.
pub(in crate::check) fn drop_all(socket: &Socket) -> io::Result<()> {
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
}

/// Closes without sending anything, like a host that loses power.
pub(in crate::check) fn vanish(stream: TcpStream) -> io::Result<()> {
    setsockopt(&stream, TcpRepair, &REPAIR_ON)?;
    drop(stream);
    Ok(())
}

/// Closes with a RST at once. close() alone takes effect only when all other holders of the
/// descriptor are gone, such as a child that another thread has forked: on exec the child closes
/// both ends of a connection, in the order of their descriptor numbers.
pub(in crate::check) fn reset(stream: TcpStream) -> io::Result<()> {
    disconnect(&stream)?;
    drop(stream);
    Ok(())
}

/// Closes with a RST by SO_LINGER 0.
pub(in crate::check) fn abort(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Limits this socket's time in FIN_WAIT2; negative means no FIN_WAIT2.
pub(in crate::check) fn set_linger2(socket: &impl AsFd, seconds: i32) -> io::Result<()> {
    Ok(setsockopt(socket, TcpLinger2, &seconds)?)
}
