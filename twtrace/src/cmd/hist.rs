//! `twtrace hist`: lifetimes by end reason, counted in the kernel, or by group, from records.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use twtrace_common::histogram::Clock;
use twtrace_common::settings::{FILTER_CGROUP, FILTER_UID};

use super::files;
use super::files::Opened;
use super::groups::{self, Grouped};
use super::live::{self, Moment, Sink};
use super::outlet::Outlet;
use super::output::Output;
use super::replay::{Closing, check_view, renderer};
use crate::cli::{Grouping, HistArgs, View};
use crate::decode::decode;
use crate::error::{Error, Exit, Result, why};
use crate::event::found::Found;
use crate::event::{Meta, Named, Snapshot};
use crate::host::Names;
use crate::kernel::Options;
use crate::model::tally::Detail;
use crate::model::{Stats, Tally, stats};
use crate::view::{Of, Output as Format, Renderer, Scope};

pub(super) fn run(args: &HistArgs) -> Result<Exit> {
    let options = options(args)?;
    check_view(&args.view)?;
    let hgrm = args.hgrm.as_deref().map(files::open).transpose()?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let every = args.interval.map(Duration::from_secs);
        let live = live::start(&options, &args.tracing, every)?;
        let mut sink = Hist {
            figures: Figures::new(
                (&args.view, args.grouping),
                live.meta(),
                Names::of_this_host(),
                hgrm,
            )?,
            out: Output::live()?.text(args.view.output() == Format::Text),
            left: args.count,
        };
        sink.figures.header(&mut sink.out);
        live.run(&mut sink).await?;
        sink.figures.close(&mut sink.out, false)
    })
}

pub(super) fn options(args: &HistArgs) -> Result<Options> {
    let given = super::options(&args.tracing, &args.filters)?;
    let filters_owners = given.filter.flags & (FILTER_UID | FILTER_CGROUP) != 0;
    Ok(Options {
        records: args.grouping.by.is_some(),
        births: args.grouping.by.is_some(),
        refusals: false,
        drops: false,
        reopens: false,
        owners: filters_owners || groups::of_owners(args.grouping),
        rearms: false,
        ..given
    })
}

struct Hist {
    figures: Figures,
    out: Output,
    /// Intervals still to come, if limited.
    left: Option<u64>,
}

impl Sink for Hist {
    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.figures.record(record);
        Ok(())
    }

    fn idle(&mut self) -> Result<()> {
        self.out.flush()
    }

    fn found(&mut self, found: Found) -> Result<()> {
        self.figures.found(&found);
        Ok(())
    }

    fn totals(&mut self, moment: Moment, totals: Snapshot) -> Result<()> {
        if moment == Moment::Interval {
            self.figures.interval(&totals, &mut self.out);
            self.left = self.left.map(|left| left - 1);
        }
        self.figures.totals(totals);
        self.out.flush()
    }

    fn done(&self) -> bool {
        self.out.closed() || self.left == Some(0)
    }

    fn outlet(&self) -> Option<&Outlet> {
        self.out.outlet()
    }
}

/// Totals as histograms, or records by group, live or from a recording.
pub(super) struct Figures {
    meta: Meta,
    tally: Tally,
    groups: Option<Grouped>,
    renderer: Renderer,
    format: Format,
    /// The file of `--hgrm`.
    hgrm: Option<Opened>,
}

impl Figures {
    pub(super) fn new(
        (view, grouping): (&View, Grouping),
        meta: &Meta,
        names: Names,
        hgrm: Option<Opened>,
    ) -> Result<Self> {
        let groups = Grouped::new(grouping, meta);
        let detail = match groups {
            Some(_) => Detail::Records,
            None => Detail::Totals,
        };
        Ok(Self {
            meta: meta.clone(),
            tally: Tally::new(meta, detail),
            groups,
            renderer: renderer(view, Of::TRACE, meta, names)?,
            format: view.output(),
            hgrm,
        })
    }

    pub(super) fn header(&mut self, out: &mut Output) {
        match self.groups {
            Some(_) => self.renderer.groups_header(out.buffer()),
            None => self.renderer.histogram_header(out.buffer()),
        }
    }

    /// Counts a record by group; without groups, totals are all that is needed.
    pub(super) fn record(&mut self, record: &[u8]) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        match decode(record) {
            Ok(event) => {
                self.renderer.note(event.flow());
                groups.count(&event, self.tally.event(event).as_ref());
            }
            Err(_) => self.tally.undecoded(),
        }
    }

    pub(super) fn names(&mut self, named: Named) {
        self.renderer.names(named);
    }

    pub(super) fn found(&mut self, found: &Found) {
        if let Some(groups) = &mut self.groups {
            groups.found(found);
        }
        self.renderer.found(found);
    }

    /// Shows what came since the last totals.
    fn interval(&mut self, totals: &Snapshot, out: &mut Output) {
        let Some(last) = self.tally.last() else {
            return;
        };
        let (out, scope) = (out.buffer(), Scope::Interval);
        if let Some(groups) = &mut self.groups {
            let table = groups.interval(last.at_ns, totals.at_ns);
            self.renderer.groups(&table, scope, out);
        } else {
            let stats = Stats::between(last, totals);
            self.renderer.histogram(&stats, scope, out);
        }
    }

    pub(super) fn totals(&mut self, totals: Snapshot) {
        if let Some(groups) = &mut self.groups {
            groups.totals(&totals);
        }
        self.tally.snapshot(totals);
    }

    /// Shows everything, writes the percentile file and closes the books.
    pub(super) fn close(mut self, out: &mut Output, cut: bool) -> Result<Exit> {
        let summary = self.tally.summary(cut);
        let groups = self.groups.map(|groups| groups.total(&summary));
        if let Some(table) = &groups {
            self.renderer.groups(table, Scope::Total, out.buffer());
        }
        if let Some(last) = self.tally.last() {
            let stats = Stats::total(self.meta.started_ns, last);
            if groups.is_none() {
                self.renderer.histogram(&stats, Scope::Total, out.buffer());
            }
            if let Some(hgrm) = self.hgrm.take() {
                write_hgrm(hgrm, &stats)?;
            }
        }
        Closing::new(self.format).summary(&mut self.renderer, &summary, out)
    }
}

/// All reasons together: the format holds one histogram.
fn write_hgrm(hgrm: Opened, stats: &Stats) -> Result<()> {
    let path = hgrm.path().to_owned();
    let mut file = BufWriter::new(hgrm.empty()?);
    stats::write_hgrm(&stats.merged(Clock::TimeWait), &mut file)
        .and_then(|()| file.flush())
        .map_err(|error| unwritten(&path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::new(format!("cannot write {}: {}", path.display(), why(error)))
        .hint("--hgrm names a file that is made or replaced")
}
