use super::*;

#[test]
fn ordinary_names_are_left_alone() {
    for name in [
        "",
        "nginx.service",
        "/system.slice/system-postgresql.slice/postgresql@16-main.service",
        r"/system.slice/var-lib-my\x2dapp.service",
        "naïve ü 漢字 한글 עברית Ελλάδα नमस्ते 🦀",
        "a\"b'c\\d,e;f=g",
        "replaced \u{fffd} already",
    ] {
        assert_eq!(Text::new(name), name);
        assert_eq!(Text::of_bytes(name.as_bytes()), name);
    }
}

#[test]
fn what_a_terminal_obeys_is_written_out() {
    for (raw, clean) in [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nb\r\tc\x7f\0", r"a\x0ab\x0d\x09c\x7f\x00"),
        ("\u{9b}31m", r"\u{9b}31m"),
        ("pay\u{202e}txt.exe", r"pay\u{202e}txt.exe"),
        (
            "\u{2066}\u{2069}\u{200f}\u{61c}",
            r"\u{2066}\u{2069}\u{200f}\u{61c}",
        ),
        ("two\u{2028}lines\u{2029}", r"two\u{2028}lines\u{2029}"),
        ("ng\u{200b}inx\u{feff}", r"ng\u{200b}inx\u{feff}"),
        ("\u{e0041}", r"\u{e0041}"),
        ("a\u{a0}b", r"a\u{a0}b"),
    ] {
        assert_eq!(Text::new(raw), clean);
    }
    assert_eq!(Text::of_bytes(b"a\xff\xe2\x80b\x1b"), r"a\xff\xe2\x80b\x1b");
}

#[test]
fn nothing_that_the_compiler_calls_a_control_or_a_space_is_plain() {
    for letter in ('\0'..=char::MAX).filter(|&letter| letter != ' ') {
        let unseen = letter.is_control() || letter.is_whitespace();
        assert!(!(unseen && is_plain(letter)), "{letter:?}");
    }
}

#[test]
fn cleaning_twice_changes_nothing() {
    let once = Text::new("\x1b\u{202e}\\x1b\u{85}");
    assert_eq!(Text::new(&once), once);
}

#[test]
fn a_long_text_loses_its_middle() {
    let whole = "x".repeat(LONGEST);
    assert_eq!(Text::new(&whole), whole.as_str());
    for letter in ["x", "ü", "漢", "🦀", "\x1b"] {
        let long = format!("/head{}tail", letter.repeat(LONGEST));
        let text = Text::new(&long);
        assert!(text.len() <= LONGEST && text.len() > LONGEST - 16);
        assert!(text.starts_with("/head") && text.ends_with("tail"));
        assert!(text.contains(LEFT_OUT));
    }
}

#[test]
fn json_is_cleaned_when_it_is_read() {
    let text: Text = serde_json::from_str(r#""a\u001b\u202e\nb""#).unwrap();
    assert_eq!(text, r"a\x1b\u{202e}\x0ab");
    assert_eq!(
        serde_json::to_string(&text).unwrap(),
        r#""a\\x1b\\u{202e}\\x0ab""#
    );
    let map: std::collections::BTreeMap<Text, u8> = serde_json::from_str(r#"{"a\tb":1}"#).unwrap();
    assert_eq!(map.get(r"a\x09b"), Some(&1));
    assert!(serde_json::from_str::<Text>("7").is_err());
}

/// Every letter there is between two others, and a million of bytes at random.
#[test]
fn no_bytes_make_a_text_that_is_not_plain() {
    let mut state = 1_u64;
    let mut bytes = [0; 16];
    for _ in 0..200_000 {
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 32) as u8;
        }
        assert!(Text::of_bytes(&bytes).chars().all(is_plain));
    }
    for letter in '\0'..=char::MAX {
        assert!(
            Text::new(letter.encode_utf8(&mut [0; 4]))
                .chars()
                .all(is_plain)
        );
    }
}
