//! The loopback interface of the current network namespace.

use std::os::fd::AsRawFd as _;

use anyhow::Result;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Brings `lo` up (SIOCSIFFLAGS).
pub(crate) fn up() -> Result<()> {
    let any = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero bytes are a valid ifreq: it consists of integers and byte arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING)?;
    // SAFETY: the socket is open and SIOCSIFFLAGS reads one ifreq, which lives until it returns.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(result)?;
    Ok(())
}
