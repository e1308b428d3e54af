//! `twtrace report`: a recording in the same views as live.

use super::conflicts::{Story, check_questions};
use super::hist::Figures;
use super::output::{Output, talk};
use super::ports::Watch;
use super::replay::Lines;
use crate::cli::ReportArgs;
use crate::error::{Error, Exit, Result};
use crate::host::Names;
use crate::recording::{Item, Reader};

pub(super) fn run(args: &ReportArgs) -> Result<Exit> {
    let about_ports = args.ports && args.questions.what_if.is_none();
    if args.questions.any() && !args.conflicts && !about_ports {
        return Err(
            Error::new("--what-if and --fail-on ask about conflicts or ports")
                .hint("add --conflicts or --ports"),
        );
    }
    let mut reader = Reader::open(&args.file)?;
    let mut out = Output::stdout();
    if args.hist || args.hgrm.is_some() {
        histograms(args, &mut reader, &mut out)
    } else if args.ports {
        ports(args, &mut reader, &mut out)
    } else if args.conflicts {
        conflicts(args, &mut reader, &mut out)
    } else {
        lines(args, &mut reader, &mut out)
    }
}

/// The names that the recording holds: those of this host mean others.
fn names(args: &ReportArgs) -> Names {
    Names::of_recording(Reader::names(&args.file))
}

fn lines(args: &ReportArgs, reader: &mut Reader, out: &mut Output) -> Result<Exit> {
    let mut lines = Lines::new(&args.view, args.grouping, reader.meta(), names(args))?;
    lines.header(out);
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => lines.record(record, out),
            Item::Snapshot(totals) => lines.totals(totals),
            Item::Found(found) => lines.found(&found),
            Item::Names(named) => lines.names(named),
        }
        out.spill()?;
        if out.closed() {
            return Ok(Exit::Done);
        }
    }
    lines.close(out, cut(reader))
}

fn ports(args: &ReportArgs, reader: &mut Reader, out: &mut Output) -> Result<Exit> {
    let mut watch = Watch::new(
        &args.view,
        args.grouping.top,
        args.questions.fail_on,
        reader.meta(),
        names(args),
    )?;
    watch.header(out);
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => watch.record(record, out),
            Item::Snapshot(totals) => watch.totals(totals, out),
            Item::Found(found) => watch.found(&found),
            Item::Names(named) => watch.names(named),
        }
        out.spill()?;
        if out.closed() {
            return Ok(Exit::Done);
        }
    }
    watch.close(out, cut(reader))
}

fn conflicts(args: &ReportArgs, reader: &mut Reader, out: &mut Output) -> Result<Exit> {
    if !reader.meta().refusals {
        let name = args.file.display();
        return Err(Error::new(format!("recording {name} holds no refusals"))
            .hint("it was made by a twtrace that did not trace them; its ends can be shown"));
    }
    check_questions(args.questions)?;
    let mut story = Story::new(&args.view, args.questions, reader.meta(), names(args))?;
    story.header(out);
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => story.record(record, out),
            Item::Snapshot(totals) => story.totals(totals),
            Item::Found(found) => story.found(&found),
            Item::Names(named) => story.names(named),
        }
        out.spill()?;
        if out.closed() {
            return Ok(Exit::Done);
        }
    }
    story.close(out, cut(reader))
}

fn histograms(args: &ReportArgs, reader: &mut Reader, out: &mut Output) -> Result<Exit> {
    let mut figures = Figures::new(
        (&args.view, args.grouping),
        reader.meta(),
        names(args),
        args.hgrm.as_deref(),
    )?;
    figures.header(out);
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => figures.record(record),
            Item::Snapshot(totals) => figures.totals(totals),
            Item::Names(named) => figures.names(named),
            Item::Found(found) => figures.found(&found),
        }
    }
    figures.close(out, cut(reader))
}

fn cut(reader: &Reader) -> bool {
    let cut = reader.truncated();
    if cut {
        talk("warning: the recording was cut; everything up to the cut is shown");
    }
    cut
}
