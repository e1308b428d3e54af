//! `twtrace trace`: a line per end, then the books.

use super::live::{self, Moment, Sink};
use super::output::Output;
use super::replay::{Lines, check_view};
use crate::cli::TraceArgs;
use crate::error::{Exit, Result};
use crate::event::Snapshot;
use crate::host::Names;
use crate::kernel::Options;

pub(super) fn run(args: &TraceArgs) -> Result<Exit> {
    let options = Options {
        ring_bytes: args.ring.ring_bytes,
        reopens: false,
        ..super::options(&args.tracing, &args.filters)?
    };
    check_view(&args.view)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let live = live::start(&options, &args.tracing, None)?;
        let lines = Lines::new(&args.view, live.meta(), Names::of_this_host())?;
        let mut sink = Trace {
            lines,
            out: Output::stdout(),
        };
        sink.lines.header(&mut sink.out);
        sink.out.flush()?;
        live.run(&mut sink).await?;
        sink.lines.close(&mut sink.out, false)
    })
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

    fn totals(&mut self, _moment: Moment, totals: Snapshot) -> Result<()> {
        self.lines.totals(totals);
        Ok(())
    }

    fn done(&self) -> bool {
        self.out.closed()
    }
}
