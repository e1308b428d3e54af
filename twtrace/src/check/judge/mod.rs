//! Compares what a scenario made with what the tracer and the kernel say. Pure.

mod lives;
mod ports;
mod refusals;
mod sums;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use twtrace_common::counters::Counters;

use super::life::Made;
use crate::event::{
    Birth, End, Event, Family, KernelCounters, Overflow, PortFailure, Refusal, TsOffset,
    TwCountedAt,
};
use lives::{judge_lives, judge_overflows};
use ports::{judge_births, judge_port_failures};
use refusals::judge_refusals;
use sums::{judge_churn, judge_counted, judge_totals, judge_witnesses};

/// All that is known of one case.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) family: Family,
    pub(super) uid: u32,
    /// Name of the thread that made the calls.
    pub(super) command: &'a str,
    /// The cgroup of this process by id; `None` if that is not known.
    pub(super) cgroup: Option<u64>,
    pub(super) netns: u32,
    pub(super) made: &'a Made,
    /// The namespace's TcpExt counters at the end of the scenario.
    pub(super) kernel: &'a KernelCounters,
    /// Mini-sockets in the socket table at that time.
    pub(super) left: usize,
    /// Events of this namespace, from the scenario's beginning on.
    pub(super) events: &'a [Event],
    /// The tracer's own totals of this namespace, if it has any.
    pub(super) counters: Option<&'a Counters>,
    /// The totals of all namespaces that found no entry of their own in the tracer's table, or not
    /// on every CPU.
    pub(super) shared: Option<&'a Counters>,
    pub(super) counted_at: TwCountedAt,
    pub(super) ts_offset: Option<TsOffset>,
    /// The kernel keeps `tw_entry_stamp`, so even old mini-sockets have an age.
    pub(super) has_stamp: bool,
}

/// What does not fit, in words.
pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<String> {
    let mut failures = Failures(Vec::new());
    if evidence.made.churned > 0 {
        judge_churn(evidence, &mut failures);
    } else {
        judge_lives(evidence, &mut failures);
        judge_overflows(evidence, &mut failures);
        judge_witnesses(evidence, &mut failures);
    }
    judge_counted(evidence, &mut failures);
    judge_totals(evidence, &mut failures);
    judge_refusals(evidence, &mut failures);
    judge_births(evidence, &mut failures);
    judge_port_failures(evidence, &mut failures);
    failures.0
}

struct Failures(Vec<String>);

impl Failures {
    fn equal<T: PartialEq + Display>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.0.push(format!("{what}: {found}, expected {expected}"));
        }
    }

    /// `found`, with a part of what is shared with others, is as expected.
    fn total(&mut self, what: &str, found: u64, shared: u64, expected: u64) {
        self.check((found..=found + shared).contains(&expected), || {
            format!("total {what}: {found}, expected {expected}")
        });
    }

    fn check(&mut self, good: bool, complaint: impl FnOnce() -> String) {
        if !good {
            self.0.push(complaint());
        }
    }
}

fn ends(events: &[Event]) -> impl Iterator<Item = &End> {
    events.iter().filter_map(|event| match event {
        Event::End(end) => Some(end),
        _ => None,
    })
}

fn refusals(events: &[Event]) -> impl Iterator<Item = &Refusal> {
    events.iter().filter_map(|event| match event {
        Event::Refusal(refusal) => Some(refusal),
        _ => None,
    })
}

fn births(events: &[Event]) -> impl Iterator<Item = &Birth> {
    events.iter().filter_map(|event| match event {
        Event::Birth(birth) => Some(birth),
        _ => None,
    })
}

fn port_failures(events: &[Event]) -> impl Iterator<Item = &PortFailure> {
    events.iter().filter_map(|event| match event {
        Event::PortFailure(failure) => Some(failure),
        _ => None,
    })
}

fn overflows(events: &[Event]) -> impl Iterator<Item = &Overflow> {
    events.iter().filter_map(|event| match event {
        Event::Overflow(overflow) => Some(overflow),
        _ => None,
    })
}
