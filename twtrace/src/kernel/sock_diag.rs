//! The mini-sockets of the calling thread's network namespace, as sock_diag lists them, and their
//! removal by SOCK_DESTROY.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use netlink_packet_core::{
    ErrorBuffer, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    Parseable,
};
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1,
    TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN, TCP_TIME_WAIT,
};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags, Timer,
};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagDestroy, SockDiagMessage};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use crate::error::{Error, Result};
use crate::event::found::LiveConnection;

/// `inet_diag_msg.idiag_expires` follows family, state, timer, retransmits and the socket id; the
/// crate does not hand it out for TIME_WAIT timers.
const EXPIRES: std::ops::Range<usize> = 52..56;
/// The kernel fills at most 32 KiB per read of a dump.
const BUFFER: usize = 32 * 1024;
/// INET_DIAG_NOCOOKIE: whichever socket has these addresses.
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// TCP_BOUND_INACTIVE, as the kernel shows sockets that are only bound (6.8 and later; older ones
/// do not list them, whatever is asked for). The crate does not know it.
const TCP_BOUND_INACTIVE: u8 = 13;

/// The substate of a mini-socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Substate {
    FinWait2,
    TimeWait,
}

/// A mini-socket as sock_diag shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniSocket {
    pub substate: Substate,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Time left on its timer.
    pub remaining: Duration,
    id: SocketId,
}

/// A TCP socket by its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub kind: Kind,
}

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MiniSocket(Substate),
    /// A full socket in FIN_WAIT2.
    FinWait2 {
        /// Closed by its process.
        orphan: bool,
        /// Of the file through which a process has it; 0 if that is not known.
        inode: u32,
    },
    /// A full socket with a remote end, in any other state.
    Connection,
    /// It listens, or is only bound: it has no remote end.
    Unconnected {
        listens: bool,
    },
}

/// What SOCK_DESTROY did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    Yes,
    /// EOPNOTSUPP: this kernel does not do it, or not to mini-sockets (5.10).
    NotSupported,
    /// ENOENT: no such socket (any more).
    NoSuchSocket,
}

/// An open sock_diag socket. It belongs to the namespace in which it was opened.
#[derive(Debug)]
pub struct SockDiag {
    socket: Socket,
    buffer: Vec<u8>,
    /// The table was changed under the last listing.
    interrupted: bool,
}

