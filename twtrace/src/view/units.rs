//! Numbers and addresses as text, the same everywhere.
//!
//! Everything appends to a `Vec<u8>`: these run for every event.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NS_PER_US: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Appends formatted text. A `Vec` takes everything, so there is no error to handle.
macro_rules! put {
    ($out:expr, $($format:tt)*) => {
        drop(std::io::Write::write_fmt($out, format_args!($($format)*)))
    };
}
pub(crate) use put;

/// A plain integer.
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `18,122`.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// ns as ms with three decimals, for machines: `60970.123`.
pub(super) fn milliseconds(ns: u64, out: &mut Vec<u8>) {
    fixed(rounded(ns, NS_PER_US), 3, out);
}

/// ns for people: `820 µs`, `1.3 ms`, `13 ms`, `60.97 s`, `312.5 s`.
pub(super) fn duration(ns: u64, out: &mut Vec<u8>) {
    // Limits are where the rounded figure would need another digit.
    let (unit, decimals, name) = match ns {
        0..999_500 => (NS_PER_US, 0, " µs"),
        999_500..9_950_000 => (NS_PER_MS / 10, 1, " ms"),
        9_950_000..999_500_000 => (NS_PER_MS, 0, " ms"),
        999_500_000..99_995_000_000 => (NS_PER_S / 100, 2, " s"),
        _ => (NS_PER_S / 10, 1, " s"),
    };
    fixed(rounded(ns, unit), decimals, out);
    out.extend_from_slice(name.as_bytes());
}

/// Half up.
fn rounded(ns: u64, unit: u64) -> u64 {
    ns / unit + u64::from(ns % unit >= unit.div_ceil(2))
}

/// `value` / 10^`decimals`.
fn fixed(value: u64, decimals: u32, out: &mut Vec<u8>) {
    let one = 10_u64.pow(decimals);
    number(value / one, out);
    if decimals > 0 {
        out.push(b'.');
        let mut rest = value % one;
        let mut place = one / 10;
        while place > 0 {
            out.push(b'0' + (rest / place) as u8);
            rest %= place;
            place /= 10;
        }
    }
}

/// Addresses as text. Those of IPv6 are kept, since working one out costs more than all the
/// rest of a line.
#[derive(Debug)]
pub(super) struct Addresses {
    kept: Box<[(Ipv6Addr, String)]>,
}

impl Addresses {
    const KEPT: usize = 256;

    pub(super) fn new() -> Self {
        let unspecified = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED.to_string());
        Self {
            kept: vec![unspecified; Self::KEPT].into_boxed_slice(),
        }
    }

    pub(super) fn put(&mut self, address: IpAddr, out: &mut Vec<u8>) {
        match address {
            IpAddr::V4(address) => ipv4(address, out),
            IpAddr::V6(address) => out.extend_from_slice(self.ipv6(address).as_bytes()),
        }
    }

    fn ipv6(&mut self, address: Ipv6Addr) -> &str {
        let bits = u128::from(address);
        // Fibonacci hashing of both halves; the top bits are the mixed ones.
        let hash = ((bits >> 64) as u64 ^ bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (kept, text) = &mut self.kept[(hash >> 32) as usize % Self::KEPT];
        if *kept != address {
            *kept = address;
            *text = address.to_string();
        }
        text
    }
}

fn ipv4(address: Ipv4Addr, out: &mut Vec<u8>) {
    let mut text = [0; 15];
    let mut length = 0;
    let mut push = |byte| {
        text[length] = byte;
        length += 1;
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    out.extend_from_slice(&text[..length]);
}

/// Length in characters, not bytes.
pub(super) fn width(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn durations_have_about_three_figures_and_round_half_up() {
        for (ns, expected) in [
            (0, "0 µs"),
            (499, "0 µs"),
            (500, "1 µs"),
            (820_000, "820 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (1_349_999, "1.3 ms"),
            (9_949_999, "9.9 ms"),
            (9_950_000, "10 ms"),
            (13_000_000, "13 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.00 s"),
            (60_970_000_000, "60.97 s"),
            (99_994_999_999, "99.99 s"),
            (99_995_000_000, "100.0 s"),
            (312_480_000_000, "312.5 s"),
        ] {
            assert_eq!(text(|out| duration(ns, out)), expected, "{ns} ns");
        }
        text(|out| duration(u64::MAX, out));
    }

    #[test]
    fn milliseconds_are_exact_to_the_microsecond() {
        for (ns, expected) in [
            (0, "0.000"),
            (1_500, "0.002"),
            (13_000_000, "13.000"),
            (60_970_123_456, "60970.123"),
            (999_999_999, "1000.000"),
        ] {
            assert_eq!(text(|out| milliseconds(ns, out)), expected, "{ns} ns");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        let all = [0, 999, 1_000, 18_122, 1_234_567].map(thousands);
        assert_eq!(all, ["0", "999", "1,000", "18,122", "1,234,567"]);
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        let mut addresses = Addresses::new();
        let ipv4 = (0..=255).map(|n: u8| IpAddr::from([n, 255 - n, n / 2, n % 11]));
        let ipv6 = (0..1_000).map(|n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, n % 7, 0, n]));
        for address in ipv4.chain(ipv6) {
            assert_eq!(text(|out| addresses.put(address, out)), address.to_string());
        }
    }

    #[test]
    fn width_counts_characters() {
        assert_eq!(width("820 µs – ▏".as_bytes()), 10);
    }
}
