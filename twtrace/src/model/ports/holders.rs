//! What holds a port that bind() did not get.

use std::net::IpAddr;

use crate::event::found::{OnPort, OnPortKind, Peer};

/// What holds a port that bind() did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    pub listeners: u32,
    /// Sockets that are only bound.
    pub bound: u32,
    /// Live connections.
    pub live: Sides,
    pub mini_sockets: Sides,
    pub sight: Sight,
    /// connect() may take this port, too, because it is in the ephemeral range and not reserved.
    pub chance: bool,
}

/// What is known besides mini-sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// All sockets were looked at, right after the call.
    All,
    /// A listener or a socket that was only bound was there when it was last looked.
    Kept,
    /// All mini-sockets are known, and live sockets are not.
    MiniSockets,
    /// Some mini-sockets may be unknown, too.
    #[default]
    Little,
}

/// Connections by the side that opened them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// A listener on this port accepted them.
    pub accepted: u32,
    /// This side connected, and got this port by chance.
    pub outgoing: u32,
    /// Both ports are in the ephemeral range.
    pub either: u32,
}

/// The one that matters most to who wants the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Listener,
    LiveOutgoing(u32),
    LiveEither(u32),
    LiveAccepted(u32),
    Bound,
    Outgoing(u32),
    Either(u32),
    Accepted(u32),
    /// It was looked, and nothing was there any more.
    Gone,
    /// Not known. So many mini-sockets are on it.
    Unknown(u32),
}

impl Sides {
    /// All of them.
    #[must_use]
    pub fn all(self) -> u32 {
        self.accepted + self.outgoing + self.either
    }

    fn add(&mut self, peer: Peer, ephemeral: bool, number: u32) {
        let side = match (ephemeral, peer) {
            (false, _) => &mut self.accepted,
            (true, Peer::Fixed) => &mut self.outgoing,
            (true, Peer::Ephemeral) => &mut self.either,
        };
        *side = side.saturating_add(number);
    }
}

impl Holders {
    /// Adds sockets that stand in the way of a bind() to `laddr`. `ephemeral`: the port is in the
    /// ephemeral range.
    pub(super) fn add(&mut self, laddr: IpAddr, ephemeral: bool, one: &OnPort) {
        if !overlap(laddr, one.local) {
            return;
        }
        match one.kind {
            OnPortKind::Listener => self.listeners += one.number,
            OnPortKind::Bound => self.bound += one.number,
            OnPortKind::Live(peer) => self.live.add(peer, ephemeral, one.number),
            OnPortKind::MiniSocket(peer) => self.mini_sockets.add(peer, ephemeral, one.number),
        }
    }

    /// Others than mini-sockets, as far as known.
    #[must_use]
    pub fn others(&self) -> u32 {
        self.listeners + self.bound + self.live.all()
    }

    /// Who is to be told of: first those that stay whatever SO_REUSEADDR says.
    #[must_use]
    pub fn holder(&self) -> Holder {
        let Self {
            live, mini_sockets, ..
        } = *self;
        if self.sight != Sight::All {
            return Holder::Unknown(mini_sockets.all());
        }
        let first = [
            (self.listeners, Holder::Listener),
            (live.outgoing, Holder::LiveOutgoing(live.outgoing)),
            (live.either, Holder::LiveEither(live.either)),
            (live.accepted, Holder::LiveAccepted(live.accepted)),
            (self.bound, Holder::Bound),
            (
                mini_sockets.outgoing,
                Holder::Outgoing(mini_sockets.outgoing),
            ),
            (mini_sockets.either, Holder::Either(mini_sockets.either)),
            (
                mini_sockets.accepted,
                Holder::Accepted(mini_sockets.accepted),
            ),
        ];
        let first = first.into_iter().find(|(number, _)| *number > 0);
        first.map_or(Holder::Gone, |(_, holder)| holder)
    }
}

/// Whether sockets on these two addresses stand in each other's way (`inet_rcv_saddr_equal`). An
/// IPv6 socket on `::` has IPv4 too, unless it said otherwise, which is not known.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let any = |address: IpAddr| address.is_unspecified();
    match (one.is_ipv4(), other.is_ipv4()) {
        (true, false) => any(other),
        (false, true) => any(one),
        _ => any(one) || any(other) || one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(local: &str, kind: OnPortKind) -> OnPort {
        OnPort {
            local: local.parse().unwrap(),
            kind,
            number: 1,
        }
    }

    fn holder(laddr: &str, ephemeral: bool, sockets: &[OnPort]) -> Holder {
        let mut holders = Holders {
            sight: Sight::All,
            ..Holders::default()
        };
        for one in sockets {
            holders.add(laddr.parse().unwrap(), ephemeral, one);
        }
        holders.holder()
    }

    #[test]
    fn who_stays_whatever_so_reuseaddr_says_is_told_first() {
        use OnPortKind::{Bound, Listener, Live, MiniSocket};
        let old = on("10.0.0.5", MiniSocket(Peer::Ephemeral));
        let child = on("10.0.0.5", Live(Peer::Ephemeral));
        let listener = on("0.0.0.0", Listener);
        let bound = on("0.0.0.0", Bound);
        for (sockets, expected) in [
            (&[old][..], Holder::Accepted(1)),
            (&[old, bound], Holder::Bound),
            (&[old, child], Holder::LiveAccepted(1)),
            (&[old, child, listener], Holder::Listener),
            (&[], Holder::Gone),
        ] {
            assert_eq!(holder("0.0.0.0", false, sockets), expected, "{sockets:?}");
        }
    }

    #[test]
    fn in_the_ephemeral_range_the_remote_port_tells_who_connected() {
        use OnPortKind::{Live, MiniSocket};
        let of = |kind| holder("10.0.0.5", true, &[on("10.0.0.5", kind)]);
        assert_eq!(of(Live(Peer::Fixed)), Holder::LiveOutgoing(1));
        assert_eq!(of(MiniSocket(Peer::Fixed)), Holder::Outgoing(1));
        assert_eq!(of(Live(Peer::Ephemeral)), Holder::LiveEither(1));
        assert_eq!(of(MiniSocket(Peer::Ephemeral)), Holder::Either(1));
    }

    #[test]
    fn sockets_on_other_addresses_stand_in_nobodys_way() {
        for (one, other, expected) in [
            ("0.0.0.0", "10.0.0.5", true),
            ("10.0.0.5", "0.0.0.0", true),
            ("10.0.0.5", "10.0.0.6", false),
            ("::", "10.0.0.5", true),
            ("10.0.0.5", "::", true),
            ("::1", "10.0.0.5", false),
            ("0.0.0.0", "::1", false),
            ("::", "::1", true),
        ] {
            let found = overlap(one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(found, expected, "{one} {other}");
        }
    }
}
