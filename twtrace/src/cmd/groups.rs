//! `--by`: what is counted by group, and when it is shown.

use twtrace_common::counters::Counters;

use crate::cli::{ByArg, Grouping};
use crate::event::found::Found;
use crate::event::{Event, Meta, Snapshot};
use crate::model::census::Change;
use crate::model::groups::Table;
use crate::model::population::Population;
use crate::model::{Groups, Report, Summary};

/// Groups of a trace, and of its current interval.
pub(super) struct Grouped {
    started_ns: u64,
    top: usize,
    whole: Groups,
    interval: Groups,
    /// Which of those that are listed have been counted already.
    population: Population,
    /// Births or ends were lost.
    lost: bool,
}

impl Grouped {
    /// `None` if none are asked for.
    pub(super) fn new(grouping: Grouping, meta: &Meta) -> Option<Self> {
        let by = grouping.by?.into();
        Some(Self {
            started_ns: meta.started_ns,
            top: grouping.top.into(),
            whole: Groups::new(by, meta),
            interval: Groups::new(by, meta),
            population: Population::new(meta.filtered),
            lost: false,
        })
    }

    /// Counts an event, and what it was made into if it was.
    pub(super) fn count(&mut self, event: &Event, report: Option<&Report>) {
        let (flow, at_ns) = (event.flow(), event.at_ns());
        match self.population.event(event) {
            Change::Seeded(_) | Change::UnlistedEnded => self.interval.older(flow, at_ns),
            Change::BornOverSeed { .. } => self.interval.older_gone(flow, at_ns),
            Change::Lost => self.lost = true,
            Change::Nothing | Change::Born(_) | Change::Ended | Change::SeedEnded(_) => {}
        }
        if let Event::Birth(birth) = event {
            self.interval.birth(birth);
        } else if let Some(report) = report {
            self.interval.report(report);
        }
    }

    /// Takes what was found by asking.
    pub(super) fn found(&mut self, found: &Found) {
        self.population.found(found);
    }

    /// Takes totals.
    pub(super) fn totals(&mut self, totals: &Snapshot) {
        self.population.snapshot(totals);
        let lost = |one: &Counters| one.birth_ring_full + one.end_ring_full + one.map_full;
        self.lost |= totals.counters.iter().map(lost).sum::<u64>() > 0;
    }

    /// The groups since the last interval. What was counted of them without a record is not known
    /// yet: it may still be in the ring.
    pub(super) fn interval(&mut self, from_ns: u64, to_ns: u64) -> Table {
        let table = self.interval.table(self.top, (from_ns, to_ns), None);
        self.whole.absorb(&mut self.interval);
        let table = table.alive_in(&self.whole);
        if self.lost {
            table.alive_unknown()
        } else {
            table
        }
    }

    /// All groups, and the ends of which no record came.
    pub(super) fn total(mut self, summary: &Summary) -> Table {
        self.whole.absorb(&mut self.interval);
        let time = (self.started_ns, self.started_ns + summary.duration_ns);
        let counted = summary.books.ends.seen;
        let table = self.whole.table(self.top, time, Some(counted));
        if self.lost {
            table.alive_unknown()
        } else {
            table
        }
    }
}

/// Whether the groups need what only the full socket knows.
pub(super) fn of_owners(grouping: Grouping) -> bool {
    matches!(grouping.by, Some(ByArg::Uid | ByArg::Cgroup))
}
