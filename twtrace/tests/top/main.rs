//! `top`: screens of an incident, memory over a million tuples, and the terminal given back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

mod picture;
mod soak;
mod story;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "what the tests of recordings use")]
mod support;
mod terminal;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use ratatui::style::{Color, Modifier};
use support::{expect, golden};
use twtrace::event::found::{Found, PortRules, Survey};
use twtrace::host::Names;
use twtrace::view::top::{Look, Playing, Screen};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 40);

fn screen(colour: bool) -> Screen {
    let names = Names::of_recording(story::named());
    Screen::new(&story::meta(), names, true, colour)
}

fn press(look: &mut Look, keys: &str) {
    for key in keys.chars() {
        look.key(KeyEvent::from(match key {
            '\t' => KeyCode::Tab,
            '\n' => KeyCode::Enter,
            key => KeyCode::Char(key),
        }));
    }
}

/// What a person sees after these keys.
fn text(keys: &str, seconds: u64, size: (u16, u16)) -> String {
    let mut look = Look::with_keys();
    press(&mut look, keys);
    let figures = story::dashboard(seconds).figures();
    screen(false).text(&figures, &look, None, size)
}

fn shows(name: &str, text: &str) {
    expect(&golden(&format!("top/{name}.txt")), text.as_bytes());
}

#[test]
fn an_incident_fits_the_smallest_screen_and_fills_a_larger_one() {
    shows("80x24", &text("", story::LENGTH, SMALL));
    shows("120x40", &text("", story::LENGTH, LARGE));
}

#[test]
fn what_an_incident_needs_is_on_the_smallest_screen() {
    let text = text("", story::LENGTH, SMALL);
    for needed in [
        "TIME_WAIT 3,",
        "FIN_WAIT2 ",
        "births 72/s",
        "ends ",
        "expired",
        "syn-reopened",
        "refused SYNs",
        "stuck 12",
        "in web-7: ",
        "no port 11",
        "lost 0",
        "nginx",
        "php8.4-fpm",
        "10.0.0.30:5432",
        "203.0.113.7",
        "got no port: pid 8123 (php-fpm8.4)",
        "no TIME_WAIT for [2001:db8::7]",
    ] {
        assert!(text.contains(needed), "no {needed:?} in\n{text}");
    }
}

#[test]
fn before_anything_happened_it_says_so() {
    let empty = twtrace::model::Dashboard::new(&story::meta()).figures();
    let text = screen(false).text(&empty, &Look::with_keys(), None, SMALL);
    shows("empty", &text);
}

#[test]
fn fin_wait_2_that_processes_hold_is_told_beside_that_which_nobody_has() {
    let mut dashboard = story::dashboard(30);
    let mut line = |held_fin_wait_2, netns| {
        dashboard.found(&Found::Survey(Survey {
            netns,
            at_ns: support::STARTED,
            rules: PortRules::default(),
            taken: Vec::new(),
            users: Vec::new(),
            held_fin_wait_2,
        }));
        let figures = dashboard.figures();
        screen(false).text(&figures, &Look::with_keys(), None, LARGE)
    };
    assert!(!line(Some(0), support::HOST).contains("held by processes"));
    assert!(line(Some(150), support::HOST).contains(" + 150 held by processes"));
    assert!(line(Some(3), story::WEB).contains(" + 153 held by processes"));
}

#[test]
fn keys_change_what_is_shown() {
    shows("help", &text("?", story::LENGTH, SMALL));
    shows("paused", &text("p", story::LENGTH, SMALL));
    shows("filtered", &text("/php\n", story::LENGTH, SMALL));
    shows("typing", &text("/no such", story::LENGTH, SMALL));
    shows("owners-alone", &text("\t\tss\n", story::LENGTH, LARGE));
    shows("ports-alone", &text("\t\t\t\tz", story::LENGTH, LARGE));
}

#[test]
fn a_recording_says_how_fast_it_is_played_and_when_it_is_over() {
    let figures = story::dashboard(30).figures();
    let line = |speed, over| {
        let playing = Some(Playing { speed, over });
        let text = screen(false).text(&figures, &Look::with_keys(), playing, SMALL);
        text.lines().next().unwrap().to_owned()
    };
    assert!(line(16.0, false).contains("[RECORDING ×16]"));
    assert!(line(16.0, true).contains("[END OF RECORDING]"));
}

#[test]
fn no_screen_is_too_small_and_none_too_large() {
    let figures = story::dashboard(story::LENGTH).figures();
    for (width, height) in [(20, 5), (1, 1), (3, 2), (59, 30), (100, 13), (500, 300)] {
        for keys in ["", "?", "/x", "z", "\t\t\t\tz"] {
            let mut look = Look::with_keys();
            press(&mut look, keys);
            let text = screen(true).text(&figures, &look, None, (width, height));
            assert_eq!(text.lines().count(), usize::from(height));
        }
    }
}

#[test]
fn a_screen_that_becomes_tiny_and_large_again_is_as_before() {
    let figures = story::dashboard(story::LENGTH).figures();
    let (mut screen, look) = (screen(true), Look::with_keys());
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let mut seen = Vec::new();
    for (width, height) in [(80, 24), (20, 5), (80, 24)] {
        terminal.backend_mut().resize(width, height);
        terminal
            .draw(|frame| screen.draw(&figures, &look, None, frame))
            .unwrap();
        seen.push(terminal.backend().buffer().clone());
    }
    assert_eq!(seen[1].area.width, 20);
    assert_eq!(seen[0], seen[2]);
}

fn buffer(colour: bool, (width, height): (u16, u16)) -> Buffer {
    let figures = story::dashboard(story::LENGTH).figures();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let (mut screen, look) = (screen(colour), Look::with_keys());
    terminal
        .draw(|frame| screen.draw(&figures, &look, None, frame))
        .unwrap();
    terminal.backend().buffer().clone()
}

fn line(buffer: &Buffer, y: u16) -> String {
    let columns = 0..buffer.area.width;
    columns.map(|x| buffer[(x, y)].symbol()).collect()
}

#[test]
fn colours_tell_nothing_that_is_not_written() {
    let (coloured, plain) = (buffer(true, LARGE), buffer(false, LARGE));
    let mut red = 0;
    for y in 0..coloured.area.height {
        assert_eq!(line(&coloured, y), line(&plain, y));
        for x in 0..coloured.area.width {
            assert_eq!(plain[(x, y)].fg, Color::Reset);
            assert_eq!(plain[(x, y)].bg, Color::Reset);
            if coloured[(x, y)].fg == Color::Red {
                red += 1;
                assert!(line(&plain, y).contains("!!"), "{}", line(&plain, y));
            }
        }
    }
    assert!(red > 0, "nothing was wrong");
}

#[test]
fn the_panel_in_focus_is_marked_without_colour() {
    let plain = buffer(false, LARGE);
    let focused = (0..plain.area.height).find(|&y| line(&plain, y).contains('▸'));
    let y = focused.unwrap();
    let x = (0..plain.area.width).find(|&x| plain[(x, y)].symbol() == "▸");
    assert!(plain[(x.unwrap(), y)].modifier.contains(Modifier::REVERSED));
}
