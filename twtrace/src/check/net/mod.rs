//! Networks of namespaces: links between them, routes, and a NAT in the middle.

pub mod field;
mod nat;
mod netlink;
mod route;

use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::kernel::netns::Netns;

/// Bits of an address that belong to the link.
const PREFIX: u8 = 24;
const PREFIX_V6: u8 = 64;

/// One end of a link: the namespace it is in, the name of its device, its address.
#[derive(Clone, Copy, Debug)]
struct End<'a> {
    netns: &'a Netns,
    device: &'a str,
    address: IpAddr,
}

/// Joins two namespaces by a pair of Ethernet devices that are up and have their addresses.
fn join(near: End<'_>, far: End<'_>) -> Result<()> {
    let made = near
        .netns
        .run(|| route::add_pair(near.device, far.device, far.netns));
    made?.map_err(|error| {
        let (near, far) = (near.device, far.device);
        Error::new(format!("cannot join {near} and {far}: {error}"))
            .hint("links between namespaces need the module veth and CAP_NET_ADMIN")
    })?;
    set_up(near)?;
    set_up(far)
}

fn set_up(end: End<'_>) -> Result<()> {
    let done = end.netns.run(|| {
        route::set_up(end.device)?;
        route::add_address(end.device, end.address, prefix(end.address))
    });
    done?.map_err(|error| {
        let End {
            device, address, ..
        } = end;
        Error::new(format!(
            "cannot set {device} up with the address {address}: {error}"
        ))
    })
}

/// Sends all that is not for a neighbour to this gateway.
fn default_route(netns: &Netns, gateway: IpAddr) -> Result<()> {
    let set = netns.run(|| route::add_default_route(gateway));
    set?.map_err(|error| Error::new(format!("cannot route by {gateway}: {error}")))
}

/// Gives the calling thread's namespace an address of its own, on the loopback device.
pub(super) fn add_own_address(address: IpAddr) -> Result<()> {
    route::add_address("lo", address, prefix(address))
        .map_err(|error| Error::new(format!("cannot add the address {address} to lo: {error}")))
}

fn prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => PREFIX,
        IpAddr::V6(_) => PREFIX_V6,
    }
}
