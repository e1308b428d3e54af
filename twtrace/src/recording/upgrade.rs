//! Records of older ABIs as they are today.

use twtrace_common::ABI;
use twtrace_common::record::{End, KIND_END, KIND_OVERFLOW, Overflow};

/// The oldest ABI that is read.
pub(super) const OLDEST: u32 = 1;

/// Before refusals: an end was shorter, and what came after `rearms` were four zeros.
const END_OF_ABI_1: usize = 88;
/// Up to ABI 3 an overflow did not have the limit: its flag is not set.
const OVERFLOW_OF_ABI_3: usize = 64;

/// Turns records into those of this ABI, one after the other.
#[derive(Debug)]
pub(super) struct Upgrade {
    abi: u32,
    record: [u8; size_of::<End>()],
}

impl Upgrade {
    pub(super) fn from(abi: u32) -> Self {
        Self {
            abi,
            record: [0; size_of::<End>()],
        }
    }

    /// A record that needs no change is passed on as it is.
    pub(super) fn record<'a>(&'a mut self, record: &'a [u8]) -> &'a [u8] {
        let today = match (record.first(), record.len()) {
            _ if self.abi == ABI => return record,
            (Some(&KIND_END), END_OF_ABI_1) => size_of::<End>(),
            (Some(&KIND_OVERFLOW), OVERFLOW_OF_ABI_3) => size_of::<Overflow>(),
            _ => return record,
        };
        let (old, new) = self.record.split_at_mut(record.len());
        old.copy_from_slice(record);
        new.fill(0);
        &self.record[..today]
    }
}

#[cfg(test)]
mod tests {
    use twtrace_common::record::KIND_REFUSAL;

    use super::*;

    #[test]
    fn an_end_of_abi_1_refused_nothing_as_far_as_is_known() {
        let mut old = [7; END_OF_ABI_1];
        old[0] = KIND_END;
        let mut upgrade = Upgrade::from(1);
        let new = upgrade.record(&old);
        assert_eq!(&new[..END_OF_ABI_1], old);
        assert_eq!(new[END_OF_ABI_1..], [0; 24]);
    }

    #[test]
    fn an_overflow_of_abi_3_does_not_tell_of_the_limit() {
        let mut upgrade = Upgrade::from(3);
        // Nothing is left of the record before it.
        upgrade.record(&[KIND_END; END_OF_ABI_1]);
        let old = [KIND_OVERFLOW; OVERFLOW_OF_ABI_3];
        let new = upgrade.record(&old);
        assert_eq!(new[..OVERFLOW_OF_ABI_3], old);
        assert_eq!(new[OVERFLOW_OF_ABI_3..], [0; 8]);
    }

    #[test]
    fn other_records_and_those_of_today_are_left_alone() {
        // ABI 3 added kinds of records; the kinds of ABI 2 are unchanged.
        let of_abi_2 = [(KIND_END, 112), (KIND_REFUSAL, 104)];
        let of_abi_2 = of_abi_2.map(|(kind, length)| (2, length, kind));
        let others = [(1, 72, 2), (1, 5, KIND_END), (ABI, END_OF_ABI_1, KIND_END)];
        for (abi, length, kind) in of_abi_2.into_iter().chain(others) {
            let record = vec![kind; length];
            assert_eq!(Upgrade::from(abi).record(&record), record);
        }
    }
}
