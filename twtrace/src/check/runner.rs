//! Runs all cases side by side, a thread and a namespace each, while this thread drains the tracer.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::expect::{self, Shown, Sign};
use super::judge::{Evidence, judge};
use super::lab::cgroup;
use super::lab::gate::{Gate, Pass};
use super::lab::step::{PATIENCE, Step, Stop};
use super::lab::{Lab, Terms};
use super::life::{Made, now_ns};
use super::outcome::{Case, Outcome, Verdict};
use super::progress::Progress;
use super::scenarios::Scenario;
use crate::decode::decode;
use crate::error::{Error, Result};
use crate::event::{Event, KernelCounters, Snapshot};
use crate::kernel::netns::Netns;
use crate::kernel::{Session, counters};
use crate::text::Text;

/// How often the ring is emptied.
const DRAIN: Duration = Duration::from_millis(20);
/// After the last expected end, time for one too many.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How often a disturbed scenario is begun again.
const REPEATS: usize = 5;
/// Owners of the scenarios' sockets, one each.
const FIRST_UID: u32 = 10_007;

/// A case and how it is made to happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) case: Case,
    scenario: &'static Scenario,
}

/// What a case's thread hands back.
struct Done {
    index: usize,
    began_ns: u64,
    took: Duration,
    result: Step<Ran>,
    /// Namespaces of earlier tries, kept so that nobody else gets their inode numbers.
    abandoned: Vec<Netns>,
}

struct Ran {
    netns: u32,
    made: Made,
    kernel: KernelCounters,
    left: usize,
    has_stamp: bool,
}

/// Each scenario with each of its families.
pub(super) fn cases(scenarios: &[&'static Scenario]) -> Result<Vec<Planned>> {
    let mut cases = Vec::new();
    let mut uids = FIRST_UID..;
    for &scenario in scenarios {
        let name = scenario.name;
        let (group, behaviour) = expect::find(name)
            .ok_or_else(|| Error::new(format!("nothing is expected of the scenario {name}")))?;
        let of_family = |(&family, uid)| Planned {
            case: Case {
                name,
                group,
                behaviour,
                family,
                uid,
            },
            scenario,
        };
        cases.extend(scenario.families.iter().zip(&mut uids).map(of_family));
    }
    Ok(cases)
}

/// Runs them all; `start` begins tracing, with the calls that look for a port or without.
///
/// Those calls are traced for the scenarios that need it only: the programs run in tasks, and with
/// kprobes the kernel skips what a softirq on top of them runs, births and ends among it.
pub(super) fn run(
    cases: &[Planned],
    shown: &Shown,
    mut progress: Progress,
    start: impl Fn(bool) -> Result<Session>,
) -> Result<(Session, Vec<Outcome>)> {
    let (calls, others): (Vec<Planned>, Vec<Planned>) =
        cases.iter().partition(|planned| planned.scenario.calls);
    if calls.is_empty() || others.is_empty() {
        return round(cases, shown, &mut progress, || start(others.is_empty()));
    }
    let (_, mut outcomes) = round(&calls, shown, &mut progress, || start(true))?;
    let (session, more) = round(&others, shown, &mut progress, || start(false))?;
    outcomes.extend(more);
    outcomes.sort_by_key(|outcome| outcome.case.uid);
    Ok((session, outcomes))
}

fn round(
    cases: &[Planned],
    shown: &Shown,
    progress: &mut Progress,
    start: impl FnOnce() -> Result<Session>,
) -> Result<(Session, Vec<Outcome>)> {
    let gate = Gate::new(turns());
    let others = cases.iter().filter(|case| !case.scenario.early).count();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for (index, case) in cases.iter().enumerate() {
            let (gate, sender) = (&gate, sender.clone());
            let spawned = thread::Builder::new()
                .name(case.scenario.name.into())
                .spawn_scoped(scope, move || {
                    run_case((index, case), others, shown, gate, &sender);
                });
            if let Err(error) = spawned {
                gate.open(false);
                return Err(Error::new(format!("cannot start a thread: {error}")));
            }
        }
        drop(sender);
        gate.await_arrivals(cases.len());
        let session = start();
        gate.open(session.is_ok());
        Trace {
            session: session?,
            cgroup: cgroup::own(),
            events: Vec::new(),
            undecoded: 0,
        }
        .watch(cases, progress, &receiver)
    })
}

