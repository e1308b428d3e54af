//! A RST made by hand, as a TIME_WAIT's peer would send it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use anyhow::Result;
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// TCP_SEND_QUEUE of linux/tcp.h.
const SEND_QUEUE: libc::c_int = 2;
const RST: u8 = 4;
/// A TCP header without options, in 32-bit words.
const WORDS: u8 = 5;
const LENGTH: u16 = 20;

/// The sequence number that the socket's next byte, or its FIN, will have. The kernel tells it to
/// who may repair sockets.
pub(crate) fn next_sequence(socket: &Socket) -> Result<u32> {
    set(socket, libc::TCP_REPAIR, 1)?;
    set(socket, libc::TCP_REPAIR_QUEUE, SEND_QUEUE)?;
    let sequence = get(socket, libc::TCP_QUEUE_SEQ)?;
    set(socket, libc::TCP_REPAIR, 0)?;
    Ok(sequence)
}

fn set(socket: &Socket, option: libc::c_int, value: libc::c_int) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value))?;
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    Errno::result(result)?;
    Ok(())
}

fn get(socket: &Socket, option: libc::c_int) -> Result<u32> {
    let mut value = 0_u32;
    let mut length = libc::socklen_t::try_from(size_of_val(&value))?;
    // SAFETY: the pointers describe `value` and its length, which outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(value)
}

/// Sends a RST over loopback.
pub(crate) fn send(from: SocketAddrV4, to_port: u16, sequence: u32) -> Result<()> {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    let mut header = [0; LENGTH as usize];
    header[0..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to_port.to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[12] = WORDS << 4;
    header[13] = RST;
    let sum = checksum(*from.ip(), Ipv4Addr::LOCALHOST, &header);
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    raw.send_to(&header, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(())
}

/// TCP's checksum over the pseudo header and the header (RFC 9293, section 3.1).
fn checksum(from: Ipv4Addr, to: Ipv4Addr, header: &[u8]) -> u16 {
    let pseudo = [from.octets(), to.octets()].concat();
    let words = pseudo.chunks_exact(2).chain(header.chunks_exact(2));
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    sum += 6 + u32::from(LENGTH);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = sum.to_be_bytes();
    !u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let mut header = [0; 20];
        header[0] = 0xab;
        header[13] = RST;
        let sum = checksum(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, &header);
        header[16..18].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(
            checksum(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, &header),
            0
        );
    }
}
