//! docs/top.svg: a frame of `top` as a picture, for README.
//!
//! It is drawn from the buffer that the goldens come from, so it shows what the program shows.
//! Words that are far apart are placed one by one, and each piece says how wide it is: whatever
//! font a browser takes, columns stay columns.

use std::path::Path;

use quick_xml::Writer;
use quick_xml::events::BytesText;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::{buffer, line, support};

/// Columns and lines: room for six panels, and few lines stay empty.
const SIZE: (u16, u16) = (112, 24);

/// Size of a character cell, and room around all of them, in units of the picture.
const CELL: (u32, u32) = (8, 18);
const MARGIN: u32 = 14;
/// From the top of a line to the foot of its letters.
const BASELINE: u32 = 14;

/// On a dark ground that is the picture's own, so it looks the same on light and dark pages.
const STYLE: &str = "\
.ground{fill:#16191f;stroke:#5b6370}\
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;\
fill:#d7dae0}\
.bar{fill:#d7dae0}\
.bold{font-weight:bold;fill:#fff}\
.cyan{font-weight:bold;fill:#56c8d8}\
.red{font-weight:bold;fill:#ff7b72}\
.gray{fill:#8b929d}\
.frame,.focus{fill:#16191f}\
.focus{font-weight:bold}\
.frame-ground{fill:#c3c8d1}\
.focus-ground{fill:#56c8d8}";

const TITLE: &str = "A frame of twtrace top";
const DESCRIPTION: &str = "A full-screen terminal view of one moment of an incident: how many TIME_WAIT and \
     FIN_WAIT2 sockets there are, births and ends per second, refused SYNs, ends by reason, \
     lifetimes, owners, services, the use of local ports, refused peers and network namespaces.";

/// The class of a cell's style, and that of the ground behind it, if it has one.
fn class(cell: &Cell) -> (&'static str, Option<&'static str>) {
    let bold = cell.modifier.contains(Modifier::BOLD);
    match (cell.modifier.contains(Modifier::REVERSED), cell.fg) {
        (true, Color::Cyan) => ("focus", Some("focus-ground")),
        (true, _) => ("frame", Some("frame-ground")),
        (false, Color::Cyan) => ("cyan", None),
        (false, Color::Red) => ("red", None),
        (false, Color::DarkGray) => ("gray", None),
        (false, _) => (if bold { "bold" } else { "" }, None),
    }
}

/// Cells of one line that have one style.
#[derive(Default)]
struct Run {
    x: u32,
    class: &'static str,
    ground: Option<&'static str>,
    text: String,
    cells: u32,
}

fn runs(buffer: &Buffer, y: u16) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for x in 0..buffer.area.width {
        let cell = &buffer[(x, y)];
        let (class, ground) = class(cell);
        match runs.last_mut() {
            Some(run) if (run.class, run.ground) == (class, ground) => {
                run.text.push_str(cell.symbol());
                run.cells += 1;
            }
            _ => runs.push(Run {
                x: u32::from(x),
                class,
                ground,
                text: cell.symbol().to_owned(),
                cells: 1,
            }),
        }
    }
    runs
}

/// The pieces of a run that more than one space keeps apart, with the columns where they begin.
fn pieces(run: &Run) -> Vec<(u32, String)> {
    let mut pieces: Vec<(u32, String)> = Vec::new();
    let mut spaces = 2;
    for (letter, x) in run.text.chars().zip(run.x..) {
        match (letter, pieces.last_mut()) {
            (' ', _) => spaces += 1,
            (_, Some((_, text))) if spaces < 2 && !is_block(letter) => {
                text.extend(std::iter::repeat_n(' ', spaces));
                text.push(letter);
                spaces = 0;
            }
            _ => {
                pieces.push((x, letter.to_string()));
                // What follows a block begins anew.
                spaces = if is_block(letter) { 2 } else { 0 };
            }
        }
    }
    pieces
}

/// U+2588 is a full block, and the seven after it are ever narrower parts of it.
fn is_block(letter: char) -> bool {
    ('█'..='▏').contains(&letter)
}

/// Width of a block in units of the picture.
fn block_width(letter: char) -> u32 {
    let eighths = 8 - (u32::from(letter) - u32::from('█'));
    CELL.0 * eighths / 8
}

type Xml = Writer<Vec<u8>>;

fn rectangle(xml: &mut Xml, class: &str, place: [u32; 4]) {
    let [x, y, width, height] = place.map(|number| number.to_string());
    xml.create_element("rect")
        .with_attribute(("class", class))
        .with_attribute(("x", x.as_str()))
        .with_attribute(("y", y.as_str()))
        .with_attribute(("width", width.as_str()))
        .with_attribute(("height", height.as_str()))
        .write_empty()
        .unwrap();
}

