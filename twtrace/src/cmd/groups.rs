//! `--by`: what is counted by group, and when it is shown.

use crate::cli::{ByArg, Grouping};
use crate::event::{Event, Meta};
use crate::model::groups::Table;
use crate::model::{Groups, Report, Summary};

/// Groups of a trace, and of its current interval.
pub(super) struct Grouped {
    started_ns: u64,
    top: usize,
    whole: Groups,
    interval: Groups,
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
        })
    }

    /// Counts an event, and what it was made into if it was.
    pub(super) fn count(&mut self, event: &Event, report: Option<&Report>) {
        if let Event::Birth(birth) = event {
            self.interval.birth(birth);
        } else if let Some(report) = report {
            self.interval.report(report);
        }
    }

    /// The groups since the last interval. What was counted of them without a record is not known
    /// yet: it may still be in the ring.
    pub(super) fn interval(&mut self, from_ns: u64, to_ns: u64) -> Table {
        let table = self.interval.table(self.top, (from_ns, to_ns), None);
        self.whole.absorb(&mut self.interval);
        table
    }

    /// All groups, and the ends of which no record came.
    pub(super) fn total(mut self, summary: &Summary) -> Table {
        self.whole.absorb(&mut self.interval);
        let time = (self.started_ns, self.started_ns + summary.duration_ns);
        let counted = summary.books.ends.seen;
        self.whole.table(self.top, time, Some(counted))
    }
}

/// Whether the groups need what only the full socket knows.
pub(super) fn of_owners(grouping: Grouping) -> bool {
    matches!(grouping.by, Some(ByArg::Uid | ByArg::Cgroup))
}
