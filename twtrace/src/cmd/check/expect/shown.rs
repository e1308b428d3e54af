//! What the running kernel shows of itself, and what that says about its TIME_WAIT. Versions say
//! nothing: distributions carry backports.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::kernel::btf::{Btf, Kind};
use crate::kernel::counters;

/// Something that kernels of one behaviour have and others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Sign {
    TwKill,
    EntryStamp,
    UsecTs,
    PortsInClock,
    ReuseDelay,
    PawsTimewait,
    PawsOldAck,
    TsEcrRejected,
    TwPawsReason,
    OowStatus,
    TwIsn,
}

/// Where to look for a sign.
#[derive(Clone, Copy, Debug)]
enum Place {
    Member(&'static str, &'static str),
    Function(&'static str),
    Parameter(&'static str, &'static str),
    Enumerator(&'static str),
    /// Below /proc/sys/net/ipv4.
    Sysctl(&'static str),
    /// TcpExt in /proc/net/netstat.
    Counter(&'static str),
}

/// Each sign and its place.
const SIGNS: [(Sign, Place); 11] = [
    (Sign::TwKill, Place::Member("inet_timewait_sock", "tw_kill")),
    (
        Sign::EntryStamp,
        Place::Member("inet_timewait_sock", "tw_entry_stamp"),
    ),
    (
        Sign::UsecTs,
        Place::Member("inet_timewait_sock", "tw_usec_ts"),
    ),
    (
        Sign::PortsInClock,
        Place::Function("secure_tcp_seq_and_ts_off"),
    ),
    (Sign::ReuseDelay, Place::Sysctl("tcp_tw_reuse_delay")),
    (Sign::PawsTimewait, Place::Counter("PAWSTimewait")),
    (Sign::PawsOldAck, Place::Counter("PAWSOldAck")),
    (Sign::TsEcrRejected, Place::Counter("TSEcrRejected")),
    (
        Sign::TwPawsReason,
        Place::Enumerator("SKB_DROP_REASON_TCP_RFC7323_TW_PAWS"),
    ),
    (Sign::OowStatus, Place::Enumerator("TCP_TW_ACK_OOW")),
    (
        Sign::TwIsn,
        Place::Parameter("tcp_timewait_state_process", "tw_isn"),
    ),
];

impl Sign {
    /// As a person would look for it.
    pub(in super::super) fn name(self) -> String {
        match self.place() {
            Place::Member(structure, member) => format!("{structure}.{member}"),
            Place::Function(name) => format!("{name}()"),
            Place::Parameter(function, name) => format!("{function}({name})"),
            Place::Enumerator(name) => name.to_owned(),
            Place::Sysctl(name) => format!("net.ipv4.{name}"),
            Place::Counter(name) => format!("TcpExt {name}"),
        }
    }

    /// What a counter of the kernel depends on.
    pub(in super::super) fn of_counter(name: &str) -> Option<Self> {
        match name {
            "TW" | "TWKilled" => Some(Self::TwKill),
            "PAWSEstab" | "PAWSTimewait" => Some(Self::PawsTimewait),
            "PAWSOldAck" => Some(Self::PawsOldAck),
            "TSEcrRejected" => Some(Self::TsEcrRejected),
            _ => None,
        }
    }

    /// Whether it is one itself.
    pub(in super::super) fn is_counter(self) -> bool {
        matches!(self.place(), Place::Counter(_))
    }

    fn place(self) -> Place {
        SIGNS[self as usize].1
    }
}

/// The signs of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Shown(BTreeMap<Sign, bool>);

impl Shown {
    /// Asks the running kernel; its types may come from a file.
    pub(in super::super) fn read(btf: &Path) -> Result<Self> {
        let wanted: Vec<_> = SIGNS
            .iter()
            .filter_map(|(_, place)| match *place {
                Place::Member(structure, _) => Some((structure, Kind::Struct)),
                Place::Function(name) | Place::Parameter(name, _) => Some((name, Kind::Function)),
                Place::Enumerator(name) => Some((name, Kind::Enumerator)),
                Place::Sysctl(_) | Place::Counter(_) => None,
            })
            .collect();
        let btf = Btf::read(btf, &wanted)?;
        let counters = counters::read_current()?;
        let shows = |place| match place {
            Place::Member(structure, member) => btf.has_member(structure, member),
            Place::Function(name) => btf.number(name, Kind::Function).is_some(),
            Place::Parameter(function, name) => btf
                .parameters(function)
                .is_some_and(|names| names.contains(&name)),
            Place::Enumerator(name) => btf.enumerator(name).is_some(),
            Place::Sysctl(name) => Path::new("/proc/sys/net/ipv4").join(name).exists(),
            Place::Counter(name) => counters.tcp_ext.contains_key(name),
        };
        let each = SIGNS.iter().map(|&(sign, place)| (sign, shows(place)));
        Ok(Self(each.collect()))
    }

    /// Whether the kernel has it.
    pub(in super::super) fn has(&self, sign: Sign) -> bool {
        self.0.get(&sign).copied().unwrap_or_default()
    }

    /// All signs by name.
    pub(in super::super) fn by_name(&self) -> BTreeMap<String, bool> {
        let named = self.0.iter().map(|(sign, has)| (sign.name(), *has));
        named.collect()
    }
}

#[cfg(test)]
impl FromIterator<Sign> for Shown {
    fn from_iter<T: IntoIterator<Item = Sign>>(signs: T) -> Self {
        Self(signs.into_iter().map(|sign| (sign, true)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::VMLINUX;

    #[test]
    fn each_sign_is_at_its_own_place_in_the_table() {
        for (index, (sign, _)) in SIGNS.iter().enumerate() {
            assert_eq!(*sign as usize, index);
        }
    }

    #[test]
    fn this_kernel_shows_each_sign_or_not() {
        let shown = Shown::read(Path::new(VMLINUX)).unwrap();
        assert_eq!(shown.by_name().len(), SIGNS.len());
        // Never both: the one came years after the other had gone.
        assert!(!(shown.has(Sign::TwKill) && shown.has(Sign::EntryStamp)));
    }
}
