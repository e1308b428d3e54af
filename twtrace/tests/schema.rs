//! docs/schema/twtrace.schema.json says what JSON there is: the goldens, and what the program prints
//! today.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[path = "support/program.rs"]
mod program;
#[expect(dead_code, reason = "the other golden tests use the rest")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};
use twtrace::event::Reason;
use twtrace::view::columns::COLUMNS;
use twtrace::view::docs;

use program::twtrace;
use support::golden;

/// Goldens of `--fields`.
const CHOSEN: [&str; 2] = ["fields.json", "owners.json"];

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/twtrace.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The schema lets fields be added; here none may be that it does not have.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            let object = map
                .get("type")
                .is_some_and(|kind| kind == "object" || kind == &json!(["object", "null"]));
            if object && map.contains_key("properties") {
                map.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// Of all objects, and of those that `--fields` has.
fn validators() -> [Validator; 2] {
    let mut schema = schema();
    close(&mut schema["$defs"]);
    let chosen = json!({
        "$schema": schema["$schema"],
        "$ref": "#/$defs/chosen",
        "$defs": schema["$defs"],
    });
    [schema, chosen].map(|one| jsonschema::validator_for(&one).unwrap())
}

/// Each line is what the schema says; returns what kinds of events there are.
fn check(validator: &Validator, text: &str, name: &str) -> BTreeSet<String> {
    assert!(!text.is_empty(), "{name} is empty");
    let mut events = BTreeSet::new();
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let wrong: Vec<_> = validator.iter_errors(&object).collect();
        let wrong: Vec<_> = wrong
            .iter()
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{line}");
        events.insert(object["event"].as_str().unwrap().to_owned());
    }
    events
}

/// Files below a directory, as they are called from there.
fn json_files(directory: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(golden(directory)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".json") && !name.ends_with(".facts.json") {
            names.push(Path::new(directory).join(name).display().to_string());
        }
    }
    names
}

