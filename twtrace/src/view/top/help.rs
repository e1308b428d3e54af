//! The page that `?` shows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::theme::Theme;

const KEYS: &str = "\
q, Ctrl-C     quit and print the summary
p, space      pause the display; tracing goes on
tab           next panel (shift-tab: previous)
enter, z      only the panel in focus, with more columns
s             sort it by the next column
g             group owners or destinations another way
↑ ↓ k j       scroll it; PgUp, PgDn, Home
/             only rows that contain a text; Esc: all rows
Ctrl-Z        suspend";

const REPLAY: &str = "
+ -           play the recording faster or slower";

const WORDS: &str = "

ALIVE         born since the start and still there; – if not known
/s            per second, over the last 10 s
REFUSED       segments refused because of an old connection
STUCK         clients that sent three SYNs over 3 s, all refused
FULL IN       time until this destination has no local port left
!!            a client or call is kept out, or events are missing";

pub(super) fn draw(replay: bool, area: Rect, theme: &Theme, frame: &mut Frame<'_>) {
    let text = [KEYS, if replay { REPLAY } else { "" }, WORDS].concat();
    let height = text.lines().count() as u16 + 2;
    let width = text.lines().map(|line| line.chars().count()).max();
    let width = width.unwrap_or(0) as u16 + 4;
    let place = area.centered(Constraint::Length(width), Constraint::Length(height));
    let block = Block::bordered()
        .title(" twtrace top ")
        .border_style(theme.head())
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(block), place);
}
