//! `twtrace trace`: one line per end, then a summary.

use super::live::{self, Moment, Sink};
use super::outlet::Outlet;
use super::output::Output;
use super::replay::{Lines, check_view};
use crate::cli::{TraceArgs, View};
use crate::error::{Exit, Result};
use crate::event::Snapshot;
use crate::event::found::Found;
use crate::host::Names;
use crate::kernel::Options;
use crate::view::Output as Format;

pub(super) fn run(args: &TraceArgs) -> Result<Exit> {
    let options = options(args)?;
    check_view(&args.view)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let live = live::start(&options, &args.tracing, None)?;
        let lines = Lines::new(
            &args.view,
            args.grouping,
            live.meta(),
            Names::of_this_host(),
        )?;
        let mut sink = Trace {
            lines,
            out: Output::live()?.text(args.view.output() == Format::Text),
        };
        sink.lines.header(&mut sink.out);
        sink.out.flush()?;
        live.run(&mut sink).await?;
        sink.lines.close(&mut sink.out, false)
    })
}

pub(super) fn options(args: &TraceArgs) -> Result<Options> {
    let given = super::options(&args.tracing, &args.filters)?;
    Ok(Options {
        drops: false,
        births: args.grouping.by.is_some(),
        ports: args.ports,
        reopens: tells_of_reopens(&args.view),
        ..super::with_records(given, &args.ring)
    })
}

/// The numbers of accepted SYNs are in the note alone; machines ask `conflicts` for them.
fn tells_of_reopens(view: &View) -> bool {
    view.output() == Format::Text || view.fields.is_some()
}

struct Trace {
    lines: Lines,
    out: Output,
}

impl Sink for Trace {
    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.lines.record(record, &mut self.out);
        self.out.spill()
    }

    fn idle(&mut self) -> Result<()> {
        self.out.flush()
    }

    fn found(&mut self, found: Found) -> Result<()> {
        self.lines.found(&found);
        Ok(())
    }

    fn totals(&mut self, _moment: Moment, totals: Snapshot) -> Result<()> {
        self.lines.totals(totals);
        Ok(())
    }

    fn done(&self) -> bool {
        self.out.closed()
    }

    fn outlet(&self) -> Option<&Outlet> {
        self.out.outlet()
    }
}
