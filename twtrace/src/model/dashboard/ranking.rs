//! Who has most, grouped in one of several ways, with recent rates.

use std::collections::{HashMap, VecDeque};

use super::window::LENGTH_NS;
use super::{Pace, ROWS};
use crate::event::{Birth, Meta};
use crate::model::Report;
use crate::model::groups::{By, Groups, Key, Row, Table, Whose};
use crate::model::stats::Percentiles;

/// Moments that are kept at most: there are as many as fit in the time of rates, each at least so
/// much later than the one before.
const STEP_NS: u64 = LENGTH_NS / 16;

/// The same events grouped in several ways; one of them is shown.
#[derive(Debug)]
pub(super) struct Ranking {
    groups: Vec<Groups>,
    shown: usize,
    moments: VecDeque<Moment>,
}

/// Ends by group at one moment.
#[derive(Debug)]
struct Moment {
    at_ns: u64,
    /// `None` stands for the others.
    ends: HashMap<Option<Key>, u64>,
}

/// The groups with most ends, and what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Rankings {
    pub by: By,
    pub rows: Vec<Ranked>,
}

/// One group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    pub whose: Whose,
    /// Mini-sockets that were born since the start and have not ended; `None` if births are not
    /// reported, if the ring lost some, or of those from before.
    pub alive: Option<u64>,
    pub ends: Pace,
    /// Of all ends, in thousandths; `None` if there are none.
    pub share: Option<u64>,
    /// `None` if refusals were not traced.
    pub refusals: Option<u64>,
    pub overflows: u64,
    pub time_wait: Option<Percentiles>,
}

impl Ranking {
    /// The first way is shown.
    pub(super) fn new(ways: impl IntoIterator<Item = By>, meta: &Meta) -> Self {
        Self {
            groups: ways.into_iter().map(|by| Groups::new(by, meta)).collect(),
            shown: 0,
            moments: VecDeque::new(),
        }
    }

    pub(super) fn report(&mut self, report: &Report) {
        for groups in &mut self.groups {
            groups.report(report);
        }
    }

    pub(super) fn birth(&mut self, birth: &Birth) {
        for groups in &mut self.groups {
            groups.birth(birth);
        }
    }

    /// Shows another way, modulo their number.
    pub(super) fn show(&mut self, way: usize) {
        let way = way % self.groups.len().max(1);
        if way != self.shown {
            self.shown = way;
            self.moments.clear();
        }
    }

    /// Remembers how things are, for rates.
    pub(super) fn moment(&mut self, at_ns: u64) {
        let over = |next: &Moment| at_ns.saturating_sub(next.at_ns) >= LENGTH_NS;
        while self.moments.get(1).is_some_and(over) {
            self.moments.pop_front();
        }
        let soon = |last: &Moment| at_ns.saturating_sub(last.at_ns) < STEP_NS;
        if self.moments.back().is_some_and(soon) {
            return;
        }
        let rows = &self.table(at_ns).rows;
        let ends = rows.iter().map(|row| (key(row), row.ends)).collect();
        self.moments.push_back(Moment { at_ns, ends });
    }

    /// `exact`: the ring lost nothing.
    pub(super) fn rankings(&self, at_ns: u64, exact: bool) -> Rankings {
        let Table { by, rows, .. } = self.table(at_ns);
        let ranked = |row: &Row| Ranked {
            whose: row.whose,
            alive: row
                .births
                .filter(|_| exact && row.whose != Whose::Group(Key::Before))
                .map(|births| births.saturating_sub(row.ends)),
            ends: Pace {
                total: row.ends,
                per_s: self.per_s(row, at_ns),
            },
            share: row.share,
            refusals: row.refusals,
            overflows: row.overflows,
            time_wait: row.time_wait,
        };
        Rankings {
            by,
            rows: rows.iter().map(ranked).collect(),
        }
    }

