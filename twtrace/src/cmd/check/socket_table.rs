//! The socket tables of the calling thread's namespace, as `/proc/net/tcp` and `/proc/net/tcp6`
//! show them: the look that depends on nothing of ours, and on no module.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::kernel::sock_diag::Substate;

/// TCP_FIN_WAIT2.
const FIN_WAIT2: u8 = 5;
/// TCP_TIME_WAIT.
const TIME_WAIT: u8 = 6;
/// TCP_LISTEN.
const LISTEN: u8 = 10;
/// What the column `tr` shows for mini-sockets only.
const TIME_WAIT_TIMER: u8 = 3;
/// Timers are shown in USER_HZ, which is 100 everywhere.
const MS_PER_TICK: u64 = 10;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    timer: u8,
    remaining: Duration,
    /// Closed by its process.
    orphan: bool,
}

/// A mini-socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) substate: Substate,
    /// What is left on its timer.
    pub(super) remaining: Duration,
}

/// All TCP sockets of a namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketTable {
    pub(super) mini_sockets: HashMap<(SocketAddr, SocketAddr), Shown>,
    full: Vec<Row>,
}

impl SocketTable {
    pub(super) fn read() -> io::Result<Self> {
        let mut table = Self::default();
        for name in ["tcp", "tcp6"] {
            match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
                Ok(text) => table.add(&text),
                // No IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(table)
    }

    /// No full socket is there but listeners.
    pub(super) fn is_settled(&self) -> bool {
        self.full.iter().all(|row| row.state == LISTEN)
    }

    /// Sockets that were closed, are in FIN_WAIT2, and yet are no mini-sockets.
    ///
    /// The ACK of a FIN that arrives while close() still owns the socket leaves it as it is, with
    /// a keepalive timer (`tcp_rcv_state_process`, TCP_FIN_WAIT1, sock_owned_by_user).
    pub(super) fn stuck(&self) -> usize {
        let stuck = |row: &&Row| row.orphan && row.state == FIN_WAIT2;
        self.full.iter().filter(stuck).count()
    }

    fn add(&mut self, text: &str) {
        for row in text.lines().skip(1).filter_map(parse) {
            let key = (row.local, row.remote);
            let remaining = row.remaining;
            let substate = match (row.timer, row.state) {
                (TIME_WAIT_TIMER, FIN_WAIT2) => Substate::FinWait2,
                (TIME_WAIT_TIMER, TIME_WAIT) => Substate::TimeWait,
                _ => {
                    self.full.push(row);
                    continue;
                }
            };
            self.mini_sockets.insert(
                key,
                Shown {
                    substate,
                    remaining,
                },
            );
        }
    }
}

/// For complaints: the first few of each kind.
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

/// `2: 0100007F:EC1C 0100007F:8789 06 00000000:00000000 03:0000108F 00000000 0 0 18011 …`; the
/// last is the inode number.
fn parse(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (timer, when) = fields.nth(1)?.split_once(':')?;
    let timer = u8::from_str_radix(timer, 16).ok()?;
    let remaining = Duration::from_millis(u64::from_str_radix(when, 16).ok()? * MS_PER_TICK);
    let orphan = fields.nth(3)? == "0";
    Some(Row {
        local,
        remote,
        state,
        timer,
        remaining,
        orphan,
    })
}

/// Addresses are words of network order printed as if they were of host order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..(at + 1) * 8)?, 16).ok()?;
        Some(u32::from_be(word))
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from_bits(word(0)?).into(),
        32 => {
            let high = u64::from(word(0)?) << 32 | u64::from(word(1)?);
            let low = u64::from(word(2)?) << 32 | u64::from(word(3)?);
            Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 19 1
   2: 0100007F:EC1C 0200007F:8789 06 00000000:00000000 03:0000108F 00000000     0        0 0 3
   4: 0100007F:DA74 0100007F:AE4F 05 00000000:00000000 03:0000176E 00000000     0        0 0 3
   5: 0100007F:AE4F 0100007F:DA74 05 00000000:00000001 00:00000000 00000000     0        0 18013 1
   6: 0100007F:AE4F 0100007F:DA75 05 00000000:00000001 02:00000000 00000000     0        0 0 1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn mini_sockets_are_told_from_full_ones() {
        let mut table = SocketTable::default();
        table.add(TCP);
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

    #[test]
    #[cfg(target_endian = "little")]
    fn ipv6_addresses_are_words() {
        let mapped = address("0000000000000000FFFF00000100007F:0050").unwrap();
        assert_eq!(mapped, "[::ffff:127.0.0.1]:80".parse().unwrap());
        let loopback = address("00000000000000000000000001000000:0016").unwrap();
        assert_eq!(loopback, "[::1]:22".parse().unwrap());
        assert_eq!(address("00:0016"), None);
    }
}
