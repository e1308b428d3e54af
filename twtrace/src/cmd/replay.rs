//! What live traces and recordings share: records to lines, totals to books. They differ only in
//! where the records come from.

use super::groups::Grouped;
use super::manner;
use super::output::{Output, talk};
use crate::cli::{Grouping, View};
use crate::decode::decode;
use crate::error::{Exit, Result};
use crate::event::found::Found;
use crate::event::{Meta, Named, Snapshot};
use crate::host::Names;
use crate::model::tally::Detail;
use crate::model::{Summary, Tally};
use crate::view::{Of, Options, Output as Format, Renderer, columns};

/// The views as the command line wants them.
pub(super) fn renderer(view: &View, events: Of, meta: &Meta, names: Names) -> Result<Renderer> {
    let options = Options {
        output: view.output(),
        fields: view.fields.clone(),
        utc: view.utc,
        wide: view.wide,
        events,
    };
    Ok(Renderer::new(&options, meta, names)?.in_colour(manner::colour()))
}

/// Says at once what is wrong with the view, before anything is attached for it.
pub(super) fn check_view(view: &View) -> Result<()> {
    if let Some(fields) = &view.fields {
        columns::pick(fields)?;
    }
    Ok(())
}

/// Events as lines.
pub(super) struct Lines {
    tally: Tally,
    groups: Option<Grouped>,
    renderer: Renderer,
    format: Format,
}

impl Lines {
    pub(super) fn new(view: &View, grouping: Grouping, meta: &Meta, names: Names) -> Result<Self> {
        Ok(Self {
            tally: Tally::new(meta, Detail::Records),
            groups: Grouped::new(grouping, meta),
            renderer: renderer(view, Of::TRACE, meta, names)?,
            format: view.output(),
        })
    }

    pub(super) fn header(&mut self, out: &mut Output) {
        self.renderer.header(out.buffer());
    }

    pub(super) fn record(&mut self, record: &[u8], out: &mut Output) {
        match decode(record) {
            Ok(event) => {
                let report = self.tally.event(event);
                if let Some(groups) = &mut self.groups {
                    self.renderer.note(event.flow());
                    groups.count(&event, report.as_ref());
                }
                if let Some(report) = report {
                    self.renderer.event(&report, out.buffer());
                }
            }
            Err(_) => self.tally.undecoded(),
        }
    }

    pub(super) fn totals(&mut self, totals: Snapshot) {
        if let Some(groups) = &mut self.groups {
            groups.totals(&totals);
        }
        self.tally.snapshot(totals);
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

    /// Prints groups and summary. `cut`: the source ended before its end.
    pub(super) fn close(mut self, out: &mut Output, cut: bool) -> Result<Exit> {
        let summary = self.tally.summary(cut);
        let mut closing = Closing::new(self.format);
        if let Some(groups) = self.groups {
            let table = groups.total(&summary);
            self.renderer.groups_beside(&table, closing.lines(out));
        }
        closing.summary(&mut self.renderer, &summary, out)
    }
}

/// What comes after the last line of data. Beside CSV it is for people, on stderr.
pub(super) struct Closing {
    talk: Option<Vec<u8>>,
}

impl Closing {
    pub(super) fn new(format: Format) -> Self {
        Self {
            talk: (format == Format::Csv).then(Vec::new),
        }
    }

    /// Where the views append.
    pub(super) fn lines<'a>(&'a mut self, out: &'a mut Output) -> &'a mut Vec<u8> {
        match &mut self.talk {
            Some(lines) => lines,
            None => out.buffer(),
        }
    }

    /// Prints the summary and says with the exit code whether anything was lost.
    pub(super) fn summary(
        mut self,
        renderer: &mut Renderer,
        summary: &Summary,
        out: &mut Output,
    ) -> Result<Exit> {
        renderer.summary(summary, self.lines(out));
        let cut = out.finish()?;
        if let Some(cut) = cut {
            talk(&cut.warning());
            // It was cut off as well.
            let lines = self.talk.get_or_insert_default();
            if lines.is_empty() {
                renderer.summary_for_people(summary, lines);
            }
        }
        // Of what is as it should be, who wants quiet wants to hear nothing.
        let agrees = summary.books.agrees() != Some(false);
        let well = summary.complete() && cut.is_none() && agrees;
        if let Some(lines) = self.talk.filter(|_| !(well && manner::is_quiet())) {
            talk(String::from_utf8_lossy(&lines).trim_end());
        }
        Ok(if summary.complete() && cut.is_none() {
            Exit::Done
        } else {
            Exit::Incomplete
        })
    }
}
