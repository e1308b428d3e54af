//! Every segment that was refused has its event, and every sum its counter of the kernel.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::SocketAddr;

use twtrace_common::counters::Counters;
use twtrace_common::refusal::{Class, Skipped};

use super::lives::{CLOCK_GRACE, off};
use super::{Evidence, Failures, ends, refusals};
use crate::check::life::{Crowd, Rejection, Said, sum};
use crate::event::{Flow, Refusal, Reply, Rule, Stage, TsOffset};
use crate::model::refusal::{gap, seq_gap};

/// In whole seconds, on two clocks.
const MOST_AGE_S: u32 = 30;

/// Every refusal is reported once, in its order, with its numbers.
pub(super) fn judge_refusals(evidence: &Evidence<'_>, failures: &mut Failures) {
    match &evidence.made.crowd {
        Some(crowd) => judge_crowd(evidence, crowd, failures),
        None if evidence.made.churned > 0 => {}
        None => judge_each(evidence, failures),
    }
    judge_sums(evidence, failures);
    judge_witnesses(evidence, failures);
}

fn judge_each(evidence: &Evidence<'_>, failures: &mut Failures) {
    let mut reported: HashMap<_, Vec<&Refusal>> = HashMap::new();
    for refusal in refusals(evidence.events) {
        reported
            .entry(tuple(&refusal.flow))
            .or_default()
            .push(refusal);
    }
    let mut expected: HashMap<_, Vec<&Rejection>> = HashMap::new();
    for rejection in &evidence.made.rejections {
        let tuple = [rejection.local, rejection.remote].map(canonical);
        expected.entry(tuple).or_default().push(rejection);
    }
    for (tuple, expected) in &expected {
        let mut found = reported.remove(tuple).unwrap_or_default();
        found.sort_by_key(|refusal| refusal.at_ns);
        let [local, remote] = tuple;
        let name = format!("refusals of {local} > {remote}");
        failures.equal(&name, found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            judge_one(evidence, &name, found, expected, failures);
        }
    }
    for refusal in reported.values().flatten() {
        failures
            .0
            .push(format!("refused, but no scenario sent it: {refusal:?}"));
    }
}

fn judge_one(
    evidence: &Evidence<'_>,
    name: &str,
    found: &Refusal,
    expected: &Rejection,
    failures: &mut Failures,
) {
    let before = failures.0.len();
    let mut same = |what: &str, found: &dyn Debug, expected: &dyn Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        failures.equal(&format!("{name}: {what}"), found, expected);
    };
    same("family", &found.flow.family, &evidence.family);
    same("netns", &found.flow.netns, &evidence.netns);
    same("stage", &found.stage, &expected.stage);
    same("rule", &found.rule, &expected.rule);
    same("reply", &found.reply, &expected.reply);
    same("re-armed", &found.rearmed, &expected.rearmed);
    same("refused so far", &found.refused, &expected.refused);
    if let Some(said) = &expected.said {
        for (what, of) in NUMBERS {
            same(what, &of(&told(found)), &of(said));
        }
    }
    failures.check(is_sound(found), || {
        format!("{name}: the numbers do not say {}", found.rule.name())
    });
    failures.check(expected.at.holds(found.at_ns, CLOCK_GRACE), || {
        format!("{name} happened {}", off(found.at_ns, expected.at))
    });
    let aged = |age| age <= MOST_AGE_S;
    failures.check(found.ts_recent_age_s.is_none_or(aged), || {
        format!("{name}: ts_recent is {:?} s old", found.ts_recent_age_s)
    });
    if failures.0.len() > before {
        failures.0.push(format!("the event: {found:?}"));
    }
}

