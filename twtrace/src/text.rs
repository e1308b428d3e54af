//! Text from outside: names, commands, reasons, and all that a file says.
//!
//! Whoever may make a cgroup or hand over a recording chooses such a text, and it ends up on the
//! terminal of an administrator. So it is cleaned where it is made, whatever it is made from:
//! what a terminal obeys and what deceives the eye is written out, as `\x1b`, `\xff` (a byte that
//! is not UTF-8) or `\u{202e}`. systemd writes units the same way, so `\x1b` is also what it is
//! called there. Text that is longer than [`LONGEST`] loses its middle: both ends of a path tell
//! most.

use std::borrow::{Borrow, Cow};
use std::fmt::{self, Write as _};
use std::ops::{Deref, RangeInclusive};

use serde::{Deserialize, Deserializer, Serialize, de};

/// No text is longer, in bytes.
pub const LONGEST: usize = 1024;
/// Stands for what was left out.
const LEFT_OUT: &str = "…";

/// Text that is safe to show in any view.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(Box<str>);

impl Text {
    /// Of a text that may hold anything.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        // First the raw text: cleaning makes more of it.
        Self(bounded(&clean(&bounded(raw))).into())
    }

    /// Of bytes that may not be UTF-8: file names, `comm`.
    #[must_use]
    pub fn of_bytes(raw: &[u8]) -> Self {
        match std::str::from_utf8(raw) {
            Ok(raw) => Self::new(raw),
            Err(_) => Self(bounded(&clean_bytes(raw)).into()),
        }
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Maps with such keys are asked with any text.
impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for Text {
    fn from(raw: &str) -> Self {
        Self::new(raw)
    }
}

impl From<String> for Text {
    fn from(raw: String) -> Self {
        Self::new(&raw)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.into()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, raw: &str) -> Result<Text, E> {
                Ok(Text::new(raw))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// The same text of any length, for a message that is shown and gone.
#[must_use]
pub fn clean(raw: &str) -> Cow<'_, str> {
    if raw.chars().all(is_plain) {
        return Cow::Borrowed(raw);
    }
    let mut cleaned = String::with_capacity(raw.len() + 16);
    put(raw, &mut cleaned);
    Cow::Owned(cleaned)
}

fn clean_bytes(raw: &[u8]) -> String {
    let mut cleaned = String::with_capacity(raw.len() + 16);
    for chunk in raw.utf8_chunks() {
        put(chunk.valid(), &mut cleaned);
        for byte in chunk.invalid() {
            // Writing to a `String` cannot fail.
            let _ = write!(cleaned, "\\x{byte:02x}");
        }
    }
    cleaned
}

fn put(raw: &str, cleaned: &mut String) {
    for letter in raw.chars() {
        let number = u32::from(letter);
        let _ = match number {
            _ if is_plain(letter) => {
                cleaned.push(letter);
                Ok(())
            }
            0..0x80 => write!(cleaned, "\\x{number:02x}"),
            _ => write!(cleaned, "\\u{{{number:x}}}"),
        };
    }
}

/// Whether a letter is shown as it is: it is no order to a terminal, and it is seen.
#[must_use]
pub fn is_plain(letter: char) -> bool {
    match letter {
        ' '..='~' => true,
        '\0'..='\u{9f}' => false,
        _ => !UNSEEN.iter().any(|range| range.contains(&letter)),
    }
}

/// Beyond ASCII and controls, what changes the order of the letters around it, breaks lines, or
/// takes no room or only room: of Unicode 16 the categories Cf, Zl, Zp and Zs, and what has the
/// property Default_Ignorable_Code_Point.
const UNSEEN: &[RangeInclusive<char>] = &[
    '\u{a0}'..='\u{a0}',
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{1680}'..='\u{1680}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2000}'..='\u{200f}',
    '\u{2028}'..='\u{202f}',
    '\u{205f}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3000}'..='\u{3000}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Without its middle if it is too long.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let half = (LONGEST - LEFT_OUT.len()) / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    Cow::Owned([head, LEFT_OUT, tail].concat())
}

#[cfg(test)]
mod tests;
