//! What `conflicts` shows of events, as the program does it.

use twtrace::event::Meta;
use twtrace::host::Names;
use twtrace::model::conflicts::told;
use twtrace::model::{Conflict, Conflicts, Report, Tally};
use twtrace::view::{Of, Output, Renderer, WhatIf};

use crate::support::options;

pub(crate) struct Shown {
    pub(crate) renderer: Renderer,
    pub(crate) out: Vec<u8>,
    conflicts: Conflicts,
    known: Vec<Conflict>,
    /// Not text, which leaves some events out.
    all: bool,
}

impl Shown {
    pub(crate) fn new(meta: &Meta, output: Output) -> Self {
        let options = options(output, Of::CONFLICTS);
        Self {
            renderer: Renderer::new(&options, meta, Names::none()).unwrap(),
            out: Vec::new(),
            conflicts: Conflicts::new(meta),
            known: Vec::new(),
            all: output != Output::Text,
        }
    }

    pub(crate) fn event(&mut self, report: &Report) {
        if let Some(shown) = told(report, self.all) {
            self.renderer.event(&shown, &mut self.out);
        }
        self.conflicts.event(report, &mut self.known);
        self.tell();
    }

    pub(crate) fn end(&mut self, tally: &Tally, what_if: WhatIf) {
        self.conflicts.finish(&mut self.known);
        self.tell();
        let unseen = tally.unseen();
        let (conflicts, out) = (&self.conflicts, &mut self.out);
        self.renderer
            .conflicts(conflicts, unseen.as_ref(), what_if, out);
    }

    fn tell(&mut self) {
        for conflict in self.known.drain(..) {
            let report = Report::Conflict(Box::new(conflict));
            self.renderer.event(&report, &mut self.out);
        }
    }
}