impl SockDiag {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open()
            .map_err(|error| Error::new(format!("cannot open a sock_diag socket: {error}")))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            interrupted: false,
        })
    }

    /// The kernel says that the last listing is not consistent (NLM_F_DUMP_INTR).
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Shows each mini-socket of the namespace to `sink`, IPv4 first.
    pub fn visit(&mut self, sink: &mut dyn FnMut(MiniSocket)) -> Result<()> {
        self.interrupted = false;
        for family in [AF_INET, AF_INET6] {
            self.visit_family(family, sink)
                .map_err(|error| dump_error(family, &error))?;
        }
        Ok(())
    }

    /// All mini-sockets of the namespace.
    pub fn mini_sockets(&mut self) -> Result<Vec<MiniSocket>> {
        let mut all = Vec::new();
        self.visit(&mut |one| all.push(one))?;
        Ok(all)
    }

    /// The connection between two ends, unless it is closed or a mini-socket.
    pub fn connection(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<LiveConnection>> {
        let failed =
            |error: io::Error| Error::new(format!("cannot ask for the socket {local}: {error}"));
        let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
        let id = SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: NO_COOKIE,
        };
        self.send(NLM_F_REQUEST, request(family, StateFlags::all(), id))
            .map_err(failed)?;
        let mut found = None;
        let answered = self.receive(|kind, payload| match kind {
            NLMSG_ERROR => Err(kernel_error(payload)?.unwrap_or_else(no_answer)),
            _ => {
                found = live_connection(payload)?;
                Ok(())
            }
        });
        match answered {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(()) => Ok(found),
        }
    }

    /// Asks the kernel to destroy one.
    pub fn destroy(&mut self, mini_socket: &MiniSocket) -> Result<Destroyed> {
        let failed = |error: io::Error| {
            Error::new(format!("cannot destroy {}: {error}", mini_socket.local))
                .hint("SOCK_DESTROY needs CAP_NET_ADMIN")
        };
        let family = if mini_socket.local.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        };
        let request = SockDiagDestroy::new(request(
            family,
            StateFlags::FIN_WAIT2 | StateFlags::TIME_WAIT,
            mini_socket.id.clone(),
        ));
        self.send(NLM_F_REQUEST | NLM_F_ACK, request)
            .map_err(failed)?;
        match self.acknowledgement() {
            Ok(()) => Ok(Destroyed::Yes),
            Err(error) => match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => Ok(Destroyed::NotSupported),
                Some(libc::ENOENT) => Ok(Destroyed::NoSuchSocket),
                _ => Err(failed(error)),
            },
        }
    }

    /// Shows each socket that is not a mini-socket, and mini-sockets too if they are wanted.
    pub fn visit_all(&mut self, mini_sockets: bool, sink: &mut dyn FnMut(Shown)) -> Result<()> {
        let states = if mini_sockets {
            all_states()
        } else {
            all_states() - StateFlags::TIME_WAIT
        };
        for family in [AF_INET, AF_INET6] {
            self.dump(family, states.clone(), 0, &mut |payload| {
                let shown = shown(payload)?;
                if mini_sockets || !matches!(shown.kind, Kind::MiniSocket(_)) {
                    sink(shown);
                }
                Ok(())
            })
            .map_err(|error| dump_error(family, &error))?;
        }
        Ok(())
    }

    /// Shows each socket on a local port.
    pub fn visit_port(&mut self, port: u16, sink: &mut dyn FnMut(Shown)) -> Result<()> {
        for family in [AF_INET, AF_INET6] {
            self.dump(family, all_states(), port, &mut |payload| {
                sink(shown(payload)?);
                Ok(())
            })
            .map_err(|error| dump_error(family, &error))?;
        }
        Ok(())
    }

    fn visit_family(&mut self, family: u8, sink: &mut dyn FnMut(MiniSocket)) -> io::Result<()> {
        let states = StateFlags::FIN_WAIT2 | StateFlags::TIME_WAIT;
        self.dump(family, states, 0, &mut |payload| {
            mini_socket(payload)?.into_iter().for_each(&mut *sink);
            Ok(())
        })
    }

    /// Hands each socket of a family in these states to `sink`; only those of a local port unless it
    /// is 0.
    fn dump(
        &mut self,
        family: u8,
        states: StateFlags,
        port: u16,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut id = if family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        };
        id.source_port = port;
        self.send(NLM_F_REQUEST | NLM_F_DUMP, request(family, states, id))?;
        loop {
            let mut done = false;
            self.receive(|kind, payload| {
                match kind {
                    NLMSG_DONE => {
                        done = true;
                        end_of_dump(payload)?;
                    }
                    NLMSG_ERROR => return Err(kernel_error(payload)?.unwrap_or_else(no_answer)),
                    SOCK_DIAG_BY_FAMILY => sink(payload)?,
                    _ => {}
                }
                Ok(())
            })?;
            if done {
                return Ok(());
            }
        }
    }

    fn acknowledgement(&mut self) -> io::Result<()> {
        let mut answer = None;
        self.receive(|kind, payload| {
            if kind == NLMSG_ERROR {
                answer = Some(kernel_error(payload)?);
            }
            Ok(())
        })?;
        match answer {
            Some(None) => Ok(()),
            Some(Some(error)) => Err(error),
            None => Err(no_answer()),
        }
    }

    fn send<M>(&self, flags: u16, message: M) -> io::Result<()>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut packet = NetlinkMessage::new(header, message.into());
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Hands the type and payload of each message of one read to `sink`.
    fn receive(&mut self, mut sink: impl FnMut(u16, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
        let mut rest = &self.buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            self.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            sink(message.message_type(), message.payload())?;
            let aligned = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(aligned..).unwrap_or_default();
        }
        Ok(())
    }
}

