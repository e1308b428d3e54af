//! What comes from outside is shown in every view, and nothing of it is obeyed.

use std::mem::offset_of;
use std::path::Path;

use serde_json::{Map, Value, json};
use twtrace::text::is_plain;
use twtrace_common::record::{self, KIND_PORT_FAILURE};

use super::craft::{END, Forged, META, NAMES, RECORDS, SNAPSHOT, Saved};
use super::{golden, twtrace};

/// Together they have all that has a name.
const RECORDINGS: [&str; 4] = ["names", "v2", "v3", "v4"];
/// Numbers in them that may have one.
const USERS: [u32; 3] = [0, 33, 1_000];
const CGROUPS: [u64; 6] = [1, 77, 5_021, 5_022, 5_023, 5_024];
const NETNS: [u32; 3] = [0, 4_026_531_840, 4_026_532_281];

/// Views of a recording, but for the format.
const VIEWS: &[&[&str]] = &[
    &[],
    &[
        "--wide",
        "--fields",
        "what,user,netns_name,owner,cgroup_path,unit,container,pod,command,note",
    ],
    &["--hist"],
    &["--conflicts", "--what-if", "recycle"],
    &["--ports"],
    &["--hist", "--by", "uid"],
    &["--hist", "--by", "cgroup"],
    &["--by", "netns"],
];

/// A cheap generator: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % end
    }

    /// A text that may do harm: any letter, and those that do most often.
    fn text(&mut self) -> String {
        const HARMFUL: [&str; 18] = [
            "\x1b[2J",
            "\x1b]0;owned\x07",
            "\n",
            "\r",
            "\t",
            "\0",
            "\x7f",
            "\u{85}",
            "\u{9b}31m",
            "\u{202e}",
            "\u{2066}",
            "\u{200f}",
            "\u{2028}",
            "\u{feff}",
            r"\x1b[1m",
            r"\x0a",
            r"\xe2\x80\xae",
            "\",\"forged\":\"",
        ];
        let length = 1 + self.below(8);
        let letter = |random: &mut Self| match random.below(3) {
            0 => HARMFUL[random.below(HARMFUL.len())].to_owned(),
            1 => char::from_u32(random.below(0x11_0000) as u32)
                .unwrap_or('x')
                .to_string(),
            _ => char::from(random.below(256) as u8).to_string(),
        };
        (0..length).map(|_| letter(self)).collect()
    }

    fn command(&mut self) -> [u8; 16] {
        std::array::from_fn(|_| self.below(256) as u8)
    }
}

/// A recording in which everything that has a name has this one.
fn forged(
    name: &str,
    text: &mut dyn FnMut() -> String,
    command: &mut dyn FnMut() -> [u8; 16],
) -> Forged {
    let mut forged = Forged::from(&golden(&format!("{name}.twtrace")));
    for (kind, payload) in &mut forged.blocks {
        match *kind {
            META => edit(payload, |meta| {
                meta["kernel"] = text().into();
                meta["attach"] = text().into();
            }),
            SNAPSHOT => edit(payload, |snapshot| {
                for kernel in snapshot["kernel"].as_array_mut().unwrap() {
                    kernel["tcp_ext"][text()] = 1.into();
                }
            }),
            RECORDS => rename(payload, command),
            _ => {}
        }
    }
    forged.blocks.retain(|block| block.0 != NAMES);
    let mut all = |numbers: Vec<String>, before: &str, behind: &str| -> Map<String, Value> {
        let each = numbers.into_iter();
        each.map(|number| (number, format!("{before}{}{behind}", text()).into()))
            .collect()
    };
    let strings = |numbers: &[u32]| numbers.iter().map(ToString::to_string).collect();
    let paths = CGROUPS.iter().map(ToString::to_string).collect();
    let names = json!({
        "users": all(strings(&USERS), "", ""),
        "netns": all(strings(&NETNS), "", ""),
        "cgroups": all(paths, "/system.slice/", ".service"),
    });
    forged.with([(NAMES, names.to_string().into_bytes())])
}

