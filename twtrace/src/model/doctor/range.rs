//! How many ports a namespace has.

use crate::event::facts::{Namespace, Sysctl};
use crate::event::found::PortRules;
use crate::model::ports;

/// Ports that connect() may choose from: the range without what is reserved, listened on or bound.
pub(super) fn usable(namespace: &Namespace) -> u32 {
    let Some(&(low, high)) = namespace.ports(Sysctl::IpLocalPortRange).first() else {
        return 0;
    };
    let rules = PortRules {
        low,
        high,
        reserved: namespace.ports(Sysctl::IpLocalReservedPorts).to_vec(),
        ..PortRules::default()
    };
    ports::usable(&rules, &namespace.destinations.kept)
}
