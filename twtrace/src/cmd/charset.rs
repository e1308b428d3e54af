//! Where the locale is not UTF-8, as on many serial consoles, twtrace's own signs become ASCII: one
//! for one, so that columns stay where they are. Names from outside are left alone, and so are CSV
//! and JSON.

use std::env;
use std::sync::LazyLock;

use ratatui::buffer::Buffer;

/// The variables that choose the character set, the strongest first (setlocale(3)).
const VARIABLES: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// Whether text must be ASCII. Without any of the variables, as in most services and containers,
/// nothing is known of the terminal, and nearly all take UTF-8.
pub(super) fn is_ascii() -> bool {
    static ASCII: LazyLock<bool> = LazyLock::new(|| {
        let set = VARIABLES.iter().find_map(|name| {
            let value = env::var_os(name)?;
            (!value.is_empty()).then(|| value.to_string_lossy().into_owned())
        });
        set.is_some_and(|locale| !names_utf_8(&locale))
    });
    *ASCII
}

/// `de_DE.UTF-8`, `C.utf8`
fn names_utf_8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// What stands for a sign of ours.
fn stand_in(sign: char) -> Option<char> {
    Some(match sign {
        '–' | '−' | '─' => '-',
        '·' | '│' => '|',
        '→' | '▸' => '>',
        '…' | '±' | '≥' => '~',
        '↑' => '^',
        '↓' => 'v',
        '×' => 'x',
        'µ' => 'u',
        '█'..='▏' => '#',
        _ => return None,
    })
}

/// Text that is about to be written.
pub(super) fn to_ascii(text: &str) -> String {
    text.chars()
        .map(|sign| stand_in(sign).unwrap_or(sign))
        .collect()
}

/// A frame that is about to be shown.
pub(super) fn frame_to_ascii(frame: &mut Buffer) {
    for cell in &mut frame.content {
        let mut signs = cell.symbol().chars();
        if let (Some(sign), None) = (signs.next(), signs.next())
            && let Some(ascii) = stand_in(sign)
        {
            cell.set_char(ascii);
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Cell;
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn the_character_set_is_in_the_name_of_the_locale() {
        for (locale, utf_8) in [
            ("C", false),
            ("POSIX", false),
            ("de_DE@euro", false),
            ("de_DE.ISO-8859-1", false),
            ("C.UTF-8", true),
            ("en_US.utf8", true),
        ] {
            assert_eq!(names_utf_8(locale), utf_8, "{locale}");
        }
    }

    #[test]
    fn signs_of_ours_become_ascii_and_names_stay() {
        let text = "3 ends · lost 0 · 10.0.0.5 → – …";
        assert_eq!(to_ascii(text), "3 ends | lost 0 | 10.0.0.5 > - ~");
        assert_eq!(to_ascii("█▌ 249 µs"), "## 249 us");
        assert_eq!(to_ascii("straße"), "straße");
    }

    #[test]
    fn a_frame_keeps_its_columns() {
        let mut frame = Buffer::empty(Rect::new(0, 0, 8, 1));
        frame.set_string(0, 0, "▸a · 漢b", ratatui::style::Style::new());
        frame_to_ascii(&mut frame);
        let shown: Vec<_> = frame.content.iter().map(Cell::symbol).collect();
        assert_eq!(shown[..4], [">", "a", " ", "|"]);
        assert_eq!((shown[5], shown[7]), ("漢", "b"));
    }
}
