//! Links, addresses and routes of the calling thread's namespace, over rtnetlink.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_nametoindex;

use super::netlink::ask;
use crate::kernel::netns::Netns;

/// Makes two Ethernet devices that are one wire, the far one in another namespace.
pub(super) fn add_pair(near: &str, far: &str, far_netns: &Netns) -> io::Result<()> {
    let mut far = link(far);
    let far_netns = far_netns.as_fd().as_raw_fd();
    far.attributes.push(LinkAttribute::NetNsFd(far_netns));
    let mut near = link(near);
    near.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
    ]));
    add(RouteNetlinkMessage::NewLink(near))
}

pub(super) fn set_up(device: &str) -> io::Result<()> {
    let mut message = link(device);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    ask(NETLINK_ROUTE, 0, RouteNetlinkMessage::SetLink(message))
}

pub(super) fn add_address(device: &str, ip: IpAddr, prefix: u8) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = family(ip);
    message.header.prefix_len = prefix;
    // Nobody else on this wire can have it.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = if_nametoindex(device)?;
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    add(RouteNetlinkMessage::NewAddress(message))
}

pub(super) fn add_default_route(gateway: IpAddr) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(gateway),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message
        .attributes
        .push(RouteAttribute::Gateway(gateway.into()));
    add(RouteNetlinkMessage::NewRoute(message))
}

fn add(what: RouteNetlinkMessage) -> io::Result<()> {
    ask(NETLINK_ROUTE, NLM_F_CREATE | NLM_F_EXCL, what)
}

/// A device of that name.
fn link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