fn all_states() -> StateFlags {
    let bound = StateFlags::from_bits_retain(1 << TCP_BOUND_INACTIVE);
    (StateFlags::all() - StateFlags::CLOSE) | bound
}

fn request(family: u8, states: StateFlags, socket_id: SocketId) -> SockDiagMessage {
    SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    })
}

/// A mini-socket, or nothing for a full socket in FIN_WAIT2.
fn mini_socket(payload: &[u8]) -> io::Result<Option<MiniSocket>> {
    let header = InetResponseHeader::parse(payload).map_err(io::Error::other)?;
    let expires = payload.get(EXPIRES).and_then(|bytes| bytes.try_into().ok());
    let (Some(substate), Some(expires)) = (substate(&header), expires) else {
        return Ok(None);
    };
    let id = header.socket_id;
    // Negative once the timer is due and the wheel has not come round to it yet.
    let remaining = u64::try_from(i32::from_ne_bytes(expires)).unwrap_or(0);
    Ok(Some(MiniSocket {
        substate,
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: SocketAddr::new(id.destination_address, id.destination_port),
        remaining: Duration::from_millis(remaining),
        id,
    }))
}

/// `None` for a full socket: only mini-sockets have the TIME_WAIT timer.
fn substate(header: &InetResponseHeader) -> Option<Substate> {
    match (header.state, &header.timer) {
        (TCP_FIN_WAIT2, Some(Timer::TimeWait)) => Some(Substate::FinWait2),
        (TCP_TIME_WAIT, Some(Timer::TimeWait)) => Some(Substate::TimeWait),
        _ => None,
    }
}

/// `None` for a mini-socket, and for a listener, which is found where there is no connection.
fn live_connection(payload: &[u8]) -> io::Result<Option<LiveConnection>> {
    let header = InetResponseHeader::parse(payload).map_err(io::Error::other)?;
    let state = match header.state {
        _ if substate(&header).is_some() => return Ok(None),
        TCP_ESTABLISHED => "ESTABLISHED",
        TCP_FIN_WAIT1 => "FIN_WAIT1",
        TCP_FIN_WAIT2 => "FIN_WAIT2",
        TCP_CLOSE_WAIT => "CLOSE_WAIT",
        TCP_LAST_ACK => "LAST_ACK",
        TCP_CLOSING => "CLOSING",
        _ => return Ok(None),
    };
    let held = header.inode != 0;
    Ok(Some(LiveConnection {
        state,
        uid: held.then_some(header.uid),
    }))
}

fn shown(payload: &[u8]) -> io::Result<Shown> {
    let header = InetResponseHeader::parse(payload).map_err(io::Error::other)?;
    let kind = match (substate(&header), header.state) {
        (Some(substate), _) => Kind::MiniSocket(substate),
        (None, state @ (TCP_LISTEN | TCP_BOUND_INACTIVE)) => Kind::Unconnected {
            listens: state == TCP_LISTEN,
        },
        (None, TCP_FIN_WAIT2) => Kind::FinWait2 {
            orphan: header.inode == 0,
            inode: header.inode,
        },
        (None, _) => Kind::Connection,
    };
    let id = header.socket_id;
    Ok(Shown {
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: SocketAddr::new(id.destination_address, id.destination_port),
        kind,
    })
}

