//! connect() and bind() calls that may get no port. What they return is a witness that does not
//! depend on the tracer.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpStream};

use socket2::Socket;

use super::sockets::tcp_socket;
use crate::check::life::{PortFailed, Window, now_ns};
use crate::event::Call;

/// Calls that got no port, in order.
#[derive(Debug, Default)]
pub(in crate::check) struct Calls(RefCell<Vec<PortFailed>>);

impl Calls {
    /// bind(), with or without SO_REUSEADDR.
    pub(in crate::check) fn bind(&self, local: SocketAddr, shared: bool) -> io::Result<Socket> {
        let socket = tcp_socket(local)?;
        socket.set_reuse_address(shared)?;
        let start = now_ns();
        let bound = socket.bind(&local.into());
        self.note(
            bound,
            PortFailed {
                call: Call::Bind,
                local,
                remote: None,
                errno: 0,
                at: Window::since(start),
                time_wait: None,
            },
        )?;
        Ok(socket)
    }

    /// connect() from `local`: the address that the socket is bound to, or the one that it will
    /// get, with port 0. `time_wait` is the number of candidates held by mini-sockets only, if
    /// known.
    pub(in crate::check) fn connect(
        &self,
        socket: Socket,
        local: SocketAddr,
        remote: SocketAddr,
        time_wait: Option<u32>,
    ) -> io::Result<TcpStream> {
        let start = now_ns();
        let connected = socket.connect(&remote.into());
        self.note(
            connected,
            PortFailed {
                call: Call::Connect,
                local,
                remote: Some(remote),
                errno: 0,
                at: Window::since(start),
                time_wait,
            },
        )?;
        Ok(socket.into())
    }

    /// Takes all calls noted so far.
    pub(in crate::check) fn take(&self) -> Vec<PortFailed> {
        self.0.take()
    }

    fn note(&self, result: io::Result<()>, failed: PortFailed) -> io::Result<()> {
        if let Err(error) = &result
            && let Some(errno @ (libc::EADDRINUSE | libc::EADDRNOTAVAIL)) = error.raw_os_error()
        {
            self.0.borrow_mut().push(PortFailed {
                errno: errno.cast_unsigned(),
                ..failed
            });
        }
        result
    }
}
