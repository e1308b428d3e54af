//! A namespace that forwards, and changes addresses and ports on the way.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};

use netlink_packet_core::{NetlinkPayload, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::netlink::ask;
use crate::error::{Error, Result};
use crate::kernel::netns::Netns;

/// There is no well-kept crate under a permissive licence that speaks nf_tables (rustables is
/// GPL-3), so the program does. It may be outside the PATH.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];
const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

/// What becomes of the source of a connection that goes out.
#[derive(Clone, Debug)]
pub(super) enum Mapping {
    /// All get this one address and port.
    One(SocketAddr),
    /// The address of the outer device, and any of these ports: `MASQUERADE --random-fully`.
    Random(RangeInclusive<u16>),
}

/// A running NAT. It is gone with its namespace.
#[derive(Debug)]
pub(super) struct Nat {
    netns: Netns,
}

impl Nat {
    /// Makes a namespace forward, and what leaves by `device` look as if it came from there.
    pub(super) fn start(netns: Netns, device: &str, mapping: &Mapping) -> Result<Self> {
        let rules = rules(device, mapping);
        netns.run(|| {
            forward().map_err(|error| Error::new(format!("cannot forward: {error}")))?;
            nft(&rules)
        })??;
        Ok(Self { netns })
    }

    /// Forgets all connections, as after a minute or two of silence, or a reboot: their ports are
    /// free for others.
    pub(super) fn forget(&self) -> Result<()> {
        let forgotten = self.netns.run(|| ask(NETLINK_NETFILTER, 0, Flush))?;
        forgotten.map_err(|error| {
            Error::new(format!("cannot make the NAT forget: {error}"))
                .hint("that needs the module nf_conntrack_netlink")
        })
    }
}

fn forward() -> io::Result<()> {
    for name in FORWARDING {
        match fs::write(format!("/proc/sys/net/{name}"), "1") {
            // No IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

fn rules(device: &str, mapping: &Mapping) -> String {
    let (table, action) = match mapping {
        Mapping::One(to) if to.is_ipv6() => ("ip6", format!("snat to {to}")),
        Mapping::One(to) => ("ip", format!("snat to {to}")),
        Mapping::Random(ports) => {
            let (first, last) = (ports.start(), ports.end());
            let action = format!("masquerade to :{first}-{last} fully-random");
            ("ip", action)
        }
    };
    format!(
        "table {table} nat {{
            chain out {{
                type nat hook postrouting priority 100;
                oifname \"{device}\" meta l4proto tcp {action};
            }}
        }}"
    )
}

/// Hands rules to `nft`, in the calling thread's namespace.
fn nft(rules: &str) -> Result<()> {
    let child = spawn().map_err(|error| {
        Error::new(format!("cannot start nft: {error}")).hint("install nftables for NAT scenarios")
    })?;
    let output =
        feed(child, rules).map_err(|error| Error::new(format!("cannot talk to nft: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = complaint.lines().next().unwrap_or("it does not say why");
    Err(Error::new(format!("nft refuses the NAT rules: {first}")))
}

fn spawn() -> io::Result<Child> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for program in PROGRAMS {
        let child = Command::new(program)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => return Ok(child),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn feed(mut child: Child, rules: &str) -> io::Result<std::process::Output> {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes())?;
    }
    child.wait_with_output()
}

/// IPCTNL_MSG_CT_DELETE of no connection in particular: of all.
struct Flush;

impl NetlinkSerializable for Flush {
    fn message_type(&self) -> u16 {
        const SUBSYSTEM: u16 = 1; // NFNL_SUBSYS_CTNETLINK
        const DELETE: u16 = 2; // IPCTNL_MSG_CT_DELETE
        SUBSYSTEM << 8 | DELETE
    }

    /// A `struct nfgenmsg` of no family, version and resource, all of them 0.
    fn buffer_len(&self) -> usize {
        4
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl From<Flush> for NetlinkPayload<Flush> {
    fn from(flush: Flush) -> Self {
        Self::InnerMessage(flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mapping_has_its_rule() {
        let rule = |mapping| rules("outside", &mapping);
        let one = rule(Mapping::One(([10, 0, 0, 1], 4000).into()));
        assert!(one.contains("oifname \"outside\" meta l4proto tcp snat to 10.0.0.1:4000;"));
        let six = rule(Mapping::One("[fd00::1]:4000".parse().unwrap()));
        assert!(six.starts_with("table ip6 nat") && six.contains("snat to [fd00::1]:4000;"));
        let random = rule(Mapping::Random(20_000..=20_100));
        assert!(random.contains("masquerade to :20000-20100 fully-random;"));
    }
}
