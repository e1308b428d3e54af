//! What `doctor` found, for people and for programs.

pub(super) mod docs;
mod effects;
mod json;
mod say;
#[cfg(test)]
mod tests;
mod text;
mod words;

use crate::event::facts::Facts;
use crate::host::Names;
use crate::model::doctor::Diagnosis;
use crate::view::paint::Paint;

/// For a person: the verdict first; lines of 80 columns.
#[must_use]
pub fn text(facts: &Facts, diagnosis: &Diagnosis, paint: Paint, names: &mut Names) -> String {
    text::text(facts, diagnosis, paint, names)
}

/// One JSON object on a line.
#[must_use]
pub fn json(facts: &Facts, diagnosis: &Diagnosis) -> String {
    json::json(facts, diagnosis)
}
