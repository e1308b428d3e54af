//! One renderer for live traces and replays: events, histograms and summaries in any output.

use std::str::FromStr;

use super::books;
use super::cell::Host;
use super::columns::{self, Of};
use super::conflicts::{self, WhatIf};
use super::csv::Csv;
use super::groups;
use super::histogram::{self, Scope};
use super::json::{self, Json};
use super::kept::Texts;
use super::line::Line;
use super::paint::{HEADING, Paint};
use super::ports::{self, Block, When};
use super::text::Text;
use super::unknown::Unknown;
use crate::event::found::Found;
use crate::event::{Flow, Meta, Named};
use crate::host::{Names, WallClock};
use crate::model::books::Unseen;
use crate::model::groups::Table;
use crate::model::ports::Failed;
use crate::model::{Conflicts, Report, Stats, Summary};

/// The format of the data on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Text,
    Csv,
    Json,
}

impl FromStr for Output {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        match name {
            "text" => Ok(Self::Text),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            other => Err(Unknown {
                what: "output format",
                name: other.to_owned(),
                known: vec!["text", "csv", "json"],
            }),
        }
    }
}

/// What the command line says about the view.
#[derive(Clone, Debug)]
pub struct Options {
    pub output: Output,
    /// `--fields`: keys of columns, separated by commas.
    pub fields: Option<String>,
    pub utc: bool,
    /// Do not shorten IPv6 addresses in text.
    pub wide: bool,
    pub events: Of,
}

/// Writes everything that goes to stdout. Nothing is kept back: what a call appends is complete.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    host: Host,
    line: Line,
    paint: Paint,
}

#[derive(Debug)]
enum Format {
    Text(Text),
    Csv(Csv),
    Json(Json),
}

impl Renderer {
    /// Fails if `--fields` names what does not exist.
    pub fn new(options: &Options, meta: &Meta, names: Names) -> Result<Self, Unknown> {
        let picked = options.fields.as_deref().map(columns::pick).transpose()?;
        let format = match options.output {
            Output::Text => Format::Text(Text::new(
                picked.unwrap_or_else(|| columns::text(options.events)),
                options.wide,
            )),
            Output::Csv => Format::Csv(Csv::new(
                picked.unwrap_or_else(|| columns::data(options.events)),
            )),
            Output::Json => Format::Json(picked.map_or(Json::Schema, Json::Picked)),
        };
        Ok(Self {
            format,
            host: Host {
                names,
                clock: WallClock::new(meta.wall_offset_ns, options.utc),
                texts: Texts::new(),
            },
            line: Line::new(),
            paint: Paint::NONE,
        })
    }

    /// With colours if it is text; CSV and JSON never have any.
    #[must_use]
    pub fn in_colour(mut self, colour: bool) -> Self {
        let text = matches!(self.format, Format::Text(_));
        self.paint = Paint::new(colour && text);
        self
    }

    /// What comes before the first event.
    pub fn header(&self, out: &mut Vec<u8>) {
        let mut line = Line::new();
        match &self.format {
            Format::Text(text) => {
                let mut head = Line::new();
                text.header(&mut head);
                let head = String::from_utf8_lossy(head.as_bytes());
                writeln!(line, "{}", self.paint.on(HEADING, head.trim_end()));
            }
            Format::Csv(csv) => csv.header(&mut line),
            Format::Json(_) => {}
        }
        out.extend_from_slice(line.as_bytes());
    }

    /// One line.
    pub fn event(&mut self, report: &Report, out: &mut Vec<u8>) {
        match &mut self.format {
            Format::Text(text) => text.event(report, self.paint, &mut self.host, &mut self.line),
            Format::Csv(csv) => csv.event(report, &mut self.host, &mut self.line),
            Format::Json(json) => json.event(report, &mut self.host, &mut self.line),
        }
        self.finish(out);
    }

    /// What comes before the first histogram.
    pub fn histogram_header(&self, out: &mut Vec<u8>) {
        let mut line = Line::new();
        if matches!(self.format, Format::Csv(_)) {
            histogram::csv_header(&mut line);
        }
        out.extend_from_slice(line.as_bytes());
    }

    /// The lifetimes of an interval, or of the whole trace.
    pub fn histogram(&mut self, stats: &Stats, scope: Scope, out: &mut Vec<u8>) {
        match self.format {
            Format::Text(_) => {
                let (clock, line) = (&mut self.host.clock, &mut self.line);
                histogram::text(stats, scope, self.paint, clock, line);
            }
            Format::Csv(_) => histogram::csv(stats, scope, &mut self.line),
            Format::Json(_) => histogram::json(stats, scope, &mut self.line),
        }
        self.finish(out);
    }

