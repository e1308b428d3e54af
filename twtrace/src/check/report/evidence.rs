//! What explains a failure: the rule that was broken, and the events behind it.

use crate::check::outcome::{Outcome, Run, Verdict};
use crate::host::Names;
use crate::model::Tally;
use crate::model::tally::Detail;
use crate::view::{Of, Options, Output, Renderer};

/// So many events are shown; more of the same explain no more.
const EVENTS: usize = 12;

/// Lines for a person: what does not fit, what should have been, and what was seen. None if it
/// did not fail.
pub(super) fn explain(run: &Run<'_>, outcome: &Outcome) -> Vec<String> {
    let Verdict::Fail(failures) = &outcome.verdict else {
        return Vec::new();
    };
    let behaviour = outcome.case.behaviour;
    let mut lines = failures.clone();
    lines.push(format!("expected: {}", behaviour.rule));
    for differs in behaviour.differs {
        lines.push(format!("on this kernel: {}", differs.on(run.shown)));
    }
    lines.push(format!("why it matters: {}", behaviour.why));
    lines.push(format!("in the kernel: {}", behaviour.source));
    if !outcome.counters.is_empty() {
        let moved = outcome.counters.iter();
        let moved: Vec<_> = moved.map(|(name, by)| format!("{name} {by}")).collect();
        lines.push(format!("counters that moved: {}", moved.join(", ")));
    }
    lines.extend(events(run, outcome));
    lines
}

/// The tracer's own lines, as `twtrace trace` prints them.
fn events(run: &Run<'_>, outcome: &Outcome) -> Vec<String> {
    if outcome.events.is_empty() {
        return vec!["no event was traced".into()];
    }
    let options = Options {
        output: Output::Text,
        fields: None,
        utc: true,
        wide: false,
        events: Of::TRACE,
    };
    // Only a choice of columns can be wrong, and none was made.
    let Ok(mut renderer) = Renderer::new(&options, run.meta, Names::none()) else {
        return Vec::new();
    };
    let mut tally = Tally::new(run.meta, Detail::Records);
    let mut text = Vec::new();
    renderer.header(&mut text);
    for event in outcome.events.iter().take(EVENTS) {
        if let Some(report) = tally.event(*event) {
            renderer.event(&report, &mut text);
        }
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines = vec![format!("{} events were traced:", outcome.events.len())];
    lines.extend(text.lines().map(|line| format!("  {}", line.trim_end())));
    if let Some(more @ 1..) = outcome.events.len().checked_sub(EVENTS) {
        lines.push(format!("  and {more} more"));
    }
    lines
}
