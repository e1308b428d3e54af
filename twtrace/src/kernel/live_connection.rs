//! Whose connection it is that refuses a SYN: asked while it is still there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::event::Flow;
use crate::event::found::LiveConnection;
use crate::kernel::counters::Namespaces;
use crate::kernel::netns::{self, Netns, Visitor, Ways};
use crate::kernel::sock_diag::SockDiag;

/// After a look comes a pause of so many times what it took: 1 % of the time at most.
const PAUSE: u32 = 99;

/// Asks, but not too often.
#[derive(Debug, Default)]
pub struct LiveConnections {
    next: Option<Instant>,
}

impl LiveConnections {
    /// `None` if it is closed by now, if that cannot be found out, or if it is too soon to look again.
    pub fn ask(&mut self, flow: &Flow) -> Option<LiveConnection> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        let connection = look(flow);
        let took: Duration = now.elapsed();
        self.next = Some(Instant::now() + took * PAUSE);
        connection
    }
}

fn look(flow: &Flow) -> Option<LiveConnection> {
    let mut asking = Asking {
        local: SocketAddr::new(flow.laddr, flow.lport),
        remote: SocketAddr::new(flow.raddr, flow.rport),
        connection: None,
    };
    if Netns::current().is_ok_and(|own| own.inode == flow.netns) {
        return asking.look(flow.netns);
    }
    let mut namespaces = Namespaces::find(Some(flow.netns)).ok()?;
    netns::abroad(|abroad| namespaces.visit_each(abroad, &mut asking)).ok()?;
    asking.connection
}

/// Asks where the connection is.
struct Asking {
    local: SocketAddr,
    remote: SocketAddr,
    connection: Option<LiveConnection>,
}

impl Visitor for Asking {
    type Found = Option<LiveConnection>;

    fn look(&mut self, _netns: u32) -> Option<LiveConnection> {
        let mut diag = SockDiag::open().ok()?;
        diag.connection(self.local, self.remote).ok().flatten()
    }

    fn tell(&mut self, _netns: u32, _ways: &Ways, found: Option<Option<LiveConnection>>) {
        self.connection = found.flatten();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn it_is_named_but_not_asked_for_again_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let [local, remote] = [client.local_addr(), client.peer_addr()].map(Result::unwrap);
        let flow = Flow {
            laddr: local.ip(),
            lport: local.port(),
            raddr: remote.ip(),
            rport: remote.port(),
            netns: Netns::current().unwrap().inode,
            ..Flow::sample()
        };
        let mut connections = LiveConnections::default();
        assert_eq!(connections.ask(&flow).unwrap().state, "ESTABLISHED");
        connections.next = Some(Instant::now() + Duration::from_secs(9));
        assert_eq!(connections.ask(&flow), None);
        let elsewhere = Flow { netns: 1, ..flow };
        assert_eq!(LiveConnections::default().ask(&elsewhere), None);
    }
}
