//! Lifetime histograms as the kernel side keeps them.
//!
//! The buckets are those of an HdrHistogram with two significant digits whose lowest discernible
//! value is [`UNIT_NS`]: linear up to 256 units, then 128 to the octave. So the conversion in
//! user space loses nothing: each bucket is at most 1/128 of its value wide.

/// log2 of the unit in ns.
pub const UNIT_SHIFT: u32 = 14;
/// Lowest discernible time, about 16 µs.
pub const UNIT_NS: u64 = 1 << UNIT_SHIFT;
/// Times are capped below 2^30 units (about 4.9 hours).
pub const MAX_UNITS: u64 = (1 << 30) - 1;
const LINEAR_BITS: u32 = 8;
const LINEAR: u64 = 1 << LINEAR_BITS;
const PER_OCTAVE: u64 = LINEAR / 2;
/// Buckets of one histogram.
pub const BUCKETS: usize = (LINEAR + (30 - LINEAR_BITS as u64) * PER_OCTAVE) as usize;

/// Which of the two clocks of a mini-socket a histogram counts.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// Time in substate FIN_WAIT2.
    FinWait2 = 0,
    /// Time in substate TIME_WAIT.
    TimeWait = 1,
}

/// Number of [`Clock`]s.
pub const CLOCKS: usize = 2;

/// Buckets of all histograms together.
pub const TOTAL_BUCKETS: usize = crate::REASONS * CLOCKS * BUCKETS;

/// All histograms: `[reason][clock][bucket]`, one value of one map.
#[repr(C)]
#[derive(Debug)]
pub struct Histograms {
    pub count: [[[u64; BUCKETS]; CLOCKS]; crate::REASONS],
}

/// The bucket of a time in ns.
///
/// Without branches: BPF has no count-leading-zeros, and each branch doubles what the verifier
/// walks behind it.
#[inline(always)]
#[must_use]
pub fn bucket(ns: u64) -> usize {
    let units = ns >> UNIT_SHIFT;
    let above = over(MAX_UNITS, units);
    // All ones where it is above, so that the capped value is MAX_UNITS.
    let units = (units | above.wrapping_neg()) & MAX_UNITS;
    let shift = octave(units);
    // Below LINEAR the shift is 0 and the bucket is the value; above, each octave adds PER_OCTAVE
    // and the top bit of the shifted value (always set) stands for the first PER_OCTAVE.
    (shift * PER_OCTAVE + (units >> shift)) as usize
}

/// How far `units` must be shifted to fit [`LINEAR`]: floor(log2(units)) - 7, at least 0.
#[inline(always)]
fn octave(units: u64) -> u64 {
    let mut rest = (units >> LINEAR_BITS) as u32;
    // All ones from the top bit down: 2^shift - 1.
    rest |= rest >> 1;
    rest |= rest >> 2;
    rest |= rest >> 4;
    rest |= rest >> 8;
    rest |= rest >> 16;
    let index = (rest.wrapping_mul(SPREAD) >> SPREAD_SHIFT) as usize;
    // SAFETY: five bits. Volatile, so that nothing but a load becomes of it.
    unsafe { core::ptr::read_volatile(OCTAVES.as_ptr().add(index)).into() }
}

/// Multiplied by this, the numbers 2^n - 1 differ in their upper five bits, for n up to
/// [`MAX_OCTAVE`]; found by trying.
const SPREAD: u32 = 0xcd61_3e31;
const SPREAD_SHIFT: u32 = 27;

const MAX_OCTAVE: u8 = 30 - LINEAR_BITS as u8;

/// n by those five bits of 2^n - 1.
static OCTAVES: [u8; 32] = {
    let mut octaves = [0; 32];
    let mut n = 0;
    while n <= MAX_OCTAVE {
        let ones = (1_u32 << n) - 1;
        octaves[(ones.wrapping_mul(SPREAD) >> SPREAD_SHIFT) as usize] = n;
        n += 1;
    }
    octaves
};

/// 1 if `value` is over `limit` (both below 2^63), else 0.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub fn over(limit: u64, value: u64) -> u64 {
    u64::from(value > limit)
}

/// As above, in instructions: the compiler would make a branch of anything else.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn over(limit: u64, value: u64) -> u64 {
    let mut sign = limit;
    // SAFETY: arithmetic on registers.
    unsafe {
        core::arch::asm!("{0} -= {1}", "{0} >>= 63", inout(reg) sign, in(reg) value);
    }
    sign
}

/// The smallest time in ns that falls into a bucket.
#[must_use]
pub const fn lowest_ns(bucket: usize) -> u64 {
    let index = bucket as u64;
    if index < LINEAR {
        return index << UNIT_SHIFT;
    }
    let shift = (index - LINEAR) / PER_OCTAVE + 1;
    ((index - shift * PER_OCTAVE) << shift) << UNIT_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_invertible() {
        for index in 0..BUCKETS {
            let low = lowest_ns(index);
            assert_eq!(bucket(low), index, "lowest of {index}");
            if index > 0 {
                assert_eq!(bucket(low - 1), index - 1, "below {index}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_bucket_is_at_most_one_128th_wide() {
        for index in LINEAR as usize..BUCKETS - 1 {
            let (low, next) = (lowest_ns(index), lowest_ns(index + 1));
            assert!((next - low) * 128 <= low, "bucket {index}: {low}..{next}");
        }
    }
}
