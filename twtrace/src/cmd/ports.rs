//! `twtrace ports`: which destination is about to run out of local ports, and who got none.

use std::time::Duration;

use super::live::{self, Moment, Sink};
use super::outlet::Outlet;
use super::output::{Output, talk};
use super::replay::{Closing, check_view, renderer};
use crate::cli::{PortFound, PortsArgs, View};
use crate::decode::decode;
use crate::error::{Error, Exit, Result};
use crate::event::found::{Found, PortLook};
use crate::event::{Event, Meta, Named, Snapshot};
use crate::host::Names;
use crate::kernel::{Options, monotonic_ns};
use crate::model::ports::{Failed, Row};
use crate::model::tally::Detail;
use crate::model::{Ports, Report, Tally};
use crate::view::{Block, Of, Output as Format, Renderer, When};

/// How often destinations are looked through for one that has come under pressure, and ports for
/// what holds them.
const LOOK_NS: u64 = 1_000_000_000;
/// Failures that may wait until their port has been looked at, and how long.
const MOST_WAITING: usize = 64;
const PATIENCE_NS: u64 = 2_000_000_000;
/// Mini-sockets are not listed again sooner than this.
const LISTING_PAUSE_NS: u64 = 30_000_000_000;

pub(super) fn run(args: &PortsArgs) -> Result<Exit> {
    let options = options(args)?;
    check_view(&args.view)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let every = Duration::from_secs(args.interval);
        let live = live::start(&options, &args.tracing, Some(every))?;
        let names = Names::of_this_host();
        let mut sink = Live {
            watch: Watch {
                looks: true,
                ..Watch::new(&args.view, args.top, args.fail_on, live.meta(), names)?
            },
            out: Output::live()?.text(args.view.output() == Format::Text),
            left: args.count,
            listed_ns: 0,
            asked_ns: 0,
        };
        sink.watch.header(&mut sink.out);
        sink.out.flush()?;
        live.run(&mut sink).await?;
        sink.watch.close(&mut sink.out, false)
    })
}

pub(super) fn options(args: &PortsArgs) -> Result<Options> {
    let given = super::options(&args.tracing, &args.filters)?;
    Ok(Options {
        births: true,
        ports: true,
        refusals: false,
        drops: false,
        reopens: false,
        rearms: false,
        ..super::with_records(given, &args.ring)
    })
}

struct Live {
    watch: Watch,
    out: Output,
    /// Intervals still to come, if limited.
    left: Option<u64>,
    /// When mini-sockets were last listed.
    listed_ns: u64,
    /// When ports were last asked for.
    asked_ns: u64,
}

impl Sink for Live {
    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.watch.record(record, &mut self.out);
        self.out.spill()
    }

    fn idle(&mut self) -> Result<()> {
        self.watch.look(monotonic_ns(), &mut self.out);
        self.out.flush()
    }

    fn found(&mut self, found: Found) -> Result<()> {
        if let Found::ListingOver { at_ns } = found {
            self.listed_ns = at_ns;
        }
        self.watch.found(&found);
        Ok(())
    }

    fn wants_survey(&mut self) -> Vec<u32> {
        self.watch.ports.unsurveyed()
    }

    /// Each look lists sockets, so there are few in a second.
    fn wants_port(&mut self) -> Vec<(u32, u16)> {
        let now_ns = monotonic_ns();
        if now_ns < self.asked_ns + LOOK_NS {
            return Vec::new();
        }
        let ports = self.watch.ports.unlooked();
        if !ports.is_empty() {
            self.asked_ns = now_ns;
        }
        ports
    }

    fn port(&mut self, look: PortLook) -> Result<()> {
        self.watch.port(&look, &mut self.out);
        self.out.flush()
    }

    fn wants_listing(&self) -> bool {
        self.watch.ports.wants_listing() && monotonic_ns() > self.listed_ns + LISTING_PAUSE_NS
    }

    fn totals(&mut self, moment: Moment, totals: Snapshot) -> Result<()> {
        self.watch.totals(totals, &mut self.out);
        match moment {
            // The first screen does not wait for the first interval.
            Moment::Listed => self.watch.block(When::Interval, &mut self.out),
            Moment::Interval => {
                self.watch.block(When::Interval, &mut self.out);
                self.left = self.left.map(|left| left - 1);
            }
            Moment::Start | Moment::Doubt | Moment::End => {}
        }
        self.out.flush()
    }

    fn done(&self) -> bool {
        self.out.closed() || self.left == Some(0)
    }

    fn outlet(&self) -> Option<&Outlet> {
        self.out.outlet()
    }
}

/// The use of ports as it changes and its summary, live or from a recording.
pub(super) struct Watch {
    ports: Ports,
    tally: Tally,
    renderer: Renderer,
    format: Format,
    top: usize,
    fail_on: Option<PortFound>,
    /// A destination was under pressure.
    pressed: bool,
    looked_ns: u64,
    /// Ports that bind() did not get are looked at.
    looks: bool,
    /// Failures that wait for that.
    waiting: Vec<Failed>,
}

