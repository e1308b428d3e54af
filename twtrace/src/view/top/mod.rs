//! The full screen of `top`, and the same as plain text.

mod grid;
mod help;
mod keys;
mod overview;
mod panels;
mod places;
mod theme;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use crate::event::found::Found;
use crate::event::{Meta, Named};
use crate::host::{Names, WallClock};
use crate::model::dashboard::Figures;
use crate::view::cell::Host;
use crate::view::kept::Texts;

pub use keys::{Act, Look};
pub use panels::Panel;
use theme::Theme;

/// What turns the figures of one trace into a screen.
#[derive(Debug)]
pub struct Screen {
    host: Host,
    /// `uname -r`, and how it is traced.
    about: String,
    theme: Theme,
}

/// How far a recording was played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Playing {
    /// The playback speed factor.
    pub speed: f64,
    /// All of it was played.
    pub over: bool,
}

impl Screen {
    #[must_use]
    pub fn new(meta: &Meta, names: Names, utc: bool, colour: bool) -> Self {
        Self {
            host: Host {
                names,
                clock: WallClock::new(meta.wall_offset_ns, utc),
                texts: Texts::new(),
            },
            about: format!("{} · {}", meta.kernel, meta.attach),
            theme: Theme::new(colour),
        }
    }

    /// Adds names, such as a recording holds.
    pub fn names(&mut self, named: Named) {
        self.host.names.add(named);
    }

    /// Takes what was found beside the events.
    pub fn found(&mut self, found: &Found) {
        self.host.found(found);
    }

    /// The names that it knows.
    #[must_use]
    pub fn into_names(self) -> Names {
        self.host.names
    }

    /// Draws everything. `playing`: of a recording.
    pub fn draw(
        &mut self,
        figures: &Figures,
        look: &Look,
        playing: Option<Playing>,
        frame: &mut Frame<'_>,
    ) {
        let area = frame.area();
        let facts = overview::facts(figures, &mut self.host, &self.theme, area.width);
        let [title, top, middle, bottom] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(facts.len() as u16),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        let said = overview::Said {
            figures,
            look,
            playing,
            about: &self.about,
        };
        frame.render_widget(
            overview::title(&said, &mut self.host.clock, &self.theme),
            title,
        );
        for (line, row) in facts.into_iter().zip(top.rows()) {
            frame.render_widget(line, row);
        }
        self.panels(figures, look, middle, frame);
        frame.render_widget(
            overview::footer(look, playing.is_some(), &self.theme),
            bottom,
        );
        if look.help() {
            help::draw(playing.is_some(), area, &self.theme, frame);
        }
    }

    /// The same as plain text, without what needs keys; lines end where their text does.
    pub fn text(
        &mut self,
        figures: &Figures,
        look: &Look,
        playing: Option<Playing>,
        (width, height): (u16, u16),
    ) -> String {
        // A backend in memory has no errors.
        let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
        let Ok(_) = terminal.draw(|frame| self.draw(figures, look, playing, frame));
        text_of(terminal.backend().buffer())
    }

    fn panels(&mut self, figures: &Figures, look: &Look, area: Rect, frame: &mut Frame<'_>) {
        let places = places::places(area).filter(|_| !look.zoomed());
        for (panel, place) in places.unwrap_or_else(|| vec![(look.shown(), area)]) {
            self.panel(panel, figures, look, place, frame);
        }
    }

    fn panel(
        &mut self,
        panel: Panel,
        figures: &Figures,
        look: &Look,
        area: Rect,
        frame: &mut Frame<'_>,
    ) {
        let grid = panels::grid(panel, figures, &mut self.host);
        grid.draw(look.of(panel), area, &self.theme, frame);
    }
}

/// What a buffer shows, line by line.
fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.area.rows() {
        let start = text.len();
        for place in row.columns() {
            text.push_str(buffer[place.as_position()].symbol());
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
    text
}