/// A number's name, and where it is.
type Number = (&'static str, fn(&Said) -> Option<i64>);

/// All that a segment said, and who refused it.
const NUMBERS: [Number; 9] = [
    ("TSval", |said| said.numbers.tsval.map(i64::from)),
    ("ts_recent", |said| said.numbers.ts_recent.map(i64::from)),
    ("gap", |said| gap(&said.numbers).map(i64::from)),
    ("sequence number", |said| Some(said.numbers.seq.into())),
    ("rcv_nxt", |said| Some(said.numbers.rcv_nxt.into())),
    ("TCP flags", |said| Some(said.tcp_flags.into())),
    ("window", |said| Some(said.window.into())),
    ("TTL", |said| Some(said.ttl.into())),
    ("TTL of the owner", |said| said.owner_ttl.map(i64::from)),
];

fn told(found: &Refusal) -> Said {
    Said {
        numbers: found.numbers,
        tcp_flags: found.tcp_flags,
        window: found.window,
        ttl: found.ttl.unwrap_or(0),
        owner_ttl: found.owner_ttl,
    }
}

/// Nobody knows the single refusals, but their kinds and how many SYNs there were.
fn judge_crowd(evidence: &Evidence<'_>, crowd: &Crowd, failures: &mut Failures) {
    // An ACK that a FIN has overtaken, or the RST for a segment that came late, may be refused as
    // well, by rights: two CPUs sent them.
    let natural = |one: &&Refusal| {
        let by_age = matches!(one.rule, Rule::Paws | Rule::OldSequence);
        !one.is_syn() && by_age && is_sound(one)
    };
    let refused: Vec<_> = refusals(evidence.events)
        .filter(|one| !natural(one))
        .collect();
    let nothing = crowd.by_ports && evidence.ts_offset != Some(TsOffset::Ports);
    let (syns, rules) = match nothing {
        true => (0..=0, &[][..]),
        false => (crowd.syns.clone(), crowd.rules),
    };
    let count = refused.iter().filter(|one| one.is_syn()).count();
    failures.check(syns.contains(&count), || {
        format!("{count} SYNs were refused, not {syns:?}")
    });
    for rule in rules {
        failures.check(refused.iter().any(|one| one.rule == *rule), || {
            format!("nothing was refused by {}", rule.name())
        });
    }
    let expected = |one: &&Refusal| rules.contains(&one.rule) && is_sound(one);
    for one in refused.iter().filter(|one| !expected(one)) {
        failures.0.push(format!("unexpected: {one:?}"));
    }
}

/// What the rule says is what the numbers say.
fn is_sound(refusal: &Refusal) -> bool {
    let behind = gap(&refusal.numbers).is_some_and(|gap| gap < 0);
    let ahead = seq_gap(&refusal.numbers);
    match refusal.rule {
        Rule::Paws => behind,
        Rule::Rfc1337 => ahead == 0,
        Rule::OldSequence => ahead <= 0,
        Rule::OutOfWindow => ahead >= 0,
        Rule::Unexpected => !behind,
        Rule::Challenge | Rule::Echo => true,
    }
}

/// Events and totals say the same, nothing was lost, and both verdicts agree.
fn judge_sums(evidence: &Evidence<'_>, failures: &mut Failures) {
    let found = evidence.counters.unwrap_or(&Counters::ZERO);
    let shared = evidence.shared.unwrap_or(&Counters::ZERO);
    let mut total = |what: &str, of: &dyn Fn(&Counters) -> u64, expected: u64| {
        failures.total(what, of(found), of(shared), expected);
    };
    for class in Class::ALL {
        let events = refusals(evidence.events).filter(|one| class_of(one) == class);
        let what = format!("refused: {}", class.name());
        total(
            &what,
            &|one| one.refused[class as usize],
            events.count() as u64,
        );
    }
    let by_mini_socket = |one: &&Refusal| matches!(one.stage, Stage::TimeWait | Stage::FinWait2);
    let syns = refusals(evidence.events)
        .filter(by_mini_socket)
        .filter(|one| one.is_syn());
    let syns = syns.count() as u64;
    total("SYNs refused", &|one| one.refused_syns, syns);
    total("refusals lost by the ring", &|one| one.refusal_ring_full, 0);
    total("refusals not reported", &|one| one.refusal_limited, 0);
    total("verdicts that differ", &|one| one.verdict_differs, 0);
    let told = ends(evidence.events)
        .map(|end| u64::from(end.refused))
        .sum();
    failures.equal("SYNs refused, by the ends", told, syns);
}

/// The class under which the programs count it.
fn class_of(refusal: &Refusal) -> Class {
    let paws = refusal.rule == Rule::Paws;
    match (refusal.stage, refusal.reply) {
        (Stage::TimeWait, _) if paws => Class::TimeWaitPaws,
        (Stage::TimeWait, _) => Class::TimeWaitOther,
        (Stage::FinWait2, _) if paws => Class::FinWait2Paws,
        (Stage::FinWait2, _) => Class::FinWait2Other,
        (Stage::SynRecv, _) if paws => Class::SynRecvPaws,
        (Stage::SynRecv, _) => Class::SynRecvOther,
        (Stage::Established, None) => Class::EstablishedChallenge,
        (Stage::Established, Some(Reply::None)) => Class::EstablishedOldAck,
        (Stage::Established, Some(_)) => Class::EstablishedPaws,
        (Stage::SynSent | Stage::Recycle, _) => Class::SynSent,
    }
}

/// The kernel counted the same.
fn judge_witnesses(evidence: &Evidence<'_>, failures: &mut Failures) {
    let found = evidence.counters.unwrap_or(&Counters::ZERO);
    let shared = evidence.shared.unwrap_or(&Counters::ZERO);
    let mut same = |names: &[&str], of: &dyn Fn(&Counters) -> u64| {
        let what = format!("and the kernel's {}", names.join(" + "));
        failures.total(&what, of(found), of(shared), sum(evidence.kernel, names));
    };
    let has = |name: &str| evidence.kernel.tcp_ext.contains_key(name);
    let classes = |classes: &'static [Class]| {
        move |one: &Counters| -> u64 {
            classes
                .iter()
                .map(|class| one.refused[*class as usize])
                .sum()
        }
    };
    let elsewhere = classes(&[Class::SynRecvPaws, Class::EstablishedPaws]);
    if has("PAWSTimewait") {
        same(&["PAWSTimewait"], &classes(&[Class::TimeWaitPaws]));
        same(&["PAWSEstab"], &elsewhere);
    } else {
        let here = classes(&[Class::TimeWaitPaws]);
        same(&["PAWSEstab"], &|one| here(one) + elsewhere(one));
    }
    if has("PAWSOldAck") {
        same(&["PAWSOldAck"], &classes(&[Class::EstablishedOldAck]));
    }
    for skipped in Skipped::ALL {
        same(&[skipped.name()], &|one| one.skipped[skipped as usize]);
    }
}

fn tuple(flow: &Flow) -> [SocketAddr; 2] {
    let local = SocketAddr::new(flow.laddr, flow.lport);
    let remote = SocketAddr::new(flow.raddr, flow.rport);
    [local, remote].map(canonical)
}

/// An IPv4-mapped address as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
