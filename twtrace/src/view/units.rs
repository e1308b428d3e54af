//! Times and counts as text, the same everywhere.

use super::kept::Texts;
use super::line::Line;

const NS_PER_US: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// `18,122`.
#[must_use]
pub fn thousands(value: u64) -> String {
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

/// `1 end`, `18,122 ends`.
pub(super) fn count(value: u64, one: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {one}{plural}", thousands(value))
}

/// ns as ms with three decimals, for machines: `60970.123`. `head` comes before it.
#[inline(always)]
pub(super) fn milliseconds(head: &str, ns: u64, texts: &mut Texts, out: &mut Line) {
    let us = rounded(ns, NS_PER_US);
    texts.number(head, us / 1_000, out);
    out.thousandths((us % 1_000) as u16);
}

/// ns for people: `820 µs`, `1.3 ms`, `13 ms`, `60.97 s`, `312.5 s`.
pub(super) fn duration(ns: u64, out: &mut Line) {
    // Limits are where the rounded figure would need another digit.
    match ns {
        0..999_500 => write!(out, "{} µs", rounded(ns, NS_PER_US)),
        999_500..9_950_000 => {
            let tenths = rounded(ns, NS_PER_MS / 10);
            write!(out, "{}.{} ms", tenths / 10, tenths % 10);
        }
        9_950_000..999_500_000 => write!(out, "{} ms", rounded(ns, NS_PER_MS)),
        999_500_000..99_995_000_000 => {
            let hundredths = rounded(ns, NS_PER_S / 100);
            write!(out, "{}.{:02} s", hundredths / 100, hundredths % 100);
        }
        _ => {
            let tenths = rounded(ns, NS_PER_S / 10);
            write!(out, "{}.{} s", tenths / 10, tenths % 10);
        }
    }
}

/// The same as a text of its own.
pub(super) fn span(ns: u64) -> String {
    let mut text = Line::new();
    duration(ns, &mut text);
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

/// A port, or `*` if there is none.
pub(super) fn port(port: u16, out: &mut Line) {
    if port == 0 {
        out.byte(b'*');
    } else {
        out.number(port.into());
    }
}

/// `SYN|ACK`: byte 13 of a TCP header, lowest bit first.
pub(super) fn tcp_flags(flags: u8, out: &mut Line) {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = (0..8).filter(|bit| flags & (1 << bit) != 0);
    for (index, bit) in set.enumerate() {
        if index > 0 {
            out.byte(b'|');
        }
        out.text(NAMES[bit]);
    }
}

/// Half up; `unit` is even.
#[inline(always)]
fn rounded(ns: u64, unit: u64) -> u64 {
    ns.saturating_add(unit / 2) / unit
}

/// Length in characters, not bytes.
pub(super) fn width(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::super::line::text;
    use super::*;

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
            assert_eq!(
                text(|out| milliseconds("", ns, &mut Texts::new(), out)),
                expected,
                "{ns} ns"
            );
        }
    }

    #[test]
    fn tcp_flags_are_named() {
        for (flags, expected) in [
            (0, ""),
            (2, "SYN"),
            (0x12, "SYN|ACK"),
            (0xc2, "SYN|ECE|CWR"),
        ] {
            assert_eq!(text(|out| tcp_flags(flags, out)), expected);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        let all = [0, 999, 1_000, 18_122, 1_234_567].map(thousands);
        assert_eq!(all, ["0", "999", "1,000", "18,122", "1,234,567"]);
    }

    #[test]
    fn width_counts_characters() {
        assert_eq!(width("820 µs – ▏".as_bytes()), 10);
    }
}