fn edit(payload: &mut Vec<u8>, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(payload).unwrap();
    change(&mut value);
    *payload = value.to_string().into_bytes();
}

/// Gives all who found no port another name.
fn rename(records: &mut [u8], command: &mut dyn FnMut() -> [u8; 16]) {
    let mut rest = records;
    while let Some((length, behind)) = rest.split_first_chunk_mut() {
        let (record, behind) = behind.split_at_mut(usize::from(u16::from_le_bytes(*length)));
        if record[0] == KIND_PORT_FAILURE {
            let at = offset_of!(record::PortFailure, command);
            record[at..at + 16].copy_from_slice(&command());
        }
        rest = behind;
    }
}

/// What was written, without anything that a terminal obeys or that deceives the eye.
fn harmless(output: &[u8], context: &str) -> String {
    let text = String::from_utf8(output.to_vec()).unwrap();
    if let Some(bad) = text
        .chars()
        .find(|&letter| letter != '\n' && !is_plain(letter))
    {
        panic!("{context}: {bad:?} in\n{text:?}");
    }
    text
}

/// The same for what JSON says.
fn harmless_json(value: &Value, context: &str) {
    match value {
        Value::String(text) => assert!(text.chars().all(is_plain), "{context}: {text:?}"),
        Value::Array(list) => list.iter().for_each(|one| harmless_json(one, context)),
        Value::Object(map) => {
            assert!(!map.contains_key("forged"), "{context}");
            map.values().for_each(|one| harmless_json(one, context));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Lines of a view, all of them harmless.
fn lines(arguments: &[&str], file: &Path) -> usize {
    let context = arguments.join(" ");
    let output = twtrace(arguments, file);
    assert!(
        [Some(0), Some(3)].contains(&output.status.code()),
        "{context}"
    );
    let text = harmless(&output.stdout, &context);
    let talk = harmless(&output.stderr, &context);
    if arguments.contains(&"json") {
        for line in text.lines() {
            harmless_json(&serde_json::from_str(line).unwrap(), &context);
        }
    }
    if arguments.contains(&"csv") {
        let mut rows = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(text.as_bytes());
        for cell in rows
            .records()
            .flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
        {
            let formula = cell.starts_with(['=', '+', '@']);
            let number = cell.bytes().all(|byte| b"-0123456789. ".contains(&byte));
            assert!(
                !formula && (!cell.starts_with('-') || number),
                "{context}: {cell}"
            );
        }
    }
    text.lines().count() + talk.lines().count()
}

/// Recordings without refusals have no conflicts, and without births no ports.
fn lacks(name: &str, view: &[&str]) -> bool {
    match view.first() {
        Some(&"--conflicts") => name != "v2",
        Some(&"--ports") => name == "v2",
        _ => false,
    }
}

#[test]
fn names_in_a_recording_are_not_obeyed_and_forge_no_line() {
    for (seed, name) in (1..=3).flat_map(|seed| RECORDINGS.map(|name| (seed, name))) {
        let mut random = Random(seed);
        let commands: Vec<_> = (0..64).map(|_| random.command()).collect();
        let mut commands = commands.into_iter().cycle();
        let evil = forged(name, &mut || random.text(), &mut || {
            commands.next().unwrap()
        });
        let good = forged(name, &mut || "name".into(), &mut || {
            *b"command\0\0\0\0\0\0\0\0\0"
        });
        let [evil, good] = [("evil", evil), ("good", good)]
            .map(|(kind, one)| one.save(&format!("{kind}-{name}-{seed}")));
        for view in VIEWS {
            for format in ["text", "csv", "json"] {
                if lacks(name, view) {
                    continue;
                }
                let arguments = [&["report", "--utc", "-o", format], *view].concat();
                let [evil, good] = [&evil, &good].map(|file| lines(&arguments, file.path()));
                assert_eq!(evil, good, "{name} {arguments:?}");
            }
        }
        for by in ["cgroup", "uid", "netns"] {
            let top = [
                "top", "--batch", "--utc", "--speed", "1000", "--by", by, "--replay",
            ];
            lines(&top, evil.path());
        }
    }
}

/// Every text of the facts, but for the words that twtrace knows.
fn poison(value: &mut Value, key: &str, random: &mut Random) {
    const WORDS: [&str; 6] = [
        "answer",
        "ts_offset",
        "tw_counted_at",
        "laddr",
        "raddr",
        "way",
    ];
    match value {
        Value::String(text) if !WORDS.contains(&key) => *text = random.text(),
        Value::Array(list) => list.iter_mut().for_each(|one| poison(one, key, random)),
        Value::Object(map) => {
            for (key, value) in map {
                poison(value, key, random);
            }
        }
        _ => {}
    }
}

#[test]
fn facts_of_another_host_are_not_obeyed() {
    for (seed, kernel) in (1..=5).flat_map(|seed| ["5.10", "6.18"].map(|kernel| (seed, kernel))) {
        let text = std::fs::read(golden(&format!("doctor/{kernel}.facts.json"))).unwrap();
        let mut facts: Value = serde_json::from_slice(&text).unwrap();
        facts["recycle_files"] = json!(["one", "two"]);
        facts["unread"] = json!({"count": 3, "why": "why", "more": true});
        facts["tracing"]["privileges"]["missing"] = json!(["one"]);
        facts["tracing"]["privileges"]["lockdown"] = "level".into();
        facts["tracing"]["allowed"] = json!({"answer": "unknown", "why": "why"});
        poison(&mut facts, "", &mut Random(seed));
        let file = Saved::new(
            &format!("facts-{kernel}-{seed}"),
            facts.to_string().as_bytes(),
        );
        for arguments in [&["doctor", "--read"][..], &["doctor", "--json", "--read"]] {
            let output = twtrace(arguments, file.path());
            let context = arguments.join(" ");
            assert!(output.status.code() < Some(2), "{context}: {output:?}");
            harmless(&output.stderr, &context);
            let text = harmless(&output.stdout, &context);
            if arguments.len() > 2 {
                harmless_json(&serde_json::from_str(&text).unwrap(), &context);
            }
        }
    }
}

#[test]
fn errors_quote_nothing_that_is_obeyed() {
    let evil = "\x1b[2J\u{202e}\n";
    let mut recording = Forged::from(&golden("names.twtrace"));
    edit(&mut recording.blocks[0].1, |meta| {
        meta["tw_counted_at"] = evil.into();
    });
    let recording = recording.save("meta");
    let facts = Saved::new(
        "no-facts",
        json!({"kernel": "k", "uptime_s": evil})
            .to_string()
            .as_bytes(),
    );
    let named = Saved::new("named \x1b[2J\u{202e}\n", b"no recording");
    let cut = Forged::from(&golden("names.twtrace"))
        .with([(END, vec![7; 8])])
        .save("end \x1b[2J");
    for (arguments, file) in [
        (&["report"][..], &recording),
        (&["doctor", "--read"], &facts),
        (&["report"], &named),
        (&["doctor", "--read"], &named),
        (&["report"], &cut),
        (&["top", "--batch", "--replay"], &named),
    ] {
        let output = twtrace(arguments, file.path());
        let context = arguments.join(" ");
        assert_eq!(output.status.code(), Some(2), "{context}");
        harmless(&output.stdout, &context);
        let error = harmless(&output.stderr, &context);
        assert!(error.contains("[2J"), "{context}: {error}");
        assert!(error.lines().count() <= 2, "{context}: {error}");
    }
    let missing = twtrace(&["report"], Path::new("/no such \x1b[2J file"));
    harmless(&missing.stderr, "missing");
}
