//! Texts of values that recur: ports, namespaces, owners, addresses.
//!
//! Writing a number or an address costs far more than comparing and copying it. A small table
//! with one place per hash keeps the last text of each place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::line::Line;

const PLACES: usize = 256;
/// Longest number: `u64::MAX`.
const NUMBER: usize = 20;
/// Longest addresses: `255.255.255.255` and eight groups of four digits.
const IPV4: usize = 15;
const IPV6: usize = 39;

/// A table of texts of up to `N` bytes.
#[derive(Debug)]
struct Kept<K, const N: usize> {
    places: Box<[Place<K, N>; PLACES]>,
}

#[derive(Clone, Copy, Debug)]
struct Place<K, const N: usize> {
    /// `None` while nothing is kept here.
    key: Option<K>,
    text: [u8; N],
    length: usize,
}

impl<K: Copy + Eq, const N: usize> Kept<K, N> {
    fn new() -> Self {
        let free = Place {
            key: None,
            text: [0; N],
            length: 0,
        };
        Self {
            places: Box::new([free; PLACES]),
        }
    }

    /// Writes `head` and the text of `key`, which `write` makes if it is not kept. `bits` tell
    /// keys apart.
    #[inline(always)]
    fn put(
        &mut self,
        head: &str,
        (key, bits): (K, u64),
        out: &mut Line,
        write: impl FnOnce(&mut Line),
    ) {
        // Fibonacci hashing: the top bits are the mixed ones.
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let place = &mut self.places[hash as usize % PLACES];
        if place.key == Some(key) {
            out.put(head, &place.text, place.length);
        } else {
            out.text(head);
            let start = out.length();
            write(out);
            place.keep(key, &out.as_bytes()[start..]);
        }
    }
}

impl<K, const N: usize> Place<K, N> {
    #[inline(never)]
    fn keep(&mut self, key: K, text: &[u8]) {
        if let Some(kept) = self.text.get_mut(..text.len()) {
            kept.copy_from_slice(text);
            self.length = text.len();
            self.key = Some(key);
        }
    }
}

/// Numbers and addresses for machines.
#[derive(Debug)]
pub(super) struct Texts {
    numbers: Kept<u64, NUMBER>,
    ipv4: Kept<Ipv4Addr, IPV4>,
    ipv6: Kept<Ipv6Addr, IPV6>,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self {
            numbers: Kept::new(),
            ipv4: Kept::new(),
            ipv6: Kept::new(),
        }
    }

    /// Of a long number, such as a time, only the digits that change slowly are kept.
    #[inline(always)]
    pub(super) fn number(&mut self, head: &str, value: u64, out: &mut Line) {
        const LONG: u64 = 1_000_000_000_000;
        const TAIL: u64 = 100_000_000;
        if value < LONG {
            let write = |out: &mut Line| out.number(value);
            self.numbers.put(head, (value, value), out, write);
        } else {
            let slow = value / TAIL;
            let write = |out: &mut Line| out.number(slow);
            self.numbers.put(head, (slow, slow), out, write);
            out.eight_digits((value % TAIL) as u32);
        }
    }

    #[inline(always)]
    pub(super) fn address(&mut self, head: &str, address: IpAddr, out: &mut Line) {
        match address {
            IpAddr::V4(address) => {
                let bits = u64::from(u32::from(address));
                let write = |out: &mut Line| out.ipv4(address);
                self.ipv4.put(head, (address, bits), out, write);
            }
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                let bits = (bits >> 64) as u64 ^ bits as u64;
                let write = |out: &mut Line| write!(out, "{address}");
                self.ipv6.put(head, (address, bits), out, write);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::text;
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        let mut texts = Texts::new();
        let ipv4 = (0..=255).map(|n: u8| IpAddr::from([n, 255 - n, n / 2, n % 11]));
        let ipv6 = (0..1_000).map(|n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, n % 7, 0, n]));
        let long = std::iter::once(IpAddr::from([0xabcd; 8]));
        let all: Vec<_> = ipv4.chain(ipv6).chain(long).collect();
        for address in all.iter().chain(&all) {
            let expected = address.to_string();
            assert_eq!(text(|out| texts.address("", *address, out)), expected);
            assert_eq!(text(|out| texts.address("", *address, out)), expected);
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let mut texts = Texts::new();
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power / 7 * 6]);
        let bits = (0..64).map(|shift| u64::MAX >> shift);
        for value in around.chain(bits).chain(0..2_000).chain(0..2_000) {
            assert_eq!(text(|out| texts.number("", value, out)), value.to_string());
        }
    }
}
