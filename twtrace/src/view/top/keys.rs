//! What keys do: what is shown and how, and what the command has to do about it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::grid::Choice;
use super::panels::Panel;
use crate::model::dashboard::{DESTINATIONS, OWNERS, ROWS};
use crate::model::groups::By;

const PANELS: usize = Panel::ALL.len();
/// Longest filter.
const MOST: usize = 64;

/// What the user chose to see.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Index of the panel that keys act on; `None` where there are no keys.
    focus: Option<usize>,
    zoomed: bool,
    help: bool,
    paused: bool,
    /// The filter is being typed.
    typing: bool,
    filter: String,
    sort: [Option<usize>; PANELS],
    /// How often owners and destinations were told apart in another way.
    groups: [usize; 2],
    scrolled: [usize; PANELS],
}

/// What is to be done about a key beside drawing again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Draw,
    /// Owners or destinations are to be told apart in another way, see [`Look::groups`].
    Group,
    Quit,
    /// To the background, as with any other program.
    Suspend,
    Faster,
    Slower,
}

impl Look {
    /// Without keys: everything, as the model has it.
    #[must_use]
    pub fn fixed() -> Self {
        Self::default()
    }

    /// For a person with keys.
    #[must_use]
    pub fn with_keys() -> Self {
        Self {
            focus: Some(0),
            ..Self::default()
        }
    }

    /// Tells owners or ends apart like this.
    #[must_use]
    pub fn group_by(mut self, by: By) -> Self {
        let ways = [OWNERS, DESTINATIONS];
        for (ways, shown) in ways.iter().zip(&mut self.groups) {
            let index = ways.iter().position(|way| *way == by);
            *shown = index.unwrap_or(*shown);
        }
        self
    }

    /// The figures stand still.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// The ways in which owners and destinations are told apart, ever larger numbers.
    #[must_use]
    pub fn groups(&self) -> [usize; 2] {
        self.groups
    }

    pub(super) fn help(&self) -> bool {
        self.help
    }

    pub(super) fn zoomed(&self) -> bool {
        self.zoomed
    }

    /// The filter, and whether it is being typed.
    pub(super) fn filter(&self) -> (&str, bool) {
        (&self.filter, self.typing)
    }

    pub(super) fn has_keys(&self) -> bool {
        self.focus.is_some()
    }

    /// The panel that is shown where there is room for one.
    pub(super) fn shown(&self) -> Panel {
        Panel::ALL[self.focus.unwrap_or(0)]
    }

