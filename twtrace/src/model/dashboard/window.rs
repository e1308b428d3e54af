//! Recent rates, from the totals of some moments.

use std::collections::VecDeque;

use twtrace_common::counters::Counters;

use super::Pace;

/// Over how long rates are taken (ns): long enough to be readable, short enough to be current.
pub(super) const LENGTH_NS: u64 = 10_000_000_000;
/// Moments that are kept at most, whatever the time between them.
const MOST: usize = 64;

/// The totals of the last while: the newest, and those back to [`LENGTH_NS`] before it.
#[derive(Debug, Default)]
pub(super) struct Window {
    moments: VecDeque<Moment>,
}

#[derive(Debug)]
struct Moment {
    at_ns: u64,
    /// One per namespace, sorted.
    counters: Vec<Counters>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn push(&mut self, at_ns: u64, mut counters: Vec<Counters>) {
        counters.sort_unstable_by_key(|one| one.netns);
        self.moments.push_back(Moment { at_ns, counters });
        // The last one before the start of the window stays: rates are measured from it.
        let over = |next: &Moment| at_ns.saturating_sub(next.at_ns) >= LENGTH_NS;
        while self.moments.get(1).is_some_and(over) {
            self.moments.pop_front();
        }
        if self.moments.len() > MOST {
            // Every other one but the oldest: the window keeps its length.
            let mut index = 0;
            self.moments.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// Of all namespaces together.
    pub(super) fn pace(&self, get: impl Fn(&Counters) -> u64) -> Pace {
        self.of(|moment| moment.counters.iter().map(&get).sum())
    }

    /// Of one namespace.
    pub(super) fn pace_in(&self, netns: u32, get: impl Fn(&Counters) -> u64) -> Pace {
        self.of(|moment| {
            let found = moment
                .counters
                .binary_search_by_key(&netns, |one| one.netns);
            found.map_or(0, |index| get(&moment.counters[index]))
        })
    }

    fn of(&self, get: impl Fn(&Moment) -> u64) -> Pace {
        let (Some(oldest), Some(newest)) = (self.moments.front(), self.moments.back()) else {
            return Pace::default();
        };
        let total = get(newest);
        let ns = newest.at_ns.saturating_sub(oldest.at_ns);
        Pace {
            total,
            per_s: (ns > 0).then(|| total.saturating_sub(get(oldest)) as f64 / (ns as f64 / 1e9)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn counters(netns: u32, promoted: u64) -> Counters {
        Counters {
            netns,
            promoted,
            ..Counters::ZERO
        }
    }

    fn promoted(window: &Window) -> Pace {
        window.pace(|one| one.promoted)
    }

    #[test]
    fn without_two_moments_there_is_no_rate() {
        let mut window = Window::new();
        assert_eq!(promoted(&window), Pace::default());
        window.push(5 * S, vec![counters(1, 7)]);
        let first = Pace {
            total: 7,
            per_s: None,
        };
        assert_eq!(promoted(&window), first);
    }

    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        let mut window = Window::new();
        for second in 0..100 {
            // 1,000 a second for a while, then 20.
            let so_far = 1_000 * second.min(50) + 20 * (second - second.min(50));
            window.push(second * S, vec![counters(1, so_far)]);
        }
        assert_eq!(promoted(&window).per_s, Some(20.0));
        assert_eq!(window.moments.len(), 11);
    }

    #[test]
    fn moments_that_are_far_apart_give_the_rate_between_them() {
        let mut window = Window::new();
        for (at, so_far) in [(0, 0), (30, 600), (90, 1_200)] {
            window.push(at * S, vec![counters(1, so_far)]);
        }
        assert_eq!(promoted(&window).per_s, Some(10.0));
    }

    #[test]
    fn many_moments_are_thinned_out_and_the_rate_stays() {
        let mut window = Window::new();
        for tenth in 0..1_000 {
            window.push(tenth * S / 100, vec![counters(1, tenth)]);
            assert!(window.moments.len() <= MOST);
        }
        let rate = promoted(&window).per_s.unwrap();
        assert!((rate - 100.0).abs() < 1.0, "{rate}");
        let (oldest, newest) = (&window.moments[0], window.moments.back().unwrap());
        assert!(newest.at_ns - oldest.at_ns >= 9 * S);
    }

    #[test]
    fn namespaces_are_counted_by_themselves_and_together() {
        let mut window = Window::new();
        window.push(0, vec![counters(1, 10)]);
        window.push(2 * S, vec![counters(1, 30), counters(2, 8)]);
        let in_netns = |netns| window.pace_in(netns, |one| one.promoted).per_s;
        assert_eq!([in_netns(1), in_netns(2)], [Some(10.0), Some(4.0)]);
        assert_eq!(promoted(&window).per_s, Some(14.0));
    }
}
