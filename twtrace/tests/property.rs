//! The functions that are fuzzed, with a million inputs of our own: seeds from the golden tests,
//! changed here and there. It runs everywhere; `cargo xtask fuzz` finds more where it can.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy.toml's exception does not reach"
)]

#[expect(unreachable_pub, reason = "fuzz/ is a crate of its own")]
#[path = "../../fuzz/src/seeds.rs"]
mod seeds;
#[expect(unreachable_pub, reason = "fuzz/ is a crate of its own")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;
use std::time::Instant;

/// Inputs of each target, more where they are cheap.
const INPUTS: [(&str, u32); 5] = [
    ("decode", 600_000),
    ("text", 200_000),
    ("btf", 170_000),
    ("recording", 20_000),
    ("facts", 10_000),
];
/// No input is longer: it may grow a little with each change.
const LONGEST: usize = 1 << 16;

/// The same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % end.max(1)
    }

    /// A seed with up to four changes.
    fn changed(&mut self, seed: &[u8], into: &mut Vec<u8>) {
        into.clear();
        into.extend(seed);
        for _ in 0..self.below(5) {
            self.change(into);
        }
        into.truncate(LONGEST);
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: [u8; 12] = [
            0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'{', b'[', 0x1b, b'\n', b'/',
        ];
        let at = self.below(bytes.len() + 1);
        let behind = (at + self.below(16)).min(bytes.len());
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
            2 => drop(bytes.drain(at..behind)),
            3 => {
                let again = bytes[at..behind].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let byte = match self.below(2) {
                    0 => TELLING[self.below(TELLING.len())],
                    _ => self.below(256) as u8,
                };
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
    }
}

fn run(target: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let seeds = seeds::of(target, &golden);
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let of = |all: &[(&str, u32)]| all.iter().find(|one| one.0 == target).map(|one| one.1);
    let count = of(&INPUTS).unwrap_or_else(|| panic!("{target} has no number of inputs"));
    let function = targets::TARGETS
        .iter()
        .find(|one| one.0 == target)
        .map(|one| one.1);
    let function = function.unwrap_or_else(|| panic!("there is no target {target}"));
    let started = Instant::now();
    seeds.iter().for_each(|seed| function(seed));
    let (mut random, mut input) = (Random(1), Vec::new());
    for _ in 0..count {
        let seed = random.below(seeds.len());
        random.changed(&seeds[seed], &mut input);
        function(&input);
    }
    println!(
        "{target}: {count} inputs in {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn any_bytes_decode() {
    run("decode");
}

#[test]
fn any_bytes_are_text() {
    run("text");
}

#[test]
fn any_type_information_is_walked() {
    run("btf");
}

#[test]
fn any_recording_is_read() {
    run("recording");
}

#[test]
fn any_facts_are_judged() {
    run("facts");
}

#[test]
fn there_are_a_million() {
    let all: u32 = INPUTS.iter().map(|target| target.1).sum();
    assert_eq!(all, 1_000_000);
    assert_eq!(INPUTS.len(), targets::TARGETS.len());
}