    /// `None` also for a group that was unknown at the start of that time.
    fn per_s(&self, row: &Row, at_ns: u64) -> Option<f64> {
        let oldest = self.moments.front()?;
        let ns = at_ns.checked_sub(oldest.at_ns).filter(|&ns| ns > 0)?;
        let before = match oldest.ends.get(&key(row)) {
            Some(&before) => before,
            // Among the others, as far as there were any.
            None if oldest.ends.contains_key(&None) => return None,
            None => 0,
        };
        Some(row.ends.saturating_sub(before) as f64 / (ns as f64 / 1e9))
    }

    fn table(&self, at_ns: u64) -> Table {
        self.groups[self.shown].table(ROWS, (0, at_ns), None)
    }
}

fn key(row: &Row) -> Option<Key> {
    match row.whose {
        Whose::Group(key) => Some(key),
        Whose::Others { .. } | Whose::NotGrouped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reason;
    use crate::model::dashboard::tests::{S, ended, meta};

    fn of_uids(counts: &[(u32, u64)], ranking: &mut Ranking) {
        for &(uid, count) in counts {
            for _ in 0..count {
                ranking.report(&ended(uid, Reason::Expired, S));
            }
        }
    }

    fn rates(ranking: &Ranking, at_ns: u64) -> Vec<(u64, Option<f64>)> {
        let rows = ranking.rankings(at_ns, true).rows;
        let pace = |row: &Ranked| (row.ends.total, row.ends.per_s);
        rows.iter().map(pace).collect()
    }

    #[test]
    fn rates_of_groups_are_of_the_last_ten_seconds() {
        let mut ranking = Ranking::new([By::Uid], &meta());
        for second in 0..=60 {
            of_uids(&[(7, if second <= 30 { 100 } else { 5 })], &mut ranking);
            ranking.moment(second * S);
        }
        assert_eq!(rates(&ranking, 60 * S), [(31 * 100 + 30 * 5, Some(5.0))]);
        assert!(ranking.moments.len() <= 11, "{}", ranking.moments.len());
    }

    #[test]
    fn a_new_group_has_a_rate_unless_it_may_have_been_among_the_others() {
        let mut ranking = Ranking::new([By::Uid], &meta());
        ranking.moment(0);
        of_uids(&[(7, 30)], &mut ranking);
        assert_eq!(rates(&ranking, 10 * S), [(30, Some(3.0))]);
        let many: Vec<_> = (1_000..1_000 + ROWS as u32 + 1)
            .map(|uid| (uid, 40))
            .collect();
        of_uids(&many, &mut ranking);
        ranking.moments.clear();
        ranking.moment(10 * S);
        of_uids(&[(7, 1_000)], &mut ranking);
        assert_eq!(rates(&ranking, 20 * S)[0], (1_030, None));
    }

    #[test]
    fn another_way_to_tell_apart_begins_without_rates() {
        let mut ranking = Ranking::new([By::Uid, By::Netns], &meta());
        ranking.moment(0);
        of_uids(&[(1, 2), (2, 3)], &mut ranking);
        assert_eq!(rates(&ranking, S), [(3, Some(3.0)), (2, Some(2.0))]);
        ranking.show(1);
        assert_eq!(ranking.rankings(S, true).by, By::Netns);
        assert_eq!(rates(&ranking, S), [(5, None)]);
        ranking.show(2);
        assert_eq!(ranking.rankings(S, true).by, By::Uid);
    }

    #[test]
    fn what_is_alive_is_known_only_while_nothing_was_lost() {
        let mut ranking = Ranking::new([By::Uid], &meta());
        for _ in 0..5 {
            ranking.birth(&super::super::tests::birth(3, S));
        }
        of_uids(&[(3, 2)], &mut ranking);
        assert_eq!(ranking.rankings(S, true).rows[0].alive, Some(3));
        assert_eq!(ranking.rankings(S, false).rows[0].alive, None);
    }
}
