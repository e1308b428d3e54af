//! A table of a screen: its first head is its title, and its columns go from the right when there
//! is no room for them.

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell as Place, Paragraph, Row as Places, Table};

use super::theme::Theme;
use crate::model::dashboard::Pace;
use crate::view::groups::percent;
use crate::view::histogram::bar;
use crate::view::units::{span, thousands};

/// With fewer lines, a row is worth more than a word of those that are left out.
const SAYS_SO: usize = 3;
/// Longest bar.
const WIDEST: usize = 40;

/// What is shown of one panel.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) title: String,
    /// Least room for the name of a row.
    pub(super) least: usize,
    /// Of all columns but the first.
    pub(super) heads: &'static [&'static str],
    pub(super) rows: Vec<Row>,
    /// Its rows are so many and so long that a filter helps.
    pub(super) filtered: bool,
    /// What stands there while there are no rows.
    pub(super) empty: &'static str,
}

#[derive(Debug)]
pub(super) struct Row {
    /// A name and as many as there are heads.
    pub(super) cells: Vec<Cell>,
    pub(super) alarm: bool,
}

/// One figure, or a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Name(String),
    /// A name, and a bar as long as there is room.
    Bar {
        name: String,
        count: u64,
        most: u64,
    },
    /// Like a name, but not first.
    Word(String),
    Count(u64),
    /// A count that may not be known.
    Maybe(Option<u64>),
    Thousandths(Option<u64>),
    /// Per second.
    Rate(Option<f64>),
    /// In ns.
    Time(Option<u64>),
}

/// What the user chose for one panel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) focused: bool,
    /// Column to sort by; `None`: as the model has it.
    pub(super) sort: Option<usize>,
    /// Only rows with this text in a name.
    pub(super) filter: &'a str,
    /// Rows that are left out above.
    pub(super) scrolled: usize,
}

impl Cell {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Name(text) | Self::Word(text) | Self::Bar { name: text, .. } => text.clone(),
            Self::Count(count) | Self::Maybe(Some(count)) => thousands(*count),
            Self::Thousandths(share) => percent(*share),
            Self::Rate(Some(rate)) => rate_text(*rate),
            Self::Time(Some(ns)) => span(*ns),
            Self::Rate(None) | Self::Time(None) | Self::Maybe(None) => "–".into(),
        }
    }

    fn width(&self) -> usize {
        self.text().chars().count()
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Word(_))
    }

    /// Large figures first, names by the alphabet.
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => b.cmp(a),
            (Self::Rate(Some(a)), Self::Rate(Some(b))) => b.total_cmp(a),
            (Self::Rate(a), Self::Rate(b)) => b.is_some().cmp(&a.is_some()),
            (Self::Time(a), Self::Time(b))
            | (Self::Maybe(a), Self::Maybe(b))
            | (Self::Thousandths(a), Self::Thousandths(b)) => b.cmp(a),
            _ => self.text().cmp(&other.text()),
        }
    }
}

/// `0.4`, `12`, `18,122`: a tenth where it is a large part.
pub(super) fn rate_text(rate: f64) -> String {
    let tenths = (rate * 10.0).round() as u64;
    match tenths {
        0 if rate > 0.0 => "<0.1".into(),
        0 => "0".into(),
        1..100 => format!("{}.{}", tenths / 10, tenths % 10),
        _ => thousands(rate.round() as u64),
    }
}

/// The two figures of something that happens.
pub(super) fn pace(pace: Pace) -> [Cell; 2] {
    [Cell::Count(pace.total), Cell::Rate(pace.per_s)]
}

