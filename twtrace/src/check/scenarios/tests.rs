use std::collections::BTreeSet;

use super::*;
use crate::check::expect;

fn is_prime(number: usize) -> bool {
    number > 1 && (2..number).all(|divisor| !number.is_multiple_of(divisor))
}

#[test]
fn every_scenario_is_named_expected_and_prime() {
    for row in SCENARIOS {
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(
            !row.name.is_empty() && row.name.chars().all(kebab),
            "{}",
            row.name
        );
        assert!(expect::find(row.name).is_some(), "{}", row.name);
        assert!(is_prime(row.count), "{}", row.name);
        assert!(!row.families.is_empty(), "{}", row.name);
    }
}

#[test]
fn every_behaviour_has_its_scenario() {
    for (_, behaviours) in expect::TABLE {
        for one in *behaviours {
            let made = SCENARIOS.iter().any(|row| row.name == one.name);
            assert!(made, "{}", one.name);
        }
    }
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = SCENARIOS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), SCENARIOS.len());
}
