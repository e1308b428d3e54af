//! What to set. One sysctl is set by one finding: the first that wants it.

use std::collections::BTreeSet;

use super::{Finding, ReuseHelp, Severity, What};
use crate::event::facts::{Sysctl, Value};

/// The widest range without the ports of well-known services.
const WIDE: (u16, u16) = (1024, 65_535);

/// Sysctls to set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// Those that no finding before this one sets, and to what.
    pub set: Vec<(Sysctl, Value)>,
    /// A finding before this one sets some of those that it wants.
    pub set_above: bool,
}

impl Remedy {
    pub(super) fn of(severity: Severity, what: &What) -> Self {
        let number = |sysctl, number| (sysctl, Value::Number(number));
        let limit = |limit: u64| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            number(Sysctl::TcpMaxTwBuckets, limit)
        };
        let timestamps = number(Sysctl::TcpTimestamps, 1);
        let reuse = number(Sysctl::TcpTwReuse, 1);
        let wide = (Sysctl::IpLocalPortRange, Value::Ports(vec![WIDE]));
        let set = match what {
            _ if severity == Severity::Ok => vec![],
            What::Buckets(buckets) | What::Overflowed(buckets) => vec![limit(buckets.with_room())],
            What::BucketsLowered { default, .. } => vec![limit(*default)],
            What::SmallRange { .. } => vec![wide],
            What::Ports { help, .. } => match help {
                ReuseHelp::PortsAreInUse => vec![wide],
                ReuseHelp::NeedsTimestamps => vec![timestamps, reuse],
                ReuseHelp::OnlyLoopback | ReuseHelp::IsOff => vec![reuse],
                ReuseHelp::IsOn => vec![],
            },
            What::ReuseWithoutTimestamps | What::TimestampsOff => vec![timestamps],
            What::Rfc1337 { .. } => vec![number(Sysctl::TcpRfc1337, 0)],
            What::FinTimeout { .. } => vec![number(Sysctl::TcpFinTimeout, 60)],
            What::RecycleOn { .. } => vec![number(Sysctl::TcpTwRecycle, 0)],
            What::AutobindReuse => vec![number(Sysctl::IpAutobindReuse, 0)],
            _ => vec![],
        };
        Self {
            set,
            set_above: false,
        }
    }
}

/// Leaves each sysctl of a namespace to the first finding that sets it.
pub(super) fn once(findings: &mut [Finding]) {
    let mut taken = BTreeSet::new();
    for finding in findings {
        let netns = finding.netns;
        let remedy = &mut finding.remedy;
        let wanted = remedy.set.len();
        remedy
            .set
            .retain(|(sysctl, _)| taken.insert((netns, *sysctl)));
        remedy.set_above = remedy.set.len() < wanted;
    }
}