impl Grid {
    pub(super) fn draw(
        mut self,
        choice: Choice<'_>,
        area: Rect,
        theme: &Theme,
        frame: &mut Frame<'_>,
    ) {
        if area.is_empty() {
            return;
        }
        self.arrange(choice);
        self.mark_alarms();
        if self.rows.is_empty() {
            self.draw_empty(choice, area, theme, frame);
            return;
        }
        let heads = self.marked(choice);
        let left_out = self.cut(choice.scrolled, usize::from(area.height) - 1);
        let widths = self.widths(&heads, usize::from(area.width));
        let rows = self.rows.iter().map(|row| {
            let style = if row.alarm {
                theme.alarm()
            } else {
                Style::new()
            };
            places(&row.cells, &widths).style(style)
        });
        let more = (left_out > 0).then(|| {
            let text = format!("… {} more", thousands(left_out as u64));
            Places::new([Place::from(text)]).style(theme.faint())
        });
        let constraints = widths.iter().map(|&width| Constraint::Length(width as u16));
        let table = Table::new(rows.chain(more), constraints)
            .header(header(&heads, choice, &widths, theme))
            .column_spacing(1);
        frame.render_widget(table, area);
    }

    /// Filters and sorts.
    fn arrange(&mut self, choice: Choice<'_>) {
        if self.filtered && !choice.filter.is_empty() {
            let wanted = choice.filter.to_lowercase();
            let has = |cell: &Cell| cell.is_text() && cell.text().to_lowercase().contains(&wanted);
            self.rows.retain(|row| row.cells.iter().any(has));
        }
        if let Some(column) = choice.sort {
            self.rows
                .sort_by(|a, b| match (a.cells.get(column), b.cells.get(column)) {
                    (Some(a), Some(b)) => a.order(b),
                    _ => Ordering::Equal,
                });
        }
    }

    /// A colour alone tells nothing.
    fn mark_alarms(&mut self) {
        for row in self.rows.iter_mut().filter(|row| row.alarm) {
            if let Some(Cell::Name(name)) = row.cells.first_mut() {
                name.insert_str(0, "!! ");
            }
        }
    }

    /// Leaves the rows that there is room for, and says how many come after them.
    fn cut(&mut self, scrolled: usize, room: usize) -> usize {
        let last = self.rows.len().saturating_sub(room.max(1));
        self.rows.drain(..scrolled.min(last));
        if self.rows.len() <= room {
            return 0;
        }
        if room < SAYS_SO {
            let left_out = self.rows.len() - room;
            self.rows.truncate(room);
            return if room > 0 { 0 } else { left_out };
        }
        let shown = room.saturating_sub(1);
        let left_out = self.rows.len() - shown;
        self.rows.truncate(shown);
        left_out
    }

    /// Of the columns that there is room for. The first takes what the others leave.
    fn widths(&self, heads: &[Cell], room: usize) -> Vec<usize> {
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
            let widest = cells.map(Cell::width).max();
            heads[column].width().max(widest.unwrap_or(0))
        };
        // Names come before further columns, as far as they leave half of the room.
        let names = width_of(0).clamp(self.least, self.least.max(room / 2));
        let mut left = room.saturating_sub(names);
        let mut others = Vec::new();
        for column in 1..heads.len() {
            let width = width_of(column) + 1;
            if width > left {
                break;
            }
            left -= width;
            others.push(width - 1);
        }
        let taken: usize = others.iter().map(|width| width + 1).sum();
        std::iter::once(room - taken).chain(others).collect()
    }

    /// The heads, with what the user chose.
    fn marked(&self, choice: Choice<'_>) -> Vec<Cell> {
        let mark = |column, text: &str| match choice.sort {
            Some(sort) if sort == column => format!("{text}↓"),
            _ => text.to_owned(),
        };
        let title = mark(0, &self.title);
        let title = Cell::Name(if choice.focused {
            format!("▸{title}")
        } else {
            title
        });
        let others = self.heads.iter().zip(1..);
        let others = others.map(|(head, column)| Cell::Word(mark(column, head)));
        std::iter::once(title).chain(others).collect()
    }

    fn draw_empty(&self, choice: Choice<'_>, area: Rect, theme: &Theme, frame: &mut Frame<'_>) {
        let head = Table::new([] as [Places<'_>; 0], [Constraint::Fill(1)]).header(header(
            &self.marked(choice),
            choice,
            &[usize::from(area.width)],
            theme,
        ));
        frame.render_widget(head, area);
        let below = Rect {
            y: area.y + 1,
            height: area.height - 1,
            ..area
        };
        let text = if choice.filter.is_empty() || !self.filtered {
            self.empty.to_owned()
        } else {
            format!("no row with \"{}\"", choice.filter)
        };
        frame.render_widget(Paragraph::new(text).style(theme.faint()), below);
    }
}