impl Watch {
    pub(super) fn new(
        view: &View,
        top: u16,
        fail_on: Option<PortFound>,
        meta: &Meta,
        names: Names,
    ) -> Result<Self> {
        if !meta.births {
            return Err(Error::new("the recording does not tell of births")
                .hint("it was made by a twtrace that did not record them"));
        }
        if !meta.ports {
            talk("warning: calls that get no port are not seen");
        }
        Ok(Self {
            ports: Ports::new(meta),
            tally: Tally::new(meta, Detail::Records),
            renderer: renderer(view, Of::PORTS, meta, names)?,
            format: view.output(),
            top: top.into(),
            fail_on,
            pressed: false,
            looked_ns: 0,
            looks: false,
            waiting: Vec::new(),
        })
    }

    pub(super) fn header(&mut self, out: &mut Output) {
        self.renderer.ports_header(out.buffer());
    }

    pub(super) fn record(&mut self, record: &[u8], out: &mut Output) {
        let Ok(event) = decode(record) else {
            self.tally.undecoded();
            return;
        };
        let failed = self.ports.event(&event);
        let report = self.tally.event(event);
        match failed {
            Some(failed) if self.waits(&failed) => self.waiting.push(failed),
            Some(failed) => self.failed(&failed, out),
            None => {}
        }
        if let (Format::Json, Some(report @ (Report::PortFailure(_) | Report::Overflow(_)))) =
            (self.format, report)
        {
            self.renderer.event(&report, out.buffer());
        }
        // A recording has no clock but this.
        if !matches!(event, Event::Seed(_)) {
            self.look(event.at_ns(), out);
        }
    }

    fn waits(&self, failed: &Failed) -> bool {
        self.looks && failed.holders.is_some() && self.waiting.len() < MOST_WAITING
    }

    /// Tells of a call that got no port; programs have its event.
    fn failed(&mut self, failed: &Failed, out: &mut Output) {
        match self.format {
            Format::Text => self.renderer.failed(failed, out.buffer()),
            Format::Csv => {
                let mut line = Vec::new();
                self.renderer.failed(failed, &mut line);
                talk(String::from_utf8_lossy(&line).trim_end());
            }
            Format::Json => {}
        }
    }

    /// Takes what was seen on a port, and tells of the failures that waited for it.
    fn port(&mut self, look: &PortLook, out: &mut Output) {
        self.ports.looked(look);
        let of = |failed: &Failed| {
            let flow = &failed.failure.flow;
            (flow.netns, flow.lport) == (look.netns, look.port)
        };
        let waiting = std::mem::take(&mut self.waiting);
        let (seen, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(of);
        self.waiting = waiting;
        for failed in seen {
            self.failed(&self.ports.again(failed), out);
        }
    }

    /// Tells of failures that have waited for too long.
    fn late(&mut self, now_ns: u64, out: &mut Output) {
        let is_late = |failed: &Failed| now_ns > failed.failure.at_ns + PATIENCE_NS;
        let waiting = std::mem::take(&mut self.waiting);
        let (late, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_late);
        self.waiting = waiting;
        for failed in late {
            self.failed(&failed, out);
        }
    }

    pub(super) fn found(&mut self, found: &Found) {
        self.ports.found(found);
        self.renderer.found(found);
    }

    /// Names that a recording brought along.
    pub(super) fn names(&mut self, named: Named) {
        self.renderer.names(named);
    }

    pub(super) fn totals(&mut self, totals: Snapshot, out: &mut Output) {
        self.look(totals.at_ns, out);
        self.ports.snapshot(&totals);
        self.tally.snapshot(totals);
    }

    /// Tells of destinations that have come under pressure.
    fn look(&mut self, now_ns: u64, out: &mut Output) {
        if now_ns < self.looked_ns + LOOK_NS {
            return;
        }
        self.looked_ns = now_ns;
        self.late(now_ns, out);
        let rows = self.ports.tick(now_ns);
        if rows.is_empty() {
            return;
        }
        self.pressed = true;
        let block = self.block_of(When::Warning, rows);
        self.renderer.ports(&block, out.buffer());
    }

    fn block(&mut self, when: When, out: &mut Output) {
        let rows = match when {
            When::Total => self.ports.worst(self.top),
            When::Interval | When::Warning => self.ports.rows(self.top),
        };
        let block = self.block_of(when, rows);
        self.renderer.ports(&block, out.buffer());
    }

    fn block_of(&self, when: When, rows: Vec<Row>) -> Block {
        let population = self.ports.population();
        let named = match when {
            When::Warning => Vec::new(),
            When::Interval | When::Total => self.ports.named(self.top),
        };
        Block {
            at_ns: self.looked_ns.max(self.ports.latest_ns()),
            when,
            more: self.ports.in_use().saturating_sub(rows.len()),
            rows: [rows, named].concat(),
            population: population.rows(),
            alive: population.alive(),
            uncertain: self.ports.uncertain(),
            listed: population.is_listed(),
        }
    }

    /// Prints the summary. `cut`: the source ended before its end.
    pub(super) fn close(mut self, out: &mut Output, cut: bool) -> Result<Exit> {
        self.late(u64::MAX, out);
        self.block(When::Total, out);
        let summary = self.tally.summary(cut);
        let exit = Closing::new(self.format).summary(&mut self.renderer, &summary, out)?;
        let found = match self.fail_on {
            Some(PortFound::Failure) => self.ports.failures() > 0,
            Some(PortFound::Pressure) => self.pressed || self.ports.failures() > 0,
            None => false,
        };
        Ok(if found { Exit::Finding } else { exit })
    }
}
