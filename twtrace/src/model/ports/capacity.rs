//! Which local ports connect() may use in a namespace.

use crate::event::found::PortRules;

/// The ephemeral range without what is kept from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    low: u16,
    high: u16,
    /// Reserved, listened on or bound: ascending, apart, within the range.
    kept: Vec<(u16, u16)>,
}

impl Default for Capacity {
    fn default() -> Self {
        Self::new(&PortRules::default(), &[])
    }
}

impl Capacity {
    /// Both ends of the range belong to it, and all of it is tried: first the ports with the
    /// parity of its low end, then the others (`__inet_hash_connect`).
    pub(super) fn new(rules: &PortRules, taken: &[(u16, u16)]) -> Self {
        let (low, high) = (rules.low, rules.high);
        let mut all: Vec<_> = rules
            .reserved
            .iter()
            .chain(taken)
            .map(|&(from, to)| (from.max(low), to.min(high)))
            .filter(|(from, to)| from <= to)
            .collect();
        all.sort_unstable();
        let mut kept: Vec<(u16, u16)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match kept.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => kept.push((from, to)),
            }
        }
        Self { low, high, kept }
    }

    /// How many ports a connect() tries. Of an odd number it leaves one out, not always the same
    /// (`__inet_hash_connect`: `remaining &= ~1U`).
    pub(super) fn candidates(&self) -> u32 {
        let count = |(from, to): (u16, u16)| u32::from(to) - u32::from(from) + 1;
        let kept: u32 = self.kept.iter().copied().map(count).sum();
        let range = count((self.low, self.high.max(self.low)));
        let tried = if range > 1 { range & !1 } else { range };
        tried.saturating_sub(kept)
    }

    /// Whether a port is in the range, whatever is kept from it.
    pub(super) fn ranges_over(&self, port: u16) -> bool {
        (self.low..=self.high).contains(&port)
    }

    /// Whether a port lies an odd distance from the low end of the range.
    pub(super) fn is_odd(&self, port: u16) -> bool {
        port.wrapping_sub(self.low) & 1 == 1
    }

    /// Whether this port is one of them.
    pub(super) fn has(&self, port: u16) -> bool {
        if !self.ranges_over(port) {
            return false;
        }
        let after = self.kept.partition_point(|&(from, _)| from <= port);
        after == 0 || self.kept[after - 1].1 < port
    }
}

/// From how many ports connect() may choose, less these that are taken.
pub(in crate::model) fn usable(rules: &PortRules, taken: &[(u16, u16)]) -> u32 {
    Capacity::new(rules, taken).candidates()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_range_counts_less_what_is_kept_within_it() {
        assert_eq!(Capacity::default().candidates(), 28_232);
        let rules = PortRules {
            low: 100,
            high: 199,
            reserved: vec![(50, 109), (150, 150), (195, 300), (400, 500)],
            ..PortRules::default()
        };
        let capacity = Capacity::new(&rules, &[(105, 111), (151, 151)]);
        assert_eq!(capacity.candidates(), 100 - 12 - 2 - 5);
        let has = |port| capacity.has(port);
        assert!(has(112) && has(149) && has(152) && has(194));
        assert!(!has(99) && !has(100) && !has(111) && !has(150) && !has(151) && !has(199));
        assert!(!has(200));
    }

    #[test]
    fn of_an_odd_range_one_port_is_not_tried() {
        let range = |low, high| PortRules {
            low,
            high,
            ..PortRules::default()
        };
        assert_eq!(Capacity::new(&range(100, 104), &[]).candidates(), 4);
        assert_eq!(Capacity::new(&range(100, 105), &[]).candidates(), 6);
        assert_eq!(
            Capacity::new(&range(100, 102), &[(100, 102)]).candidates(),
            0
        );
    }

    #[test]
    fn a_range_of_one_port_has_one() {
        let rules = PortRules {
            low: 7,
            high: 7,
            ..PortRules::default()
        };
        assert_eq!(Capacity::new(&rules, &[]).candidates(), 1);
        assert_eq!(Capacity::new(&rules, &[(7, 7)]).candidates(), 0);
        assert!(!Capacity::new(&rules, &[(7, 7)]).has(7));
    }
}
