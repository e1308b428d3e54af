//! Styles. Nothing is told by colour alone: what matters has a word or a sign of its own.

use ratatui::style::{Color, Modifier, Style};

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    colour: bool,
}

impl Theme {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Figures of the first lines.
    pub(super) fn figure(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Heads of tables.
    pub(super) fn head(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The head of the table that keys act on.
    pub(super) fn focus(self) -> Style {
        self.head().add_modifier(Modifier::REVERSED)
    }

    /// The first and the last line.
    pub(super) fn frame(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What keeps somebody out, or is missing.
    pub(super) fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is less than a row.
    pub(super) fn faint(self) -> Style {
        self.coloured(Color::DarkGray)
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