/// What the program prints.
fn printed(arguments: &[&str]) -> String {
    let output = twtrace().args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(2), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn known_events() -> BTreeSet<String> {
    let schema = schema();
    let events = schema["properties"]["event"]["enum"].as_array().unwrap();
    let names = events.iter().map(|name| name.as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn every_golden_is_what_the_schema_says_and_every_event_is_in_one() {
    let [whole, chosen] = validators();
    let mut seen = BTreeSet::new();
    let names = [json_files(""), json_files("doctor")].concat();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let text = fs::read_to_string(golden(&name)).unwrap();
        if CHOSEN.contains(&name.as_str()) {
            check_events(&chosen, &text);
        } else {
            seen.extend(check(&whole, &text, &name));
        }
    }
    // `check --list` and `report --ports`, which are below.
    seen.extend(["scenario", "port-pressure"].map(str::to_owned));
    assert_eq!(seen, known_events());
}

#[test]
fn what_is_printed_today_is_what_the_schema_says() {
    let [whole, chosen] = validators();
    for recording in ["v1", "v2", "v3", "v4", "names"] {
        let path = golden(&format!("{recording}.twtrace"));
        let path = path.to_str().unwrap();
        for view in [
            &[][..],
            &["--hist"],
            &["--by", "cgroup"],
            &["--hist", "--by", "peer"],
        ] {
            let arguments = [&["report", path, "--json"], view].concat();
            check(&whole, &printed(&arguments), &format!("{arguments:?}"));
        }
    }
    for (recording, view) in [("v2", "--conflicts"), ("v3", "--ports"), ("v4", "--ports")] {
        let path = golden(&format!("{recording}.twtrace"));
        let arguments = ["report", path.to_str().unwrap(), view, "--json"];
        let seen = check(&whole, &printed(&arguments), &format!("{arguments:?}"));
        assert!(recording != "v3" || seen.contains("port-pressure"));
    }
    let all: Vec<_> = COLUMNS.iter().map(|column| column.key).collect();
    let path = golden("v2.twtrace");
    let arguments = [
        "report",
        path.to_str().unwrap(),
        "--json",
        "--fields",
        &all.join(","),
    ];
    check_events(&chosen, &printed(&arguments));
    for kernel in ["5.10", "6.1", "6.18", "7.2"] {
        let facts = golden(&format!("doctor/{kernel}.facts.json"));
        let arguments = ["doctor", "--json", "--read", facts.to_str().unwrap()];
        check(&whole, &printed(&arguments), &format!("{arguments:?}"));
    }
    check(
        &whole,
        &printed(&["doctor", "--json"]),
        "doctor of this host",
    );
    #[cfg(feature = "check")]
    {
        let listed = printed(&["check", "--list", "--json"]);
        assert_eq!(check(&whole, &listed, "check --list"), set(["scenario"]));
    }
}

/// All but the summary, which `--fields` does not touch.
fn check_events(validator: &Validator, text: &str) {
    let summary = |line: &&str| line.contains("\"event\":\"summary\"");
    let events: Vec<_> = text.lines().filter(|line| !summary(line)).collect();
    check(validator, &events.join("\n"), "--fields");
}

#[test]
fn what_is_not_so_is_refused() {
    let [whole, _] = validators();
    let golden = fs::read_to_string(golden("trace.json")).unwrap();
    let end: Value = serde_json::from_str(golden.lines().next().unwrap()).unwrap();
    assert!(whole.is_valid(&end));
    let with = |key: &str, value: Value| {
        let mut other = end.clone();
        other[key] = value;
        other
    };
    let mut short = end.clone();
    short.as_object_mut().unwrap().remove("netns");
    for wrong in [
        short,
        with("lport", "443".into()),
        with("reason", "tired".into()),
        with("event", "beginning".into()),
        with("v", 2.into()),
        with("colour", "red".into()),
    ] {
        assert!(!whole.is_valid(&wrong), "{wrong}");
    }
    // Who reads must bear a field that was added.
    let open = jsonschema::validator_for(&schema()).unwrap();
    assert!(open.is_valid(&with("colour", "red".into())));
}

/// The properties of a kind of object, or the words of an enumeration.
fn words(schema: &Value, path: &str) -> BTreeSet<String> {
    match schema.pointer(path).unwrap() {
        Value::Object(map) => map.keys().cloned().collect(),
        Value::Array(list) => {
            let words = list.iter().filter_map(Value::as_str);
            words.map(str::to_owned).collect()
        }
        other => panic!("{path} is {other}"),
    }
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn fields_and_words_are_those_of_docs_output_md() {
    let schema = schema();
    for (kind, fields) in [
        ("summary", &docs::SUMMARY[..]),
        ("histogram", &docs::HISTOGRAM),
        ("population", &docs::POPULATION),
        ("port-pressure", &docs::PORT_PRESSURE),
        ("peer", &docs::PEER),
    ] {
        let properties = words(&schema, &format!("/$defs/{kind}/properties"));
        assert_eq!(
            properties,
            set(fields.iter().map(|field| field.0)),
            "{kind}"
        );
    }
    for kind in [
        "end",
        "overflow",
        "refusal",
        "reopen",
        "conflict",
        "port-failure",
    ] {
        let mut properties = words(&schema, &format!("/$defs/{kind}/properties"));
        assert!(properties.remove("v"));
        let known = set(COLUMNS.iter().map(|column| column.key));
        assert!(properties.is_subset(&known), "{kind}");
    }
    let mut columns = set(COLUMNS.iter().map(|column| column.key));
    columns.insert("v".to_owned());
    assert_eq!(words(&schema, "/$defs/chosen/properties"), columns);
    let reasons = set(Reason::ALL.into_iter().map(Reason::name));
    assert_eq!(words(&schema, "/$defs/reason/enum"), reasons);
    assert_eq!(words(&schema, "/$defs/by_reason/properties"), reasons);
}
