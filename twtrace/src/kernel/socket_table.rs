//! The socket tables of the calling thread's namespace as text: `/proc/net/tcp` and
//! `/proc/net/tcp6`. Slower than sock_diag, but there without any module.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::sock_diag::Substate;

/// TCP_FIN_WAIT2.
pub(crate) const FIN_WAIT2: u8 = 5;
/// TCP_TIME_WAIT.
const TIME_WAIT: u8 = 6;
/// TCP_LISTEN.
pub(crate) const LISTEN: u8 = 10;
/// What the column `tr` shows for mini-sockets only.
const TIME_WAIT_TIMER: u8 = 3;
/// Timers are shown in USER_HZ, which is 100 everywhere.
const MS_PER_TICK: u64 = 10;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: u8,
    timer: u8,
    /// Time left on its timer.
    pub remaining: Duration,
    /// Closed by its process.
    pub orphan: bool,
}

impl Row {
    /// `None` for a full socket.
    #[must_use]
    pub(crate) fn mini_socket(&self) -> Option<Substate> {
        match (self.timer, self.state) {
            (TIME_WAIT_TIMER, FIN_WAIT2) => Some(Substate::FinWait2),
            (TIME_WAIT_TIMER, TIME_WAIT) => Some(Substate::TimeWait),
            _ => None,
        }
    }
}

/// Shows each TCP socket of the namespace to `sink`, IPv4 first.
pub(crate) fn visit(sink: &mut dyn FnMut(Row)) -> io::Result<()> {
    for name in ["tcp", "tcp6"] {
        match File::open(format!("/proc/thread-self/net/{name}")) {
            Ok(file) => read(BufReader::new(file), sink)?,
            // No IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read(file: impl BufRead, sink: &mut dyn FnMut(Row)) -> io::Result<()> {
    for line in file.lines().skip(1) {
        parse(&line?).into_iter().for_each(&mut *sink);
    }
    Ok(())
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
pub(crate) mod tests {
    use super::*;

    pub(crate) const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 19 1
   2: 0100007F:EC1C 0200007F:8789 06 00000000:00000000 03:0000108F 00000000     0        0 0 3
   4: 0100007F:DA74 0100007F:AE4F 05 00000000:00000000 03:0000176E 00000000     0        0 0 3
   5: 0100007F:AE4F 0100007F:DA74 05 00000000:00000001 00:00000000 00000000     0        0 18013 1
   6: 0100007F:AE4F 0100007F:DA75 05 00000000:00000001 02:00000000 00000000     0        0 0 1
";

    pub(crate) fn rows() -> Vec<Row> {
        let mut rows = Vec::new();
        read(TCP.as_bytes(), &mut |row| rows.push(row)).unwrap();
        rows
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn mini_sockets_are_told_from_full_ones() {
        let rows = rows();
        assert_eq!(rows.len(), 5);
        let substates = [
            None,
            Some(Substate::TimeWait),
            Some(Substate::FinWait2),
            None,
            None,
        ];
        assert_eq!(
            rows.iter().map(Row::mini_socket).collect::<Vec<_>>(),
            substates
        );
        assert_eq!(rows[1].remaining, Duration::from_millis(42_390));
        assert!(rows[4].orphan && !rows[3].orphan);
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
