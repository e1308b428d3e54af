//! A manual page: sections of our own, written through `roff`, and those of clap_mangen.

use std::io;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::Man;
use jiff::Timestamp;
use roff::{Inline, Roff};

use crate::documents::inlines;
use crate::values;

/// When the page was made, and of what version. The same sources give the same page.
pub(crate) struct Stamp {
    pub(crate) date: String,
    pub(crate) version: &'static str,
}

impl Stamp {
    /// Of the day that `SOURCE_DATE_EPOCH` says (reproducible-builds.org).
    pub(crate) fn of_environment() -> Result<Self> {
        let seconds = std::env::var("SOURCE_DATE_EPOCH")
            .context("the date of the pages is not set: SOURCE_DATE_EPOCH")?;
        let seconds = seconds.trim().parse();
        Self::of_seconds(seconds.context("SOURCE_DATE_EPOCH is no number of seconds")?)
    }

    pub(crate) fn of_seconds(seconds: i64) -> Result<Self> {
        let date = Timestamp::from_second(seconds)?;
        Ok(Self {
            date: date.strftime("%Y-%m-%d").to_string(),
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

/// A page as it grows.
pub(crate) struct Page {
    man: Man,
    text: String,
}

type Rendered = fn(&Man, &mut dyn io::Write) -> io::Result<()>;

impl Page {
    /// With its title; the name is that of the file.
    pub(crate) fn new(command: &Command, name: &str, stamp: &Stamp) -> Result<Self> {
        let man = Man::new(values::told(command))
            .title(name.to_uppercase())
            .date(stamp.date.clone())
            .source(format!("twtrace {}", stamp.version))
            .manual("User Commands");
        let mut page = Self {
            man,
            text: Roff::new().render(),
        };
        page.of_clap(Man::render_title)?;
        Ok(page)
    }

    /// What clap_mangen makes of the definition.
    pub(crate) fn of_clap(&mut self, render: Rendered) -> Result<()> {
        let mut bytes = Vec::new();
        render(&self.man, &mut bytes)?;
        self.append(&String::from_utf8(bytes)?);
        Ok(())
    }

    /// A section of our own.
    pub(crate) fn section(&mut self, name: &str, body: &Body) {
        self.append(&Roff::new().control("SH", [name]).render());
        self.append(&body.0.render());
    }

    /// Each rendering begins with the same lines, which a page needs once.
    fn append(&mut self, rendered: &str) {
        let preamble = Roff::new().render();
        self.text += rendered.strip_prefix(&preamble).unwrap_or(rendered);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// What is in a section.
#[derive(Default)]
pub(crate) struct Body(Roff);

impl Body {
    /// A paragraph; `code` is bold, *emphasis* italic.
    pub(crate) fn paragraph(&mut self, markdown: &str) -> &mut Self {
        self.0.control("PP", []);
        self.0.text(inlines(markdown));
        self
    }

    /// The first paragraph, which needs no space above it.
    pub(crate) fn text(&mut self, inlines: Vec<Inline>) -> &mut Self {
        self.0.text(inlines);
        self
    }

    /// An entry of a list: a term, and what it means.
    pub(crate) fn item(&mut self, term: Vec<Inline>, meaning: Vec<Inline>) -> &mut Self {
        if meaning.is_empty() {
            self.0.control("PP", []);
            self.0.text(term);
        } else {
            self.0.control("TP", []);
            self.0.text(term);
            self.0.text(meaning);
        }
        self
    }
}
