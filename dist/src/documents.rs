//! What the pages take from docs/, so that no figure and no capability is written twice.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use roff::{Inline, bold, italic, roman};

pub(crate) const OVERHEAD: &str = include_str!("../../docs/overhead.md");
pub(crate) const REQUIREMENTS: &str = include_str!("../../docs/requirements.md");

pub(crate) type Cell = Vec<Inline>;

/// A row of a table with the heads of its columns.
pub(crate) struct Row {
    pub(crate) heads: Vec<String>,
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    /// The text of a cell; empty if there is none.
    pub(crate) fn text(&self, column: usize) -> String {
        self.cells.get(column).map_or_else(String::new, plain)
    }
}

/// The rows of all tables in a document.
pub(crate) fn rows(markdown: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut heads = Vec::new();
    let mut cells: Vec<Cell> = Vec::new();
    let mut inside = false;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableCell) => {
                cells.push(Cell::new());
                inside = true;
            }
            Event::End(TagEnd::TableCell) => inside = false,
            Event::End(TagEnd::TableHead) => {
                heads = std::mem::take(&mut cells).iter().map(plain).collect();
            }
            Event::End(TagEnd::TableRow) => rows.push(Row {
                heads: heads.clone(),
                cells: std::mem::take(&mut cells),
            }),
            event if inside => {
                let cell = cells.last_mut();
                cell.into_iter()
                    .for_each(|cell| cell.extend(inline(&event, false)));
            }
            _ => {}
        }
    }
    rows
}

/// A piece of text with `code` and *emphasis*.
pub(crate) fn inlines(markdown: &str) -> Cell {
    let mut emphasis = false;
    let mut inlines = Cell::new();
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::Emphasis) => emphasis = true,
            Event::End(TagEnd::Emphasis) => emphasis = false,
            event => inlines.extend(inline(&event, emphasis)),
        }
    }
    inlines
}

fn inline(event: &Event<'_>, emphasis: bool) -> Option<Inline> {
    match event {
        Event::Code(code) => Some(bold(code.as_ref())),
        Event::Text(text) if emphasis => Some(italic(text.as_ref())),
        Event::Text(text) => Some(roman(text.as_ref())),
        Event::SoftBreak => Some(roman(" ")),
        _ => None,
    }
}

fn plain(cell: &Cell) -> String {
    let text = |inline: &Inline| match inline {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    };
    cell.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_with_their_code() {
        let text = "x\n\n* y:\n\n  | | Linux 6 |\n  |---|---|\n  | `a >B`, c | +1 % |\n";
        let rows = rows(text);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].heads, ["", "Linux 6"]);
        assert_eq!(rows[0].cells[0], [bold("a >B"), roman(", c")]);
        assert_eq!(rows[0].text(1), "+1 %");
        assert_eq!(rows[0].text(2), "");
    }

    #[test]
    fn names_with_underscores_are_no_emphasis() {
        assert_eq!(
            inlines("tcp_tw_reuse and *x*"),
            [roman("tcp_tw_reuse and "), italic("x")]
        );
    }
}
