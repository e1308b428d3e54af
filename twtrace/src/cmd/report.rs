//! `twtrace report`: a recording in the same views as live.

use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use clap::ValueEnum as _;
use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::SignalKind;

use super::conflicts::Story;
use super::hist::Figures;
use super::output::{Output, say, talk};
use super::ports::Watch;
use super::replay::{Lines, check_view};
use super::signals::Listener;
use super::{files, input, live};
use crate::cli::{Found as Wanted, PortFound, Questions, ReportArgs};
use crate::error::{Error, Exit, Result};
use crate::event::found::Found;
use crate::event::{Named, Snapshot};
use crate::host::Names;
use crate::recording::{Item, Reader};
use crate::view::Output as Format;

/// How long whoever records may take to end before a person is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &ReportArgs) -> Result<Exit> {
    let (questions, fail_on) = asked(args)?;
    check_view(&args.view)?;
    let Some(file) = args.file.as_deref() else {
        return Err(Error::new("no recording is named: <FILE> is missing")
            .hint("try twtrace report --help"));
    };
    let reader = input::recording(file)?;
    if input::is_dash(file) {
        read_to_the_end()?;
    }
    let meta = reader.meta().clone();
    // Those of this host mean others.
    let names = Names::of_recording(Reader::names(file));
    let view = &args.view;
    let out = Output::stdout().text(view.output() == Format::Text);
    if args.hist || args.hgrm.is_some() {
        let hgrm = args.hgrm.as_deref().map(files::open).transpose()?;
        let figures = Figures::new((view, args.grouping), &meta, names, hgrm)?;
        play(figures, reader, file, out)
    } else if args.ports {
        let watch = Watch::new(view, args.grouping.top, fail_on, &meta, names)?;
        play(watch, reader, file, out)
    } else if args.conflicts {
        if !meta.refusals {
            let name = file.display();
            return Err(Error::new(format!("recording {name} holds no refusals"))
                .hint("it was made by a twtrace that did not trace them; its ends can be shown"));
        }
        let story = Story::new(view, questions, &meta, names)?;
        play(story, reader, file, out)
    } else {
        let lines = Lines::new(view, args.grouping, &meta, names)?;
        play(lines, reader, file, out)
    }
}

/// What is asked of the view that is chosen, if that can answer.
fn asked(args: &ReportArgs) -> Result<(Questions, Option<PortFound>)> {
    if args.what_if.is_some() && !args.conflicts {
        return Err(Error::new("--what-if is answered by --conflicts only").hint("add --conflicts"));
    }
    let by_conflicts = args.fail_on.and_then(Wanted::by_conflicts);
    let by_ports = args.fail_on.and_then(Wanted::by_ports);
    let seen = args.conflicts && by_conflicts.is_some() || args.ports && by_ports.is_some();
    if let (Some(wanted), false) = (args.fail_on, seen) {
        let view = match by_ports {
            Some(_) => "--ports",
            None => "--conflicts",
        };
        let name = wanted.to_possible_value();
        let name = name.as_ref().map_or("", |name| name.get_name());
        let error = Error::new(format!("--fail-on {name} is found by {view} only"));
        return Err(match (args.conflicts, args.ports) {
            (true, _) => error.hint("--conflicts finds refused and stuck"),
            (_, true) => error.hint("--ports finds failure and pressure"),
            _ => error.hint(format!("add {view}")),
        });
    }
    let questions = Questions {
        what_if: args.what_if,
        fail_on: by_conflicts,
    };
    Ok((questions, by_ports))
}

/// The first Ctrl-C is meant for whoever records at the other end of the pipe: what that still
/// writes is shown, and the summary. The second one ends this as well.
fn read_to_the_end() -> Result<()> {
    let runtime = live::runtime()?;
    let listener = runtime.block_on(async { Listener::new(SignalKind::interrupt()) });
    let mut listener = listener?;
    let wait = move || {
        runtime.block_on(listener.heard());
        // SAFETY: the default is no handler.
        let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) };
        thread::sleep(PATIENCE);
        say("twtrace: still reading what is recorded; Ctrl-C again ends it at once");
    };
    let thread = thread::Builder::new().name("interrupt".into()).spawn(wait);
    thread
        .map(drop)
        .map_err(|error| Error::new(format!("cannot start a thread: {error}")))
}

/// A view of a recording.
trait View {
    fn header(&mut self, out: &mut Output);
    fn record(&mut self, record: &[u8], out: &mut Output);
    fn totals(&mut self, totals: Snapshot, out: &mut Output);
    fn found(&mut self, found: &Found);
    fn names(&mut self, named: Named);
    fn close(self, out: &mut Output, cut: bool) -> Result<Exit>;
}

fn play(mut view: impl View, mut reader: Reader, file: &Path, mut out: Output) -> Result<Exit> {
    // It may still be recorded: nothing that is there waits for what is to come.
    let live = !is_file(file);
    view.header(&mut out);
    loop {
        if live && reader.must_wait() {
            out.flush()?;
        }
        let Some(item) = reader.next()? else {
            break;
        };
        match item {
            Item::Record(record) => view.record(record, &mut out),
            Item::Snapshot(totals) => view.totals(totals, &mut out),
            Item::Found(found) => view.found(&found),
            Item::Names(named) => view.names(named),
        }
        out.spill()?;
        if out.closed() {
            return Ok(Exit::Done);
        }
    }
    view.close(&mut out, cut(&reader))
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn cut(reader: &Reader) -> bool {
    let cut = reader.truncated();
    if cut {
        talk("warning: the recording was cut; everything up to the cut is shown");
    }
    cut
}

/// Each has all of it; some do without the output.
macro_rules! view {
    ($name:ident, $record:expr, $totals:expr) => {
        impl View for $name {
            fn header(&mut self, out: &mut Output) {
                $name::header(self, out);
            }

            fn record(&mut self, record: &[u8], out: &mut Output) {
                $record(self, record, out);
            }

            fn totals(&mut self, totals: Snapshot, out: &mut Output) {
                $totals(self, totals, out);
            }

            fn found(&mut self, found: &Found) {
                $name::found(self, found);
            }

            fn names(&mut self, named: Named) {
                $name::names(self, named);
            }

            fn close(self, out: &mut Output, cut: bool) -> Result<Exit> {
                $name::close(self, out, cut)
            }
        }
    };
}

view!(Lines, Lines::record, |lines: &mut Lines, totals, _| lines
    .totals(totals));
view!(Story, Story::record, |story: &mut Story, totals, _| story
    .totals(totals));
view!(Watch, Watch::record, Watch::totals);
view!(
    Figures,
    |figures: &mut Figures, record: &[u8], _| figures.record(record),
    |figures: &mut Figures, totals, _| figures.totals(totals)
);
