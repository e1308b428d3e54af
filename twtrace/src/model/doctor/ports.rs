//! Local ports towards each destination: connect() needs one that no other connection between the
//! same two addresses and the same remote port has.

use super::range::usable;
use super::{Finding, Severity, What, settings, share};
use crate::event::facts::{Destination, Namespace, Sysctl};

/// From these shares of the usable ports on.
const DANGER: f64 = 0.95;
const WARNING: f64 = 0.7;
/// The default range has 28,232 ports.
const SMALL: u32 = 8_000;

/// Whether `tcp_tw_reuse` can help with one destination, or does already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseHelp {
    /// Live connections have most of the ports.
    PortsAreInUse,
    /// `tcp_timestamps` is 0.
    NeedsTimestamps,
    /// It is on for this destination.
    IsOn,
    /// It is on for loopback only.
    OnlyLoopback,
    IsOff,
}

pub(super) fn find(namespace: &Namespace, base: Option<&Namespace>, findings: &mut Vec<Finding>) {
    let netns = Some(namespace.netns);
    let usable = usable(namespace);
    for &destination in &namespace.destinations.top {
        let help = help(namespace, &destination);
        if let Some(severity) = severity(&destination, usable, help) {
            let what = What::Ports {
                destination,
                usable,
                help,
            };
            findings.push(Finding::new(severity, netns, what));
        }
    }
    if let (Some(&destination), None) = (namespace.destinations.top.first(), base)
        && severity(&destination, usable, help(namespace, &destination)).is_none()
    {
        let what = What::Ports {
            destination,
            usable,
            help: help(namespace, &destination),
        };
        findings.push(Finding::new(Severity::Ok, netns, what));
    }
    let is_new = settings::differs(namespace, base, Sysctl::IpLocalPortRange)
        || settings::differs(namespace, base, Sysctl::IpLocalReservedPorts);
    if usable < SMALL && is_new && !namespace.ports(Sysctl::IpLocalPortRange).is_empty() {
        let what = What::SmallRange { usable };
        findings.push(Finding::new(Severity::Note, netns, what));
    }
}

/// Ports that TIME_WAIT holds do not stand in the way where connect() may take them over.
fn severity(destination: &Destination, usable: u32, help: ReuseHelp) -> Option<Severity> {
    let taken = share(destination.ports.into(), usable.into());
    let free_again = match help {
        ReuseHelp::IsOn => destination.time_wait,
        _ => 0,
    };
    let blocked = destination.ports.saturating_sub(free_again);
    if share(blocked.into(), usable.into()) >= DANGER {
        Some(Severity::Danger)
    } else {
        (taken >= WARNING).then_some(Severity::Warning)
    }
}

fn help(namespace: &Namespace, destination: &Destination) -> ReuseHelp {
    let loopback = destination.laddr.to_canonical().is_loopback()
        || destination.raddr.to_canonical().is_loopback();
    if destination.time_wait < destination.ports.div_ceil(2) {
        return ReuseHelp::PortsAreInUse;
    }
    if namespace.number(Sysctl::TcpTimestamps) == Some(0) {
        return ReuseHelp::NeedsTimestamps;
    }
    match namespace.number(Sysctl::TcpTwReuse) {
        Some(1) => ReuseHelp::IsOn,
        Some(2) if loopback => ReuseHelp::IsOn,
        Some(2) => ReuseHelp::OnlyLoopback,
        _ => ReuseHelp::IsOff,
    }
}
