//! Decides quickly that a name is not wanted: true of nearly all of a kernel's hundred thousand.

/// Which first eight bytes the wanted names have, by hash.
pub(super) struct Starts(Box<[bool; SLOTS]>);

const SLOTS: usize = 1 << BITS;
const BITS: u32 = 12;

impl Starts {
    pub(super) fn new(names: impl Iterator<Item = &'static str>) -> Self {
        let mut table = Box::new([false; SLOTS]);
        for name in names {
            table[slot(start(name.as_bytes()))] = true;
        }
        Self(table)
    }

    /// Whether a text that ends in NUL may be a wanted name.
    #[inline(always)]
    pub(super) fn may_hold(&self, text: &[u8]) -> bool {
        self.0[slot(start(text))]
    }
}

/// The first eight bytes, zeros from the NUL on.
#[inline(always)]
fn start(text: &[u8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = match text.first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => short(text),
    };
    // The lowest bit set here is the top one of the first byte that is zero.
    let zero = word.wrapping_sub(ONES) & !word & HIGH;
    // All bits below it; all there are if no byte is zero.
    let before = (zero & zero.wrapping_neg()).wrapping_sub(1);
    word & before
}

#[cold]
fn short(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    u64::from_le_bytes(bytes)
}

/// Fibonacci hashing: the top bits are the mixed ones.
#[inline(always)]
fn slot(start: u64) -> usize {
    (start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_ends_at_the_first_nul() {
        for (text, expected) in [
            (&b"net\0sock\0"[..], &b"net"[..]),
            (b"\0sock\0inet", b""),
            (b"sk_buff\0sock", b"sk_buff"),
            (b"sk_buffs\0sock", b"sk_buffs"),
            (b"tcp_twsk_unique\0", b"tcp_twsk"),
            (b"net\0", b"net"),
            (b"\x80\xff\x01\0\x01\x80", b"\x80\xff\x01"),
            (b"", b""),
        ] {
            assert_eq!(start(text), short(expected), "{text:?}");
        }
    }

    #[test]
    fn a_wanted_name_is_never_missed_and_others_hardly_ever_pass() {
        let starts = Starts::new(["net", "sock", "tcp_abort"].into_iter());
        for wanted in [&b"net\0sock"[..], b"sock\0", b"tcp_abort\0"] {
            assert!(starts.may_hold(wanted));
        }
        let others = (0..1_000).filter(|n| starts.may_hold(format!("{n:05x}\0\0\0").as_bytes()));
        assert!(others.count() < 20);
    }
}