fn header(heads: &[Cell], choice: Choice<'_>, widths: &[usize], theme: &Theme) -> Places<'static> {
    places(heads, widths).style(if choice.focused {
        theme.focus()
    } else {
        theme.head()
    })
}

/// The first column and words stand left, figures right.
fn places(cells: &[Cell], widths: &[usize]) -> Places<'static> {
    let shown = cells.iter().zip(widths);
    shown
        .map(|(cell, &width)| {
            let text = fit(cell.text(), width);
            Place::from(Text::from(match cell {
                Cell::Name(_) => Line::from(text),
                Cell::Bar { count, most, .. } => {
                    let room = width.saturating_sub(text.chars().count() + 1).min(WIDEST);
                    Line::from(format!("{text} {}", bar(*count, *most, room)))
                }
                _ => Line::from(text).right_aligned(),
            }))
        })
        .collect()
}

/// A text with its middle left out if it is too long: its ends tell names apart best.
fn fit(text: String, width: usize) -> String {
    let length = text.chars().count();
    if length <= width || width == 0 {
        return text;
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    let start = text.chars().take(head);
    let end = text.chars().skip(length - tail);
    start.chain(['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_tenth_where_it_matters() {
        for (rate, expected) in [
            (0.0, "0"),
            (0.04, "<0.1"),
            (0.05, "0.1"),
            (0.44, "0.4"),
            (9.94, "9.9"),
            (9.96, "10"),
            (461.2, "461"),
            (18_122.0, "18,122"),
        ] {
            assert_eq!(rate_text(rate), expected);
        }
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        assert_eq!(
            fit("kubepods-burstable-pod7.slice".into(), 11),
            "kubep…slice"
        );
        assert_eq!(fit("web".into(), 3), "web");
        assert_eq!(fit("web-7".into(), 1), "…");
        assert_eq!(fit("äöüß–".into(), 4), "ä…ß–");
    }

    fn grid(names: &[(&str, u64)]) -> Grid {
        Grid {
            title: "NAME".into(),
            least: 18,
            heads: &["N"],
            rows: names
                .iter()
                .map(|&(name, count)| Row {
                    cells: vec![Cell::Name(name.into()), Cell::Count(count)],
                    alarm: false,
                })
                .collect(),
            filtered: true,
            empty: "none",
        }
    }

    fn names(grid: &Grid) -> Vec<String> {
        grid.rows.iter().map(|row| row.cells[0].text()).collect()
    }

    #[test]
    fn rows_are_filtered_by_their_names_and_sorted_by_a_column() {
        let mut grid = grid(&[("web-1", 2), ("db", 9), ("WEB-2", 7)]);
        grid.arrange(Choice {
            filter: "web",
            sort: Some(1),
            ..Choice::default()
        });
        assert_eq!(names(&grid), ["WEB-2", "web-1"]);
    }

    #[test]
    fn what_is_cut_is_counted_and_scrolling_stops_at_the_end() {
        let many: Vec<_> = (0..10).map(|_| ("x", 1)).collect();
        for (scrolled, room, shown, left_out) in [
            (0, 10, 10, 0),
            (0, 4, 3, 7),
            (3, 4, 3, 4),
            (99, 4, 4, 0),
            (0, 2, 2, 0),
            (0, 0, 0, 10),
        ] {
            let mut grid = grid(&many);
            assert_eq!(grid.cut(scrolled, room), left_out, "{scrolled} {room}");
            assert_eq!(grid.rows.len(), shown);
        }
    }

    #[test]
    fn columns_without_room_are_left_out() {
        let grid = grid(&[("web", 1_000)]);
        let heads = grid.marked(Choice::default());
        assert_eq!(grid.widths(&heads, 40), [34, 5]);
        assert_eq!(grid.widths(&heads, 23), [23]);
        assert_eq!(grid.widths(&heads, 3), [3]);
    }
}