/// The grounds and bars of a line. Neighbouring blocks are one rectangle, without a seam.
fn rectangles(xml: &mut Xml, runs: &[Run], top: u32) {
    for run in runs {
        if let Some(ground) = run.ground {
            let left = MARGIN + run.x * CELL.0;
            rectangle(xml, ground, [left, top, run.cells * CELL.0, CELL.1]);
        }
        let mut bar: Option<(u32, u32)> = None;
        for (letter, x) in run.text.chars().zip(run.x..) {
            if is_block(letter) {
                let (left, width) = bar.unwrap_or((MARGIN + x * CELL.0, 0));
                bar = Some((left, width + block_width(letter)));
            } else if let Some((left, width)) = bar.take() {
                rectangle(xml, "bar", [left, top + 3, width, CELL.1 - 6]);
            }
        }
        assert!(bar.is_none(), "a number follows each bar");
    }
}

fn words(xml: &mut Xml, runs: &[Run], top: u32) {
    let pieces = runs
        .iter()
        .flat_map(|run| pieces(run).into_iter().map(|piece| (run.class, piece)))
        .filter(|(_, (_, text))| !text.starts_with(is_block))
        .collect::<Vec<_>>();
    if pieces.is_empty() {
        return;
    }
    let baseline = (top + BASELINE).to_string();
    xml.create_element("text")
        .with_attribute(("y", baseline.as_str()))
        .write_inner_content(|xml| {
            for (class, (x, text)) in &pieces {
                let left = (MARGIN + x * CELL.0).to_string();
                let width = (text.chars().count() as u32 * CELL.0).to_string();
                let mut span = xml.create_element("tspan");
                if !class.is_empty() {
                    span = span.with_attribute(("class", *class));
                }
                span.with_attribute(("x", left.as_str()))
                    .with_attribute(("textLength", width.as_str()))
                    .write_text_content(BytesText::new(text))?;
            }
            Ok(())
        })
        .unwrap();
}

fn element(xml: &mut Xml, name: &str, id: Option<&str>, text: &str) {
    let element = xml.create_element(name);
    let element = match id {
        Some(id) => element.with_attribute(("id", id)),
        None => element,
    };
    element.write_text_content(BytesText::new(text)).unwrap();
}

fn svg(buffer: &Buffer) -> Vec<u8> {
    let area = buffer.area;
    let width = 2 * MARGIN + u32::from(area.width) * CELL.0;
    let height = 2 * MARGIN + u32::from(area.height) * CELL.1;
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 1);
    xml.create_element("svg")
        .with_attribute(("xmlns", "http://www.w3.org/2000/svg"))
        .with_attribute(("viewBox", format!("0 0 {width} {height}").as_str()))
        .with_attribute(("width", width.to_string().as_str()))
        .with_attribute(("height", height.to_string().as_str()))
        .with_attribute(("role", "img"))
        .with_attribute(("aria-labelledby", "title description"))
        .write_inner_content(|xml| {
            element(xml, "title", Some("title"), TITLE);
            element(xml, "desc", Some("description"), DESCRIPTION);
            element(xml, "style", None, STYLE);
            xml.create_element("rect")
                .with_attribute(("class", "ground"))
                .with_attribute(("x", "0.5"))
                .with_attribute(("y", "0.5"))
                .with_attribute(("width", (width - 1).to_string().as_str()))
                .with_attribute(("height", (height - 1).to_string().as_str()))
                .with_attribute(("rx", "8"))
                .write_empty()?;
            for y in 0..area.height {
                let runs = runs(buffer, y);
                let top = MARGIN + u32::from(y) * CELL.1;
                rectangles(xml, &runs, top);
                words(xml, &runs, top);
            }
            Ok(())
        })
        .unwrap();
    let mut svg = xml.into_inner();
    svg.push(b'\n');
    svg
}

#[test]
fn the_picture_in_readme_shows_what_top_shows() {
    let picture = svg(&buffer(true, SIZE));
    assert!(picture.len() < 60_000, "{} bytes", picture.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/top.svg");
    support::expect(&path, &picture);
}

#[test]
fn every_word_on_the_screen_is_in_the_picture() {
    let buffer = buffer(true, SIZE);
    let picture = String::from_utf8(svg(&buffer)).unwrap();
    for y in 0..buffer.area.height {
        for word in line(&buffer, y).split_whitespace() {
            let word = word.trim_start_matches(is_block);
            assert!(picture.contains(word), "no {word:?}");
        }
    }
}
