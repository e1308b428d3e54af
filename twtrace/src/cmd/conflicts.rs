//! `twtrace conflicts`: SYNs refused because of an old connection, and the likely cause.

use twtrace_common::settings::{FILTER_CGROUP, FILTER_UID};

use super::live::{self, Moment, Sink};
use super::outlet::Outlet;
use super::output::Output;
use super::replay::{Closing, check_view, renderer};
use crate::cli::{ConflictFound, ConflictsArgs, Questions, View, WhatIfArg};
use crate::decode::decode;
use crate::error::{Error, Exit, Result};
use crate::event::found::Found;
use crate::event::{Meta, Named, Snapshot, Stage};
use crate::host::Names;
use crate::kernel::{LiveConnections, Options};
use crate::model::tally::Detail;
use crate::model::{Conflict, Conflicts, Report, Tally, conflicts};
use crate::view::{Of, Output as Format, Renderer, WhatIf};

pub(super) fn run(args: &ConflictsArgs) -> Result<Exit> {
    let options = options(args)?;
    check_view(&args.view)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let live = live::start(&options, &args.tracing, None)?;
        if !live.meta().refusals {
            return Err(
                Error::new("cannot trace conflicts: refusals are not seen, see above")
                    .hint("`twtrace trace` shows the ends, `nstat -az` the kernel's PAWS counters"),
            );
        }
        let names = Names::of_this_host();
        let mut story = Story::new(&args.view, args.questions, live.meta(), names)?;
        story.live = Some(LiveConnections::default());
        let mut sink = Live {
            story,
            out: Output::live()?.text(args.view.output() == Format::Text),
        };
        sink.story.header(&mut sink.out);
        sink.out.flush()?;
        live.run(&mut sink).await?;
        sink.story.close(&mut sink.out, false)
    })
}

pub(super) fn options(args: &ConflictsArgs) -> Result<Options> {
    let given = super::options(&args.tracing, &args.filters)?;
    Ok(Options {
        quiet_ends: true,
        owners: given.filter.flags & (FILTER_UID | FILTER_CGROUP) != 0,
        rearms: false,
        ..super::with_records(given, &args.ring)
    })
}

struct Live {
    story: Story,
    out: Output,
}

impl Sink for Live {
    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.story.record(record, &mut self.out);
        self.out.spill()
    }

    fn idle(&mut self) -> Result<()> {
        self.out.flush()
    }

    fn found(&mut self, found: Found) -> Result<()> {
        self.story.found(&found);
        Ok(())
    }

    fn totals(&mut self, _moment: Moment, totals: Snapshot) -> Result<()> {
        self.story.totals(totals);
        Ok(())
    }

    fn done(&self) -> bool {
        self.out.closed()
    }

    fn outlet(&self) -> Option<&Outlet> {
        self.out.outlet()
    }
}

/// Conflicts as they happen and their summary, live or from a recording.
pub(super) struct Story {
    tally: Tally,
    conflicts: Conflicts,
    renderer: Renderer,
    format: Format,
    questions: Questions,
    /// Those whose outcome is known, on their way to the view.
    known: Vec<Conflict>,
    /// Live connections can only be asked for while they are there.
    live: Option<LiveConnections>,
}

impl Story {
    pub(super) fn new(
        view: &View,
        questions: Questions,
        meta: &Meta,
        names: Names,
    ) -> Result<Self> {
        Ok(Self {
            tally: Tally::new(meta, Detail::Records),
            conflicts: Conflicts::new(meta),
            renderer: renderer(view, Of::CONFLICTS, meta, names)?,
            format: view.output(),
            questions,
            known: Vec::new(),
            live: None,
        })
    }

    pub(super) fn header(&mut self, out: &mut Output) {
        self.renderer.header(out.buffer());
    }

    pub(super) fn record(&mut self, record: &[u8], out: &mut Output) {
        let Ok(event) = decode(record) else {
            self.tally.undecoded();
            return;
        };
        let Some(mut report) = self.tally.event(event) else {
            return;
        };
        self.ask(&mut report);
        if let Some(shown) = conflicts::told(&report, self.format != Format::Text) {
            self.renderer.event(&shown, out.buffer());
        }
        self.conflicts.event(&report, &mut self.known);
        self.tell(out);
    }

    /// Whose live connection it is that refused a SYN.
    fn ask(&mut self, report: &mut Report) {
        if let (Some(live), Report::Refusal(refused)) = (&mut self.live, report)
            && refused.refusal.stage == Stage::Established
            && refused.refusal.is_syn()
        {
            refused.live = live.ask(&refused.refusal.flow);
        }
    }

    pub(super) fn totals(&mut self, totals: Snapshot) {
        self.tally.snapshot(totals);
    }

    pub(super) fn names(&mut self, named: Named) {
        self.renderer.names(named);
    }

    pub(super) fn found(&mut self, found: &Found) {
        self.renderer.found(found);
    }

    /// Prints the summary. `cut`: the source ended before its end.
    pub(super) fn close(mut self, out: &mut Output, cut: bool) -> Result<Exit> {
        self.conflicts.finish(&mut self.known);
        self.tell(out);
        let what_if = WhatIf {
            recycle: self.questions.what_if == Some(WhatIfArg::Recycle),
        };
        let mut closing = Closing::new(self.format);
        let unseen = self.tally.unseen();
        self.renderer.conflicts(
            &self.conflicts,
            unseen.as_ref(),
            what_if,
            closing.lines(out),
        );
        let summary = self.tally.summary(cut);
        let exit = closing.summary(&mut self.renderer, &summary, out)?;
        let counts = self.conflicts.overview().counts;
        let found = match self.questions.fail_on {
            Some(ConflictFound::Refused) => counts.refused > 0,
            Some(ConflictFound::Stuck) => counts.stuck > 0,
            None => false,
        };
        Ok(if found { Exit::Finding } else { exit })
    }

    fn tell(&mut self, out: &mut Output) {
        for conflict in self.known.drain(..) {
            let report = Report::Conflict(Box::new(conflict));
            self.renderer.event(&report, out.buffer());
        }
    }
}