    pub(super) fn of(&self, panel: Panel) -> Choice<'_> {
        let index = panel as usize;
        Choice {
            focused: self.focus == Some(index),
            sort: self.sort[index],
            filter: &self.filter,
            scrolled: self.scrolled[index],
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Act::Quit,
                KeyCode::Char('z') => Act::Suspend,
                _ => Act::Draw,
            };
        }
        if self.typing {
            self.typed(key.code);
            return Act::Draw;
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') {
                Act::Quit
            } else {
                Act::Draw
            };
        }
        self.command(key.code)
    }

    fn command(&mut self, code: KeyCode) -> Act {
        match code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Char('g') => return self.group_next(),
            KeyCode::Char('+') => return Act::Faster,
            KeyCode::Char('-') => return Act::Slower,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => self.sort_next(),
            KeyCode::Char('z') | KeyCode::Enter => self.zoomed = !self.zoomed,
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(PANELS - 1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::PageDown => self.scroll(10),
            KeyCode::PageUp => self.scroll(-10),
            KeyCode::Home => self.scroll(isize::MIN),
            KeyCode::Esc => self.back(),
            _ => {}
        }
        Act::Draw
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.len() < MOST => self.filter.push(letter),
            _ => {}
        }
        self.scrolled = [0; PANELS];
    }

    /// Takes back what was chosen last: the large panel first, then the filter.
    fn back(&mut self) {
        if self.zoomed {
            self.zoomed = false;
        } else {
            self.filter.clear();
        }
    }

    fn turn(&mut self, by: usize) {
        self.focus = self.focus.map(|focus| (focus + by) % PANELS);
    }

    /// Of the panel in focus; of owners if it is neither.
    fn group_next(&mut self) -> Act {
        let destinations = self.shown() == Panel::Destinations;
        self.groups[usize::from(destinations)] += 1;
        Act::Group
    }

    /// By the first column, the second and so on, then as the model has it.
    fn sort_next(&mut self) {
        if let Some(focus) = self.focus {
            let next = self.sort[focus].map_or(0, |column| column + 1);
            self.sort[focus] = (next <= Panel::ALL[focus].heads().len()).then_some(next);
            self.scrolled[focus] = 0;
        }
    }

    fn scroll(&mut self, by: isize) {
        if let Some(focus) = self.focus {
            let at = self.scrolled[focus].saturating_add_signed(by);
            // The panel stops at its own end; so far nobody knows how many rows it has.
            self.scrolled[focus] = at.min(ROWS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(look: &mut Look, code: KeyCode) -> Act {
        look.key(KeyEvent::from(code))
    }

    fn write(look: &mut Look, text: &str) {
        for letter in text.chars() {
            assert_eq!(press(look, KeyCode::Char(letter)), Act::Draw);
        }
    }

    #[test]
    fn q_and_control_c_quit_but_q_in_a_filter_is_a_letter() {
        let mut look = Look::with_keys();
        assert_eq!(press(&mut look, KeyCode::Char('q')), Act::Quit);
        write(&mut look, "/sq");
        assert_eq!(look.filter(), ("sq", true));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(look.key(interrupt), Act::Quit);
    }

    #[test]
    fn a_filter_is_kept_by_enter_and_dropped_by_escape() {
        let mut look = Look::with_keys();
        write(&mut look, "/webx");
        press(&mut look, KeyCode::Backspace);
        press(&mut look, KeyCode::Enter);
        assert_eq!(look.filter(), ("web", false));
        press(&mut look, KeyCode::Esc);
        assert_eq!(look.filter(), ("", false));
    }

    #[test]
    fn tab_goes_around_in_both_directions() {
        let mut look = Look::with_keys();
        let mut seen = vec![look.shown()];
        for _ in 1..PANELS {
            press(&mut look, KeyCode::Tab);
            seen.push(look.shown());
        }
        assert_eq!(seen, Panel::ALL);
        press(&mut look, KeyCode::Tab);
        assert_eq!(look.shown(), Panel::ALL[0]);
        press(&mut look, KeyCode::BackTab);
        assert_eq!(look.shown(), Panel::ALL[PANELS - 1]);
    }

    #[test]
    fn sorting_goes_through_the_columns_of_the_panel_in_focus_and_back() {
        let mut look = Look::with_keys();
        for column in 0..=Panel::ALL[0].heads().len() {
            write(&mut look, "s");
            assert_eq!(look.of(Panel::ALL[0]).sort, Some(column));
        }
        write(&mut look, "s");
        assert_eq!(look.of(Panel::ALL[0]).sort, None);
        assert_eq!(look.of(Panel::ALL[1]).sort, None);
    }

    #[test]
    fn g_tells_owners_or_destinations_apart_in_another_way() {
        let mut look = Look::with_keys();
        assert_eq!(press(&mut look, KeyCode::Char('g')), Act::Group);
        assert_eq!(look.groups(), [1, 0]);
        while look.shown() != Panel::Destinations {
            press(&mut look, KeyCode::Tab);
        }
        press(&mut look, KeyCode::Char('g'));
        assert_eq!(look.groups(), [1, 1]);
    }

    #[test]
    fn what_is_told_apart_by_at_first_can_be_said() {
        let look = Look::fixed().group_by(By::Peer).group_by(By::Netns);
        let [owners, destinations] = look.groups();
        assert_eq!(OWNERS[owners], By::Netns);
        assert_eq!(DESTINATIONS[destinations], By::Peer);
    }

    #[test]
    fn any_key_leaves_the_help_and_scrolling_stops_at_the_top() {
        let mut look = Look::with_keys();
        write(&mut look, "?");
        assert!(look.help());
        write(&mut look, "p");
        assert!(!look.help() && !look.paused());
        press(&mut look, KeyCode::PageDown);
        press(&mut look, KeyCode::Home);
        press(&mut look, KeyCode::Up);
        assert_eq!(look.of(Panel::ALL[0]).scrolled, 0);
    }

    #[test]
    fn without_keys_nothing_is_in_focus() {
        let look = Look::fixed();
        assert!(Panel::ALL.into_iter().all(|panel| !look.of(panel).focused));
    }
}
