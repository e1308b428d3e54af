//! `twtrace record`: everything to a file.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use super::child::Stdout;
use super::files::{self, Opened};
use super::input::is_dash;
use super::live::{self, Moment, Sink};
use super::namer::Namer;
use super::outlet::Outlet;
use super::output::{Output, say, talk};
use crate::cli::RecordArgs;
use crate::error::{Error, Exit, Result};
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
    let to = Target::open(&args.file)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let spare = to.stdout_of_command();
        let live = live::start_with(&options, &args.tracing, Some(TOTALS), spare)?;
        let name = to.name();
        let outlet = Outlet::new(to.file()?)?;
        let mut sink = Record {
            tally: Tally::new(live.meta(), Detail::Records),
            writer: Writer::new(name.clone(), Box::new(Patient(outlet.clone())), live.meta())?,
            name,
            outlet,
            names: Namer::start(Names::of_this_host)?,
            records: 0,
        };
        live.run(&mut sink).await?;
        sink.close(&args.file)
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

/// Where the recording goes.
enum Target {
    File(Opened),
    Stdout,
}

impl Target {
    fn open(path: &Path) -> Result<Self> {
        if !is_dash(path) {
            return files::open(path).map(Self::File);
        }
        if io::stdout().is_terminal() {
            return Err(
                Error::new("cannot write a recording to stdout: it is a terminal")
                    .hint("name a file, or pipe it on: twtrace record - | twtrace report -"),
            );
        }
        Ok(Self::Stdout)
    }

    /// For messages.
    fn name(&self) -> String {
        match self {
            Self::File(opened) => opened.path().display().to_string(),
            Self::Stdout => "stdout".to_owned(),
        }
    }

    fn stdout_of_command(&self) -> Stdout {
        match self {
            Self::File(_) => Stdout::Shared,
            Self::Stdout => Stdout::Kept,
        }
    }

    fn file(self) -> Result<File> {
        match self {
            Self::File(opened) => opened.empty(),
            Self::Stdout => Output::file(),
        }
    }
}

/// To whom a reader that went away is no error: see [`Sink::done`].
struct Patient(Outlet);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Record {
    tally: Tally,
    writer: Writer,
    name: String,
    /// What the writer writes to.
    outlet: Outlet,
    names: Namer,
    records: u64,
}

impl Record {
    fn close(mut self, file: &Path) -> Result<Exit> {
        if let Some(named) = self.names.finish() {
            self.writer.names(&named)?;
        }
        self.writer.finish()?;
        let name = &self.name;
        let cut = match self.outlet.finish() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => None,
            finished => finished.map_err(|error| recording::cannot_write(name, &error))?,
        };
        if self.outlet.failed() == Some(ErrorKind::BrokenPipe) {
            // The reader has had enough.
            return Ok(Exit::Done);
        }
        if let Some(cut) = cut {
            talk(&format!(
                "warning: {name} was written too slowly: its last {} bytes are missing, and it reads up to there",
                thousands(cut.bytes)
            ));
        }
        let summary = self.tally.summary(false);
        let records = thousands(self.records);
        say(&match is_dash(file) {
            true => format!("{records} records written to {name}"),
            false => format!("{records} records in {name}; read them with: twtrace report {name}"),
        });
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
        if let Some(named) = self.names.found() {
            self.writer.names_ahead(&named)?;
        }
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
        self.outlet.failed() == Some(ErrorKind::BrokenPipe)
    }

    fn outlet(&self) -> Option<&Outlet> {
        Some(&self.outlet)
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_error_but_the_end() {
        let (reader, writer) = pipe().unwrap();
        let outlet = Outlet::new(OwnedFd::from(writer).into()).unwrap();
        let mut patient = Patient(outlet.clone());
        patient.write_all(b"one").unwrap();
        drop(reader);
        let deadline = Instant::now() + Duration::from_secs(30);
        while outlet.failed().is_none() {
            assert!(Instant::now() < deadline, "nobody noticed");
            patient.write_all(b"more").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        patient.write_all(b"more").unwrap();
        assert_eq!(outlet.failed(), Some(ErrorKind::BrokenPipe));
    }
}
