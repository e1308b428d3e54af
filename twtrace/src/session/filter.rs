//! Which connections a session traces.

use std::net::IpAddr;

use twtrace_common::settings::{
    self, FILTER_ADDR, FILTER_CGROUP, FILTER_IPV4, FILTER_IPV6, FILTER_LPORT, FILTER_NETNS,
    FILTER_PORTS, FILTER_RPORT, FILTER_UID,
};

use crate::error::{Error, Result};
use crate::kernel;

/// Which connections to trace: those that match all that is asked for. Compared in the kernel, so
/// what does not pass costs next to nothing.
///
/// ```
/// use std::net::Ipv4Addr;
/// use twtrace::Filter;
///
/// let https_inside = Filter::new()
///     .remote_port(443)
///     .network(Ipv4Addr::new(10, 0, 0, 0).into(), 8);
/// # let _ = https_inside;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Filter {
    ipv4: bool,
    ipv6: bool,
    local_ports: Vec<u16>,
    remote_ports: Vec<u16>,
    network: Option<(IpAddr, u8)>,
    netns: Option<u32>,
    uid: Option<u32>,
    cgroup: Option<u64>,
}

impl Filter {
    /// Lets everything pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// IPv4 on the wire, through IPv6 sockets as well.
    pub fn ipv4(self) -> Self {
        Self { ipv4: true, ..self }
    }

    /// IPv6 on the wire.
    pub fn ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// This local port; called again, one of them. At most 8.
    pub fn local_port(mut self, port: u16) -> Self {
        self.local_ports.push(port);
        self
    }

    /// This remote port; called again, one of them. At most 8.
    pub fn remote_port(mut self, port: u16) -> Self {
        self.remote_ports.push(port);
        self
    }

    /// A local or remote address in this network. The prefix has so many bits, up to 32 for IPv4 and
    /// 128 for IPv6; bits beyond are ignored. Called again, the last network counts.
    pub fn network(self, address: IpAddr, prefix: u8) -> Self {
        Self {
            network: Some((address, prefix)),
            ..self
        }
    }

    /// This network namespace, by inode number, as in `net:[4026531833]`.
    pub fn netns(self, inode: u32) -> Self {
        Self {
            netns: Some(inode),
            ..self
        }
    }

    /// Sockets of this user. Mini-sockets from before the trace have no known owner and do not
    /// pass.
    pub fn uid(self, uid: u32) -> Self {
        Self {
            uid: Some(uid),
            ..self
        }
    }

    /// Sockets of this cgroup (v2): the inode number of its directory. Mini-sockets from before the
    /// trace do not pass.
    pub fn cgroup(self, id: u64) -> Self {
        Self {
            cgroup: Some(id),
            ..self
        }
    }

    /// As the kernel side compares it.
    pub(super) fn build(&self) -> Result<settings::Filter> {
        let mut filter = settings::Filter::ZERO;
        let mut set = |wanted: bool, flag: u32| filter.flags |= if wanted { flag } else { 0 };
        set(self.ipv4, FILTER_IPV4);
        set(self.ipv6, FILTER_IPV6);
        set(!self.local_ports.is_empty(), FILTER_LPORT);
        set(!self.remote_ports.is_empty(), FILTER_RPORT);
        set(self.network.is_some(), FILTER_ADDR);
        set(self.netns.is_some(), FILTER_NETNS);
        set(self.uid.is_some(), FILTER_UID);
        set(self.cgroup.is_some(), FILTER_CGROUP);
        (filter.lports, filter.lport_count) = ports("local", &self.local_ports)?;
        (filter.rports, filter.rport_count) = ports("remote", &self.remote_ports)?;
        if let Some((address, prefix)) = self.network {
            (filter.addr, filter.mask) = network(address, prefix)?;
        }
        filter.netns = self.netns.unwrap_or_default();
        filter.uid = self.uid.unwrap_or_default();
        filter.cgroup = self.cgroup.unwrap_or_default();
        Ok(filter)
    }
}

fn ports(which: &str, wanted: &[u16]) -> Result<([u16; FILTER_PORTS], u16)> {
    let mut ports = [0; FILTER_PORTS];
    let Some(room) = ports.get_mut(..wanted.len()) else {
        let count = wanted.len();
        return Err(Error::new(format!(
            "a filter takes at most {FILTER_PORTS} {which} ports, not {count}"
        ))
        .hint("trace all ports and choose among the events"));
    };
    room.copy_from_slice(wanted);
    Ok((ports, wanted.len() as u16))
}

fn network(address: IpAddr, prefix: u8) -> Result<([u64; 2], [u64; 2])> {
    kernel::network(address, prefix.into()).ok_or_else(|| {
        Error::new(format!(
            "a filter on {address}/{prefix}: the prefix is longer than the address"
        ))
        .hint("IPv4 has 32 bits, IPv6 has 128")
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_compared() {
        assert_eq!(Filter::new().build().unwrap(), settings::Filter::ZERO);
        let one = Filter::new().local_port(7).local_port(9).uid(0);
        let one = one.build().unwrap();
        assert_eq!(one.flags, FILTER_LPORT | FILTER_UID);
        assert_eq!((&one.lports[..3], one.lport_count), (&[7, 9, 0][..], 2));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = (0..9).fold(Filter::new(), Filter::remote_port);
        let wide = Filter::new().network(Ipv4Addr::LOCALHOST.into(), 33);
        for (wrong, why) in [(many, "at most 8 remote"), (wide, "127.0.0.1/33")] {
            let error = wrong.build().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("hint: "), "{error}");
        }
    }
}