/// The last message of a dump tells whether it failed: without tcp_diag it is the only one
/// (`netlink_dump`, dump_done_errno).
fn end_of_dump(payload: &[u8]) -> io::Result<()> {
    let code = payload.first_chunk().copied().map_or(0, i32::from_ne_bytes);
    if code < 0 {
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(())
}

/// `None` for an acknowledgement.
fn kernel_error(payload: &[u8]) -> io::Result<Option<io::Error>> {
    let message = ErrorBuffer::new_checked(&payload)
        .and_then(|buffer| ErrorMessage::parse(&buffer))
        .map_err(io::Error::other)?;
    Ok(message.code.map(|_| message.to_io()))
}

fn no_answer() -> io::Error {
    io::Error::other("no answer from the kernel")
}

fn dump_error(family: u8, error: &io::Error) -> Error {
    let version = if family == AF_INET { 4 } else { 6 };
    let message = format!("cannot list the IPv{version} TCP sockets by sock_diag: {error}");
    match error.raw_os_error() {
        Some(libc::ENOENT) => Error::new(message).hint("load the module tcp_diag"),
        _ => Error::new(message),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::time::Instant;

    use super::*;

    /// The active closer of one loopback connection, and the other end.
    fn half_closed(address: &str) -> (SocketAddr, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let local = client.local_addr().unwrap();
        drop(client);
        (local, server)
    }

    fn find(local: SocketAddr) -> Option<MiniSocket> {
        let all = SockDiag::open().unwrap().mini_sockets().unwrap();
        all.into_iter().find(|one| one.local == local)
    }

    /// The peer may take its time to acknowledge our FIN.
    fn await_substate(local: SocketAddr, substate: Substate) -> MiniSocket {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match find(local) {
                Some(found) if found.substate == substate => return found,
                _ => assert!(Instant::now() < deadline, "no {substate:?} at {local}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_mini_socket_is_seen_in_both_substates() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (local, server) = half_closed(address);
            let waiting = await_substate(local, Substate::FinWait2);
            assert_eq!(waiting.remote, server.local_addr().unwrap());
            server.shutdown(Shutdown::Write).unwrap();
            let promoted = await_substate(local, Substate::TimeWait);
            assert!(promoted.remaining > Duration::from_secs(55), "{promoted:?}");
        }
    }

    #[test]
    fn a_full_socket_in_fin_wait_2_is_no_mini_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let local = client.local_addr().unwrap();
        assert_eq!(find(local), None);
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap();
        let inode = u32::try_from(inode.ino()).unwrap();
        let orphan = false;
        await_kind(local, Kind::FinWait2 { orphan, inode });
    }

    /// The same for a full socket.
    fn await_kind(local: SocketAddr, kind: Kind) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let mut found = None;
            let mut sink = |one: Shown| found = (one.local == local).then_some(one).or(found);
            SockDiag::open()
                .unwrap()
                .visit_all(false, &mut sink)
                .unwrap();
            if found.is_some_and(|one| one.kind == kind) {
                return;
            }
            assert!(Instant::now() < deadline, "{found:?} is not {kind:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_connection_is_found_with_its_state_and_owner() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let ends = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
            let find = |[local, remote]: [SocketAddr; 2]| {
                let mut diag = SockDiag::open().unwrap();
                diag.connection(local, remote).unwrap()
            };
            let own = nix::unistd::geteuid().as_raw();
            let found = LiveConnection {
                state: "ESTABLISHED",
                uid: Some(own),
            };
            assert_eq!(find(ends), Some(found));
            client.shutdown(Shutdown::Write).unwrap();
            let half = find(ends).unwrap();
            assert!(half.state.starts_with("FIN_WAIT"), "{half:?}");
            drop(client);
            await_substate(ends[0], Substate::FinWait2);
            assert_eq!(find(ends), None);
            // The listener is found there.
            let nobody = SocketAddr::new(ends[0].ip(), 1);
            assert_eq!(find([ends[1], nobody]), None);
            drop(server);
        }
    }

    #[test]
    fn destroy_tells_whether_the_socket_was_there() {
        let (local, server) = half_closed("127.0.0.1:0");
        drop(server);
        let mini_socket = await_substate(local, Substate::TimeWait);
        let mut diag = SockDiag::open().unwrap();
        if diag.destroy(&mini_socket).unwrap() == Destroyed::Yes {
            assert_eq!(find(local), None);
            assert_eq!(diag.destroy(&mini_socket).unwrap(), Destroyed::NoSuchSocket);
        }
    }
}
