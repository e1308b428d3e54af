//! Records of older ABIs as they are today.

use twtrace_common::ABI;
use twtrace_common::record::{End, KIND_END};

/// The oldest ABI that is read.
pub(super) const OLDEST: u32 = 1;

/// Before refusals: an end was shorter, and what came after `rearms` were four zeros.
const END_OF_ABI_1: usize = 88;

/// Turns records into today's, one after the other.
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

    /// What needs no change is passed on as it is.
    pub(super) fn record<'a>(&'a mut self, record: &'a [u8]) -> &'a [u8] {
        let is_end = record.first() == Some(&KIND_END);
        if self.abi == ABI || !is_end || record.len() != END_OF_ABI_1 {
            return record;
        }
        self.record[..END_OF_ABI_1].copy_from_slice(record);
        &self.record
    }
}

#[cfg(test)]
mod tests {
    use twtrace_common::record::{KIND_OVERFLOW, KIND_REFUSAL};

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
    fn other_records_and_those_of_today_are_left_alone() {
        // What ABI 3 brought are records of their own kinds: those of ABI 2 are today's.
        let of_abi_2 = [(KIND_END, 112), (KIND_OVERFLOW, 64), (KIND_REFUSAL, 104)];
        let of_abi_2 = of_abi_2.map(|(kind, length)| (2, length, kind));
        let others = [(1, 64, 2), (1, 5, KIND_END), (ABI, END_OF_ABI_1, KIND_END)];
        for (abi, length, kind) in of_abi_2.into_iter().chain(others) {
            let record = vec![kind; length];
            assert_eq!(Upgrade::from(abi).record(&record), record);
        }
    }
}
