//! The socket tables of the calling thread's namespace (`/proc/net/tcp`, `tcp6`): a view that needs
//! no module, and nothing that tracing uses.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::kernel::sock_diag::Substate;
use crate::kernel::socket_table::{FIN_WAIT2, LISTEN, Row, visit};

/// A mini-socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Shown {
    pub(in crate::check) substate: Substate,
    /// Time left on its timer.
    pub(in crate::check) remaining: Duration,
}

/// All TCP sockets of a namespace.
#[derive(Clone, Debug, Default)]
pub(in crate::check) struct SocketTable {
    pub(in crate::check) mini_sockets: HashMap<(SocketAddr, SocketAddr), Shown>,
    full: Vec<Row>,
}

impl SocketTable {
    pub(in crate::check) fn read() -> io::Result<Self> {
        let mut table = Self::default();
        visit(&mut |row| table.add(row))?;
        Ok(table)
    }

    /// Whether all full sockets left are listeners.
    pub(in crate::check) fn is_settled(&self) -> bool {
        self.full.iter().all(|row| row.state == LISTEN)
    }

    /// Closed sockets in FIN_WAIT2 that are not mini-sockets.
    ///
    /// If the ACK of its FIN arrives while close() still owns the socket, it stays a full socket
    /// with a keepalive timer (`tcp_rcv_state_process`, TCP_FIN_WAIT1, sock_owned_by_user).
    pub(in crate::check) fn stuck(&self) -> usize {
        let stuck = |row: &&Row| row.orphan && row.state == FIN_WAIT2;
        self.full.iter().filter(stuck).count()
    }

    fn add(&mut self, row: Row) {
        let Some(substate) = row.mini_socket() else {
            self.full.push(row);
            return;
        };
        let shown = Shown {
            substate,
            remaining: row.remaining,
        };
        self.mini_sockets.insert((row.local, row.remote), shown);
    }
}

/// For error messages: the first few of each kind.
impl fmt::Display for SocketTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minis, full) = (self.mini_sockets.len(), self.full.len());
        write!(f, "{minis} mini-sockets")?;
        for ((local, remote), shown) in self.mini_sockets.iter().take(7) {
            write!(f, ", {local} > {remote} {:?}", shown.substate)?;
        }
        write!(f, "; {full} full sockets")?;
        for row in self.full.iter().take(7) {
            let Row {
                local,
                remote,
                state,
                ..
            } = row;
            write!(f, ", {local} > {remote} state {state}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket_table::tests::rows;

    #[test]
    #[cfg(target_endian = "little")]
    fn what_is_left_and_what_is_stuck_is_told() {
        let mut table = SocketTable::default();
        rows().into_iter().for_each(|row| table.add(row));
        assert_eq!((table.mini_sockets.len(), table.full.len()), (2, 3));
        let key = (
            "127.0.0.1:60444".parse().unwrap(),
            "127.0.0.2:34697".parse().unwrap(),
        );
        let expected = Shown {
            substate: Substate::TimeWait,
            remaining: Duration::from_millis(42_390),
        };
        assert_eq!(table.mini_sockets[&key], expected);
        assert!(!table.is_settled());
        assert_eq!(table.stuck(), 1);
    }
}
