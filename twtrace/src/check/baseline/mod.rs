//! What a kernel showed, kept in a file, and what another shows beside it.

mod compare;
mod times;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use nix::time::{ClockId, clock_getres};
use serde::{Deserialize, Serialize};

use super::outcome::{Outcome, Run, Verdict, family_name};
use crate::error::{Error, Result, why};
use crate::event::{End, Event};
use crate::text::Text;
pub(super) use compare::{Comparison, Difference, Kind, compare};
use times::Times;

/// Of the file.
const VERSION: u32 = 1;
/// What the file says of itself.
const FORMAT: &str = "twtrace-check";

/// All that a run showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    format: Text,
    v: u32,
    /// Of twtrace.
    version: Text,
    /// `uname -r`.
    pub(super) kernel: Text,
    attach: Text,
    /// Length of a tick, which kernel timers count in.
    tick_ns: u64,
    /// What the kernel shows of itself.
    shows: BTreeMap<Text, bool>,
    cases: Vec<Case>,
}

/// What a scenario showed with one address family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Case {
    name: Text,
    group: Text,
    family: Text,
    verdict: Judged,
    /// Why it was skipped, or failed in the first place.
    reason: Option<Text>,
    /// What was found where kernels differ.
    found: BTreeMap<Text, Text>,
    /// TcpExt counters that moved.
    counters: BTreeMap<Text, u64>,
    /// Its connections came as they liked, so counters follow the weather.
    crowd: bool,
    /// How long mini-sockets lived, by clock and end reason: "time-wait expired".
    lifetimes: BTreeMap<Text, Times>,
    clients: Option<Clients>,
}

/// How clients fared that came in crowds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Clients {
    tried: u64,
    came_through: u64,
    refused_syns: u64,
    per_second: f64,
    /// How long connect() took, of those that came through.
    delays: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Judged {
    Pass,
    Fail,
    Skip,
}

impl Baseline {
    /// Keeps what a run showed.
    pub(super) fn of(run: &Run<'_>) -> Self {
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(std::time::Duration::from);
        Self {
            format: FORMAT.into(),
            v: VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: run.meta.kernel.clone(),
            attach: run.meta.attach.clone(),
            tick_ns: tick.map_or(0, |tick| u64::try_from(tick.as_nanos()).unwrap_or(0)),
            shows: texts(run.shown.by_name()),
            cases: run.outcomes.iter().map(case).collect(),
        }
    }

    /// Writes it to a file of this name.
    pub(super) fn save(&self, mut file: File, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        file.write_all(text.as_bytes()).map_err(|error| {
            Error::new(format!("cannot write {}: {}", path.display(), why(&error)))
        })
    }

    /// Reads what [`Self::save`] wrote.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Error::new(format!("cannot read {shown}: {}", why(&error))))?;
        let baseline: Self = serde_json::from_str(&text).map_err(|error| {
            Error::new(format!("{shown} is not a baseline: {error}"))
                .hint("make one with twtrace check --save FILE")
        })?;
        if (baseline.format.as_str(), baseline.v) != (FORMAT, VERSION) {
            let (format, v) = (&baseline.format, baseline.v);
            return Err(Error::new(format!(
                "the baseline {shown} is of the format {format} {v}, not {FORMAT} {VERSION}"
            ))
            .hint("make it again with this twtrace"));
        }
        Ok(baseline)
    }
}

fn case(outcome: &Outcome) -> Case {
    let (verdict, reason) = match &outcome.verdict {
        Verdict::Pass => (Judged::Pass, None),
        Verdict::Skip(reason) => (Judged::Skip, Some(reason.clone())),
        Verdict::Fail(failures) => (Judged::Fail, failures.first().cloned()),
    };
    Case {
        name: outcome.case.name.into(),
        group: outcome.case.group.name().into(),
        family: family_name(outcome.case.family).into(),
        verdict,
        reason: reason.map(Into::into),
        found: texts(outcome.found.clone()),
        counters: outcome.counters.clone(),
        crowd: outcome.crowd,
        lifetimes: lifetimes(&outcome.events),
        clients: Clients::of(outcome),
    }
}

impl Clients {
    /// Of a case that has any.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        let clients = outcome.clients.as_ref()?;
        let refused = outcome.events.iter().filter(|event| match event {
            Event::Refusal(refusal) => refusal.is_syn(),
            _ => false,
        });
        let came_through = clients.delays.len();
        Some(Self {
            tried: clients.tried as u64,
            came_through: came_through as u64,
            refused_syns: refused.count() as u64,
            per_second: came_through as f64 / clients.took.as_secs_f64().max(1e-9),
            delays: clients.delays.iter().copied().collect(),
        })
    }

    /// In a line for a person.
    pub(super) fn told(&self) -> String {
        let Self {
            tried,
            came_through,
            refused_syns,
            per_second,
            delays,
        } = self;
        let [median, longest] = [delays.median(), delays.max()].map(|one| one.as_millis());
        format!(
            "{came_through} of {tried} clients came through, {per_second:.0}/s; \
             {refused_syns} SYNs refused; connect() took {median} ms, at most {longest} ms"
        )
    }
}

fn texts<V, T: From<V>>(map: BTreeMap<String, V>) -> BTreeMap<Text, T> {
    let each = map.into_iter();
    each.map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn lifetimes(events: &[Event]) -> BTreeMap<Text, Times> {
    let mut lifetimes: BTreeMap<Text, Times> = BTreeMap::new();
    for event in events {
        let Event::End(end) = event else { continue };
        let reason = end.reason.name();
        for (clock, lasted) in clocks(end) {
            let times = lifetimes.entry(format!("{clock} {reason}").into());
            times.or_default().add(lasted);
        }
    }
    lifetimes
}

/// The clocks of a life, as far as they are known, in ns.
fn clocks(end: &End) -> impl Iterator<Item = (&'static str, u64)> {
    let until = end.time_wait_ns.unwrap_or(end.ended_ns);
    let born_waiting = end.born_as == Some(crate::event::BornAs::FinWait2);
    let fin_wait_2 = end.born_ns.filter(|_| born_waiting && !end.untracked);
    let fin_wait_2 = fin_wait_2.map(|born| ("fin-wait-2", until.saturating_sub(born)));
    let time_wait = end.time_wait_ns.filter(|_| end.in_time_wait);
    let time_wait = time_wait.map(|since| ("time-wait", end.ended_ns.saturating_sub(since)));
    fin_wait_2.into_iter().chain(time_wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_baseline_is_named() {
        let path = std::env::temp_dir().join(format!("twtrace-{}", std::process::id()));
        fs::write(&path, "{}").unwrap();
        let error = Baseline::load(&path).unwrap_err();
        assert!(error.message().contains("is not a baseline"), "{error}");
        fs::remove_file(&path).unwrap();
        let error = Baseline::load(&path).unwrap_err();
        assert!(error.message().contains("cannot read"), "{error}");
    }
}