/// Runs in a thread of its own, which alone is in the namespace and takes it away when it ends.
/// `others` are those that need nothing older than tracing.
fn run_case(
    (index, planned): (usize, &Planned),
    others: usize,
    shown: &Shown,
    gate: &Gate,
    sender: &Sender<Done>,
) {
    let start = Instant::now();
    let Scenario { early, slow, .. } = *planned.scenario;
    if early {
        // Its mini-sockets run out: nobody makes a namespace, or works, before it once they are there.
        gate.await_arrivals(others);
    }
    let pass = gate.pass(early || slow);
    let mut abandoned = Vec::new();
    let (began_ns, result) = loop {
        let began_ns = now_ns();
        match in_lab(planned, shown, &pass) {
            Err(Stop::Disturbed(_)) if may_repeat(planned, &pass) && abandoned.len() < REPEATS => {
                abandoned.extend(Netns::current().ok());
            }
            result => break (began_ns, result),
        }
    };
    // The runner stops listening only when something went wrong for all.
    let _ = sender.send(Done {
        index,
        began_ns,
        took: start.elapsed(),
        result,
        abandoned,
    });
}

/// What must be older than tracing cannot be made again.
fn may_repeat(planned: &Planned, pass: &Pass<'_>) -> bool {
    !(planned.scenario.early && pass.has_arrived())
}

fn in_lab(planned: &Planned, shown: &Shown, pass: &Pass<'_>) -> Step<Ran> {
    let Planned { case, scenario } = planned;
    let terms = Terms {
        family: case.family,
        uid: case.uid,
        count: scenario.count,
        may_retransmit: scenario.may_retransmit,
    };
    let lab = Lab::enter(terms, shown, pass)?;
    if !scenario.early {
        lab.await_tracing()?;
    }
    let made = (scenario.run)(&lab)?;
    let made = Made {
        port_failures: lab.calls.take(),
        ..made
    };
    lab.check_undisturbed()?;
    Ok(Ran {
        netns: lab.netns,
        kernel: counters::read_current()?,
        left: lab.table()?.mini_sockets.len(),
        has_stamp: shown.has(Sign::EntryStamp),
        made,
    })
}

struct Trace {
    session: Session,
    /// That of this process, if it is known.
    cgroup: Option<u64>,
    events: Vec<Event>,
    undecoded: usize,
}

impl Trace {
    fn watch(
        mut self,
        cases: &[Planned],
        progress: &mut Progress,
        receiver: &Receiver<Done>,
    ) -> Result<(Session, Vec<Outcome>)> {
        let mut done = Vec::with_capacity(cases.len());
        loop {
            match receiver.recv_timeout(DRAIN) {
                Ok(one) => {
                    done.push(one);
                    progress.done += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.drain();
            progress.show();
        }
        progress.clear();
        self.await_ends(&done);
        let snapshot = self.session.snapshot()?;
        self.drain();
        let outcomes = done
            .iter()
            .map(|one| self.outcome(cases[one.index].case, one, &snapshot));
        let mut outcomes: Vec<_> = outcomes.collect();
        outcomes.sort_by_key(|outcome| outcome.case.uid);
        Ok((self.session, outcomes))
    }

    fn drain(&mut self) {
        let (events, undecoded) = (&mut self.events, &mut self.undecoded);
        let _ = self.session.drain(&mut |record| {
            match decode(record) {
                Ok(event) => events.push(event),
                Err(_) => *undecoded += 1,
            }
            ControlFlow::Continue(())
        });
    }

    /// The namespaces go in the background; waits for what is to end with them.
    fn await_ends(&mut self, done: &[Done]) {
        let start = Instant::now();
        let mut complete: Option<Instant> = None;
        while start.elapsed() < PATIENCE
            && complete.is_none_or(|since: Instant| since.elapsed() < AFTERWARDS)
        {
            thread::sleep(DRAIN);
            self.drain();
            let ran = done
                .iter()
                .filter_map(|one| one.result.as_ref().ok().map(|ran| (one, ran)));
            let all = ran
                .into_iter()
                .all(|(one, ran)| self.count(one, ran) >= expected(ran));
            complete = all.then(|| complete.unwrap_or_else(Instant::now));
        }
    }

    fn count(&self, one: &Done, ran: &Ran) -> usize {
        self.of(one, ran)
            .filter(|event| matches!(event, Event::End(_)))
            .count()
    }

    fn of<'a>(&'a self, one: &'a Done, ran: &'a Ran) -> impl Iterator<Item = &'a Event> {
        self.events
            .iter()
            .filter(|event| event.flow().netns == ran.netns && event.at_ns() >= one.began_ns)
    }

