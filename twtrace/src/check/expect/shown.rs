//! What the running kernel shows of itself, and what that says about its TIME_WAIT. Versions say
//! nothing: distributions carry backports.

use std::collections::BTreeMap;

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
pub(in super::super) enum Place {
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
pub(in super::super) const SIGNS: [(Sign, Place); 11] = [
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
    /// What was found of each.
    pub(in super::super) fn of(found: impl Fn(Place) -> bool) -> Self {
        Self(
            SIGNS
                .iter()
                .map(|&(sign, place)| (sign, found(place)))
                .collect(),
        )
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

    #[test]
    fn each_sign_is_at_its_own_place_in_the_table() {
        for (index, (sign, _)) in SIGNS.iter().enumerate() {
            assert_eq!(*sign as usize, index);
        }
    }
}
