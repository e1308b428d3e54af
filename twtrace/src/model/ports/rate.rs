//! Births and ends of the last ten seconds.

/// Length of a slot.
const SLOT_NS: u64 = 1_000_000_000;
const SLOTS: u64 = 10;

/// Counts by whole seconds, kept for ten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    born: [u32; SLOTS as usize],
    ended: [u32; SLOTS as usize],
    /// The youngest second counted.
    latest: u64,
}

impl Window {
    pub(super) fn born(&mut self, at_ns: u64) {
        if let Some(slot) = self.slot(at_ns) {
            self.born[slot] += 1;
        }
    }

    pub(super) fn ended(&mut self, at_ns: u64) {
        if let Some(slot) = self.slot(at_ns) {
            self.ended[slot] += 1;
        }
    }

    /// Births per second, and births less ends per second.
    pub(super) fn rates(&self, started_ns: u64, now_ns: u64) -> (f64, f64) {
        let now = now_ns / SLOT_NS;
        let first = (now + 1).saturating_sub(SLOTS);
        let (mut born, mut ended) = (0_u64, 0_u64);
        for second in first..=self.latest.min(now) {
            if second + SLOTS > self.latest {
                born += u64::from(self.born[index(second)]);
                ended += u64::from(self.ended[index(second)]);
            }
        }
        // Less than a second says nothing about a second.
        let since = now_ns.saturating_sub(started_ns.max(first * SLOT_NS));
        let seconds = since.max(SLOT_NS) as f64 / 1e9;
        (
            born as f64 / seconds,
            (born as f64 - ended as f64) / seconds,
        )
    }

    pub(super) fn is_empty(&self, now_ns: u64) -> bool {
        self.rates(0, now_ns) == (0.0, 0.0)
    }

    /// Events come nearly in order: one of more than ten seconds ago is left out.
    fn slot(&mut self, at_ns: u64) -> Option<usize> {
        let second = at_ns / SLOT_NS;
        if second + SLOTS <= self.latest {
            return None;
        }
        for empty in (self.latest + 1).max((second + 1).saturating_sub(SLOTS))..=second {
            self.born[index(empty)] = 0;
            self.ended[index(empty)] = 0;
        }
        self.latest = self.latest.max(second);
        Some(index(second))
    }
}

fn index(second: u64) -> usize {
    (second % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let mut window = Window::default();
        let at = |ms: u64| 100 * SLOT_NS + ms * 1_000_000;
        for ms in (0..20_000).step_by(10) {
            window.born(at(ms));
            if ms >= 10_000 {
                window.ended(at(ms));
            }
        }
        assert_eq!(window.rates(at(0), at(20_000) - 1).0.round(), 100.0);
        assert_eq!(window.rates(at(0), at(20_000) - 1).1.round(), 0.0);
        assert!(!window.is_empty(at(28_000)));
        assert!(window.is_empty(at(29_000)));
    }

    #[test]
    fn a_trace_that_has_just_begun_divides_by_its_own_age() {
        let mut window = Window::default();
        let start = 7 * SLOT_NS;
        for ms in 0..2_000 {
            window.born(start + ms * 1_000_000);
        }
        let (arrivals, growth) = window.rates(start, start + 2 * SLOT_NS);
        assert_eq!((arrivals.round(), growth.round()), (1_000.0, 1_000.0));
    }

    #[test]
    fn late_and_early_seconds_do_not_mix() {
        let mut window = Window::default();
        window.born(50 * SLOT_NS);
        window.born(61 * SLOT_NS);
        window.born(50 * SLOT_NS);
        assert_eq!(window.rates(0, 61 * SLOT_NS + 1).0.round(), 0.0);
        assert!(window.rates(0, 61 * SLOT_NS + 1).0 > 0.1);
    }
}