    fn outcome(&self, case: Case, one: &Done, snapshot: &Snapshot) -> Outcome {
        let mut outcome = Outcome {
            case,
            verdict: Verdict::Pass,
            sockets: 0,
            took: one.took,
            found: BTreeMap::new(),
            counters: BTreeMap::new(),
            events: Vec::new(),
            crowd: false,
            clients: None,
        };
        outcome.verdict = match &one.result {
            Err(Stop::Skip(reason)) => Verdict::Skip(reason.clone()),
            Err(Stop::Fail(reason)) => Verdict::Fail(vec![reason.clone()]),
            Err(Stop::Cancelled) => Verdict::Fail(vec!["tracing never began".into()]),
            Err(Stop::Disturbed(reason)) => {
                let times = one.abandoned.len() + 1;
                Verdict::Fail(vec![format!("disturbed {times} times in a row: {reason}")])
            }
            Ok(ran) => {
                outcome.sockets = expected(ran) + ran.made.overflows.len();
                outcome.events = self.of(one, ran).copied().collect();
                outcome.counters = moved(&ran.kernel);
                outcome.crowd = ran.made.churned > 0 || ran.made.crowd.is_some();
                outcome.clients = ran.made.clients.clone();
                let found = ran.made.found.iter();
                outcome.found = found
                    .map(|(what, found)| ((*what).to_owned(), found.clone()))
                    .collect();
                self.judge(case, &outcome.events, ran, snapshot)
            }
        };
        outcome
    }

    fn judge(&self, case: Case, events: &[Event], ran: &Ran, snapshot: &Snapshot) -> Verdict {
        let totals = |netns| snapshot.counters.iter().find(|one| one.netns == netns);
        let mut failures = judge(&Evidence {
            family: case.family,
            uid: case.uid,
            command: case.name,
            cgroup: self.cgroup,
            netns: ran.netns,
            made: &ran.made,
            kernel: &ran.kernel,
            left: ran.left,
            events,
            counters: totals(ran.netns),
            shared: totals(0),
            counted_at: self.session.meta().tw_counted_at,
            ts_offset: self.session.meta().ts_offset,
            has_stamp: ran.has_stamp,
        });
        if self.undecoded > 0 {
            failures.push(format!("{} records could not be decoded", self.undecoded));
        }
        // Whatever was skipped was nothing of this case: all that was made has been found.
        if failures.is_empty() {
            return Verdict::Pass;
        }
        if let Some(missed @ 1..) = snapshot.missed {
            failures.push(format!(
                "the kernel skipped twtrace's programs {missed} times"
            ));
        }
        Verdict::Fail(failures)
    }
}

/// The counters of a namespace that was made for the case.
fn moved(kernel: &KernelCounters) -> BTreeMap<Text, u64> {
    let moved = kernel.tcp_ext.iter().filter(|(_, by)| **by > 0);
    moved.map(|(name, by)| (name.clone(), *by)).collect()
}

/// How many scenarios work at a time.
fn turns() -> usize {
    thread::available_parallelism()
        .map_or(2, NonZero::get)
        .max(2)
}

/// Ends that must come.
fn expected(ran: &Ran) -> usize {
    ran.made.lives.len().max(ran.made.churned)
}
