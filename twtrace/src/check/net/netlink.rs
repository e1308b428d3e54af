//! One question to the kernel over netlink, and its answer: done, or an error.

use std::io;

use netlink_packet_core::{
    ErrorBuffer, ErrorMessage, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, Parseable,
};
use netlink_sys::{Socket, SocketAddr};

/// Room for an acknowledgement, which repeats the request.
const ANSWER: usize = 4096;

/// Asks in the calling thread's namespace.
pub(super) fn ask<M>(protocol: isize, flags: u16, request: M) -> io::Result<()>
where
    M: NetlinkSerializable + Into<NetlinkPayload<M>>,
{
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut packet = NetlinkMessage::new(header, request.into());
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = vec![0; ANSWER];
    let length = socket.recv(&mut &mut answer[..], 0)?;
    acknowledged(&answer[..length])
}

fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let message = NetlinkBuffer::new_checked(answer).map_err(io::Error::other)?;
    if message.message_type() != NLMSG_ERROR {
        return Err(io::Error::other("no acknowledgement from the kernel"));
    }
    let error = ErrorBuffer::new_checked(&message.payload())
        .and_then(|buffer| ErrorMessage::parse(&buffer))
        .map_err(io::Error::other)?;
    match error.code {
        Some(_) => Err(error.to_io()),
        None => Ok(()),
    }
}
