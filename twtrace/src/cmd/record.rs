//! `twtrace record`: everything to a file.

use std::time::Duration;

use super::files;
use super::live::{self, Moment, Sink};
use super::namer::Namer;
use super::outlet::Outlet;
use super::output::talk;
use crate::cli::RecordArgs;
use crate::error::{Exit, Result};
use crate::event::Snapshot;
use crate::event::found::Found;
use crate::host::Names;
use crate::kernel::Options;
use crate::model::Tally;
use crate::model::tally::Detail;
use crate::recording::{self, Writer};
use crate::view::thousands;

/// How often totals are recorded: what a recording that was cut still has books for.
const TOTALS: Duration = Duration::from_secs(5);

pub(super) fn run(args: &RecordArgs) -> Result<Exit> {
    let options = options(args)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let live = live::start(&options, &args.tracing, Some(TOTALS))?;
        let outlet = Outlet::new(files::create(&args.file, "recording")?)?;
        let name = args.file.display().to_string();
        let mut sink = Record {
            tally: Tally::new(live.meta(), Detail::Records),
            writer: Writer::new(name, Box::new(outlet.clone()), live.meta())?,
            outlet,
            names: Namer::start(Names::of_this_host)?,
            records: 0,
        };
        live.run(&mut sink).await?;
        sink.close(args)
    })
}

pub(super) fn options(args: &RecordArgs) -> Result<Options> {
    let given = super::options(&args.tracing, &args.filters)?;
    Ok(Options {
        births: true,
        ports: true,
        ..super::with_records(given, &args.ring)
    })
}

struct Record {
    tally: Tally,
    writer: Writer,
    /// What the writer writes to.
    outlet: Outlet,
    names: Namer,
    records: u64,
}

impl Record {
    fn close(mut self, args: &RecordArgs) -> Result<Exit> {
        if let Some(named) = self.names.finish() {
            self.writer.names(&named)?;
        }
        self.writer.finish()?;
        let name = args.file.display();
        let cut = self.outlet.finish();
        let cut = cut.map_err(|error| recording::cannot_write(&name.to_string(), &error))?;
        if let Some(cut) = cut {
            talk(&format!(
                "warning: {name} was written too slowly: its last {} bytes are missing, and it reads up to there",
                thousands(cut.bytes)
            ));
        }
        let summary = self.tally.summary(false);
        talk(&format!(
            "{} records in {name}; read them with: twtrace report {name}",
            self.records
        ));
        Ok(if summary.complete() && cut.is_none() {
            Exit::Done
        } else {
            Exit::Incomplete
        })
    }
}

impl Sink for Record {
    // A recording that was cut is compared, too.
    const COMPARES: bool = true;

    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.records += 1;
        if let Ok(event) = crate::decode::decode(record) {
            self.names.note(event.flow());
            self.tally.event(event);
        } else {
            self.tally.undecoded();
        }
        self.writer.record(record)
    }

    fn found(&mut self, found: Found) -> Result<()> {
        self.writer.found(&found)
    }

    fn idle(&mut self) -> Result<()> {
        self.writer.tick()
    }

    fn totals(&mut self, _moment: Moment, totals: Snapshot) -> Result<()> {
        if let Some(named) = self.names.take() {
            self.writer.names(&named)?;
        }
        self.writer.snapshot(&totals)?;
        self.tally.snapshot(totals);
        Ok(())
    }

    fn done(&self) -> bool {
        false
    }

    fn outlet(&self) -> Option<&Outlet> {
        Some(&self.outlet)
    }
}
