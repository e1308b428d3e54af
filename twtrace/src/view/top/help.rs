//! The page that `?` shows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::theme::Theme;

const KEYS: &str = "\
q, Ctrl-C     quit; the books are printed then
p, space      pause: the figures stand still, tracing goes on
tab           next panel (shift-tab: the one before)
enter, z      the panel in focus alone, with more of its columns
s             sort it by its next column
g             tell owners or destinations apart in another way
↑ ↓ k j       scroll it; PgUp, PgDn, Home
/             only rows of the long tables with this text; Esc: all
Ctrl-Z        to the background";

const REPLAY: &str = "
+ -           play the recording faster, slower";

const WORDS: &str = "

ALIVE         born since the start and not ended; – if births are not known
/s            per second, over the last 10 s
REFUSED       segments that an old connection's mini-socket kept out
STUCK         clients that sent three SYNs over 3 s, all refused
FULL IN       until no local port is left for this destination
!!            somebody is kept out, or something is missing";

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
