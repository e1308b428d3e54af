//! From what the user says to what the kernel side compares.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use twtrace_common::settings::{
    FILTER_ADDR, FILTER_CGROUP, FILTER_IPV4, FILTER_IPV6, FILTER_LPORT, FILTER_NETNS, FILTER_PORTS,
    FILTER_RPORT, FILTER_UID, Filter,
};

use crate::cli::Filters;
use crate::error::{Error, Result, why};
use crate::host::cgroup2_mount;
use crate::kernel::{self, netns::inode_of};

/// Builds the filter; names are resolved here, on this host.
pub(super) fn build(filters: &Filters) -> Result<Filter> {
    if filters.pid.is_some() {
        return Err(Error::new(
            "cannot filter by pid: a TIME_WAIT socket has no process, it outlives close() and ends in softirq",
        )
        .hint("--cgroup and --uid choose by the owner of the socket"));
    }
    let mut filter = Filter::ZERO;
    if filters.ipv4 {
        filter.flags |= FILTER_IPV4;
    }
    if filters.ipv6 {
        filter.flags |= FILTER_IPV6;
    }
    if !filters.lport.is_empty() {
        filter.flags |= FILTER_LPORT;
        (filter.lports, filter.lport_count) = ports(&filters.lport, "--lport")?;
    }
    if !filters.rport.is_empty() {
        filter.flags |= FILTER_RPORT;
        (filter.rports, filter.rport_count) = ports(&filters.rport, "--rport")?;
    }
    if let Some(text) = &filters.addr {
        filter.flags |= FILTER_ADDR;
        (filter.addr, filter.mask) = network(text)?;
    }
    if let Some(text) = &filters.netns {
        filter.flags |= FILTER_NETNS;
        filter.netns = netns(text)?;
    }
    if let Some(text) = &filters.uid {
        filter.flags |= FILTER_UID;
        filter.uid = uid(text)?;
    }
    if let Some(text) = &filters.cgroup {
        filter.flags |= FILTER_CGROUP;
        filter.cgroup = cgroup(text)?;
    }
    Ok(filter)
}

/// The ports, and how many they are.
fn ports(wanted: &[u16], flag: &str) -> Result<([u16; FILTER_PORTS], u16)> {
    if wanted.len() > FILTER_PORTS {
        return Err(Error::new(format!(
            "{flag} takes at most {FILTER_PORTS} ports, not {}",
            wanted.len()
        ))
        .hint("trace without it and choose in the output"));
    }
    let mut ports = [0; FILTER_PORTS];
    ports[..wanted.len()].copy_from_slice(wanted);
    Ok((ports, wanted.len() as u16))
}

/// Address and mask, as the kernel side compares them.
fn network(text: &str) -> Result<([u64; 2], [u64; 2])> {
    let wrong = |why: &str| {
        Error::new(format!("--addr {text}: {why}"))
            .hint("e.g. 10.0.0.0/8, 192.0.2.7, 2001:db8::/32")
    };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => {
            let length: u32 = length
                .parse()
                .map_err(|_| wrong("the prefix length is no number"))?;
            (address, Some(length))
        }
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong("it is no IP address"))?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    kernel::network(address, length.unwrap_or(whole))
        .ok_or_else(|| wrong(&format!("the prefix length is over {whole}")))
}

fn netns(text: &str) -> Result<u32> {
    if let Ok(inode) = text.parse() {
        return Ok(inode);
    }
    let path = match text {
        "host" => PathBuf::from("/proc/1/ns/net"),
        name if name.contains('/') => PathBuf::from(name),
        name => Path::new("/run/netns").join(name),
    };
    inode_of(&path).map_err(|error| {
        Error::new(format!(
            "cannot find network namespace {text}: {}: {}",
            path.display(),
            why(&error)
        ))
        .hint("ip netns list shows the named ones, lsns -t net all with processes")
    })
}

fn uid(text: &str) -> Result<u32> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&text))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| {
            Error::new(format!("there is no user {text} in /etc/passwd"))
                .hint("a number works for users from elsewhere (id -u NAME)")
        })
}

/// A cgroup's id is the inode number of its directory.
fn cgroup(text: &str) -> Result<u64> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let path = Path::new(text);
    let mount = cgroup2_mount().unwrap_or_else(|| "/sys/fs/cgroup".into());
    let below = mount.join(text.trim_start_matches('/'));
    [path, &below]
        .into_iter()
        .find_map(|path| fs::metadata(path).ok())
        .filter(fs::Metadata::is_dir)
        .map(|found| found.ino())
        .ok_or_else(|| {
            Error::new(format!("there is no cgroup {text}"))
                .hint("name a directory below /sys/fs/cgroup, e.g. system.slice/nginx.service")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(cidr: &str, address: &str) -> bool {
        let (wanted, mask) = network(cidr).unwrap();
        let (got, _) = network(address).unwrap();
        (0..2).all(|half| (got[half] ^ wanted[half]) & mask[half] == 0)
    }

    #[test]
    fn networks_match_their_addresses_and_no_others() {
        assert!(matches("10.0.0.0/8", "10.255.1.2"));
        assert!(!matches("10.0.0.0/8", "11.0.0.1"));
        assert!(matches("10.1.2.3/8", "10.9.9.9"), "host bits are ignored");
        assert!(matches("192.0.2.7", "192.0.2.7"));
        assert!(!matches("192.0.2.7", "192.0.2.6"));
        assert!(matches("0.0.0.0/0", "1.2.3.4"));
        assert!(
            !matches("0.0.0.0/0", "2001:db8::1"),
            "IPv4 is not all of IPv6"
        );
        assert!(matches("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!matches("2001:db8::/33", "2001:db8:8000::1"));
        assert!(matches("::/0", "::1"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("10.0.0.0/33", "over 32"),
            ("10.0.0/8", "no IP address"),
            ("::1/x", "no number"),
        ] {
            let error = network(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("hint: "), "{error}");
        }
        assert!(ports(&[1; 9], "--lport").is_err());
        for text in ["no-such-namespace", "/etc/passwd", "/proc/self/ns/mnt"] {
            let error = netns(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("hint: "), "{error}");
        }
        assert!(uid("no-such-user").is_err());
        assert!(cgroup("no-such-cgroup").is_err());
    }

    #[test]
    fn a_namespace_has_many_names() {
        let own = netns("/proc/self/ns/net").unwrap();
        assert_eq!(netns(&own.to_string()).unwrap(), own);
    }

    #[test]
    fn ports_come_with_their_number() {
        assert_eq!(
            ports(&[80, 443], "--lport").unwrap(),
            ([80, 443, 0, 0, 0, 0, 0, 0], 2)
        );
    }
}