    /// What comes before the first groups, where they are the data.
    pub fn groups_header(&self, out: &mut Vec<u8>) {
        let mut line = Line::new();
        if matches!(self.format, Format::Csv(_)) {
            groups::csv_header(&mut line);
        }
        out.extend_from_slice(line.as_bytes());
    }

    /// The groups of an interval, or of the whole trace.
    pub fn groups(&mut self, table: &Table, scope: Scope, out: &mut Vec<u8>) {
        match &mut self.format {
            Format::Text(_) => {
                groups::text(table, scope, self.paint, &mut self.host, &mut self.line);
            }
            Format::Csv(_) => groups::csv(table, scope, &mut self.host, &mut self.line),
            Format::Json(_) => groups::json(table, scope, &mut self.host, &mut self.line),
        }
        self.finish(out);
    }

    /// The groups of the whole trace where other things are the data. For CSV they are for people.
    pub fn groups_beside(&mut self, table: &Table, out: &mut Vec<u8>) {
        match &mut self.format {
            Format::Text(_) | Format::Csv(_) => {
                groups::text(
                    table,
                    Scope::Total,
                    self.paint,
                    &mut self.host,
                    &mut self.line,
                );
            }
            Format::Json(_) => groups::json(table, Scope::Total, &mut self.host, &mut self.line),
        }
        self.finish(out);
    }

    /// Looks up the cgroup of an event, so that it has its name when it is gone.
    pub fn note(&mut self, flow: &Flow) {
        if let Some(id) = flow.cgroup {
            self.host.names.cgroup(id);
        }
    }

    /// Adds names that a recording holds.
    pub fn names(&mut self, named: Named) {
        self.host.names.add(named);
    }

    /// Takes what was found beside the events.
    pub fn found(&mut self, found: &Found) {
        self.host.found(found);
    }

    /// The conflicts by remote address, and all together. For CSV they are for people.
    pub fn conflicts(
        &mut self,
        conflicts: &Conflicts,
        unseen: Option<&Unseen>,
        what_if: WhatIf,
        out: &mut Vec<u8>,
    ) {
        match self.format {
            Format::Text(_) | Format::Csv(_) => {
                let (names, line) = (&mut self.host.names, &mut self.line);
                conflicts::text(conflicts, unseen, what_if, self.paint, names, line);
            }
            Format::Json(_) => conflicts::json(conflicts, unseen, what_if, &mut self.line),
        }
        self.finish(out);
    }

    /// What comes before the first block of ports.
    pub fn ports_header(&self, out: &mut Vec<u8>) {
        let mut line = Line::new();
        if matches!(self.format, Format::Csv(_)) {
            ports::csv_header(&mut line);
        }
        out.extend_from_slice(line.as_bytes());
    }

    /// The use of ports at one moment.
    pub fn ports(&mut self, block: &Block, out: &mut Vec<u8>) {
        match self.format {
            Format::Text(_) if block.when == When::Warning => {
                ports::warnings(block, self.paint, &mut self.host, &mut self.line);
            }
            Format::Text(_) => ports::text(block, self.paint, &mut self.host, &mut self.line),
            Format::Csv(_) => ports::csv(block, &mut self.line),
            Format::Json(_) => ports::json(block, &mut self.line),
        }
        self.finish(out);
    }

    /// A call that got no port, in a sentence for people.
    pub fn failed(&mut self, failed: &Failed, out: &mut Vec<u8>) {
        ports::failure(failed, self.paint, &mut self.host, &mut self.line);
        self.finish(out);
    }

    /// The closing lines. For CSV they are for people, and belong on stderr.
    pub fn summary(&mut self, summary: &Summary, out: &mut Vec<u8>) {
        match self.format {
            Format::Text(_) | Format::Csv(_) => {
                let (names, line) = (&mut self.host.names, &mut self.line);
                books::text(summary, self.paint, names, line);
            }
            Format::Json(_) => json::summary(summary, &mut self.line),
        }
        self.finish(out);
    }

    /// The same in text without colours, whatever the format of the data.
    pub fn summary_for_people(&mut self, summary: &Summary, out: &mut Vec<u8>) {
        let (names, line) = (&mut self.host.names, &mut self.line);
        books::text(summary, Paint::NONE, names, line);
        self.finish(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line.as_bytes());
        self.line.clear();
    }
}
