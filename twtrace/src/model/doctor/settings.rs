//! What each sysctl does on this kernel, and which settings are useless or harmful.

use super::range::usable;
use super::{Finding, Severity, What};
use crate::event::TsOffset;
use crate::event::facts::{Facts, Namespace, Setting, Sysctl, Value};

/// The age from which `tcp_tw_reuse` lets connect() reuse a TIME_WAIT socket (`tcp_twsk_unique`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseAge {
    /// Once the clock's second differs from that of the last timestamp: after 0 to 1 s.
    NextSecond,
    /// After `tcp_tw_reuse_delay` ms.
    Ms(i64),
}

/// A sysctl, its value and what that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub netns: u32,
    pub sysctl: Sysctl,
    /// `None` if this kernel does not have it.
    pub setting: Option<Setting>,
    pub effect: Effect,
}

/// What a value does on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    ReuseOff,
    ReuseAll(ReuseAge),
    ReuseLoopback(ReuseAge),
    /// On, but without effect: timestamps are off.
    ReuseNeedsTimestamps,
    ReuseDelay(i64),
    /// Without effect, because `tcp_tw_reuse` has none.
    ReuseDelayUnused,
    /// This kernel counts in whole seconds.
    ReuseDelayAbsent,
    RecycleOn,
    RecycleOff,
    RecycleAbsent,
    TimestampsOff,
    TimestampsOn(Option<TsOffset>),
    TimestampsWithoutOffset,
    Limit,
    FinTimeout,
    /// More than the 60 s of a mini-socket: the rest is spent in a full one.
    FinTimeoutLong,
    RstEndsTimeWait,
    RstIgnored,
    AnswerEvery(i64),
    AnswerAll,
    /// Ports to choose from, without the reserved ones.
    Range(u32),
    NoneReserved,
    Reserved,
    StepAbsent,
    StepOff,
    StepOn,
    AutobindOff,
    AutobindOn,
    CookiesOff,
    CookiesWhenFull,
    CookiesAlways,
}

impl Effect {
    /// Whether the sysctl has its intended effect; `false` also if this kernel has none.
    #[must_use]
    pub fn takes_effect(self) -> bool {
        !matches!(
            self,
            Self::ReuseOff
                | Self::ReuseNeedsTimestamps
                | Self::ReuseDelayUnused
                | Self::ReuseDelayAbsent
                | Self::RecycleOff
                | Self::RecycleAbsent
                | Self::TimestampsOff
                | Self::RstEndsTimeWait
                | Self::AnswerAll
                | Self::NoneReserved
                | Self::StepAbsent
                | Self::StepOff
                | Self::AutobindOff
                | Self::CookiesOff
        )
    }
}

/// Of our own namespace all, of the others what differs.
pub(super) fn rows(facts: &Facts) -> Vec<Row> {
    let own = facts.namespaces.first();
    let mut rows = Vec::new();
    for namespace in &facts.namespaces {
        let base = own.filter(|own| own.netns != namespace.netns);
        for sysctl in Sysctl::ALL {
            if !differs(namespace, base, sysctl) {
                continue;
            }
            if let Some(effect) = effect(facts, namespace, sysctl) {
                rows.push(Row {
                    netns: namespace.netns,
                    sysctl,
                    setting: namespace.sysctls.get(&sysctl).cloned(),
                    effect,
                });
            }
        }
    }
    rows
}

/// Whether a sysctl is shown: in our own namespace always.
pub(super) fn differs(namespace: &Namespace, base: Option<&Namespace>, sysctl: Sysctl) -> bool {
    base.is_none_or(|base| {
        let value = |of: &Namespace| of.sysctls.get(&sysctl).map(|found| found.value.clone());
        value(namespace) != value(base)
    })
}

pub(super) fn default_limit(namespace: &Namespace) -> Option<u64> {
    match namespace.sysctls.get(&Sysctl::TcpMaxTwBuckets)?.default {
        Some(Value::Number(number)) => u64::try_from(number).ok(),
        _ => None,
    }
}

fn reuse_age(namespace: &Namespace) -> ReuseAge {
    namespace
        .number(Sysctl::TcpTwReuseDelay)
        .map_or(ReuseAge::NextSecond, ReuseAge::Ms)
}

fn timestamps_off(namespace: &Namespace) -> bool {
    namespace.number(Sysctl::TcpTimestamps) == Some(0)
}

/// `None` if this kernel does not have it and nothing is to be said about that.
fn effect(facts: &Facts, namespace: &Namespace, sysctl: Sysctl) -> Option<Effect> {
    let number = namespace.number(sysctl);
    let on = number.is_some_and(|number| number != 0);
    let effect = match sysctl {
        Sysctl::TcpTwReuse => match number? {
            0 => Effect::ReuseOff,
            _ if timestamps_off(namespace) => Effect::ReuseNeedsTimestamps,
            1 => Effect::ReuseAll(reuse_age(namespace)),
            _ => Effect::ReuseLoopback(reuse_age(namespace)),
        },
        Sysctl::TcpTwReuseDelay => match number {
            None => Effect::ReuseDelayAbsent,
            Some(_) if timestamps_off(namespace) => Effect::ReuseDelayUnused,
            Some(_) if namespace.number(Sysctl::TcpTwReuse) == Some(0) => Effect::ReuseDelayUnused,
            Some(ms) => Effect::ReuseDelay(ms),
        },
        Sysctl::TcpTwRecycle => match number {
            None => Effect::RecycleAbsent,
            Some(0) => Effect::RecycleOff,
            Some(_) => Effect::RecycleOn,
        },
        Sysctl::TcpTimestamps => match number? {
            0 => Effect::TimestampsOff,
            2 => Effect::TimestampsWithoutOffset,
            _ => Effect::TimestampsOn(facts.tracing.ts_offset),
        },
        Sysctl::TcpMaxTwBuckets => number.map(|_| Effect::Limit)?,
        Sysctl::TcpFinTimeout if number? > 60 => Effect::FinTimeoutLong,
        Sysctl::TcpFinTimeout => Effect::FinTimeout,
        Sysctl::TcpRfc1337 if number.is_none() => return None,
        Sysctl::TcpRfc1337 if on => Effect::RstIgnored,
        Sysctl::TcpRfc1337 => Effect::RstEndsTimeWait,
        Sysctl::TcpInvalidRatelimit => match number? {
            0 => Effect::AnswerAll,
            ms => Effect::AnswerEvery(ms),
        },
        Sysctl::IpLocalPortRange => {
            namespace.sysctls.get(&sysctl)?;
            Effect::Range(usable(namespace))
        }
        Sysctl::IpLocalReservedPorts => {
            namespace.sysctls.get(&sysctl)?;
            if namespace.ports(sysctl).is_empty() {
                Effect::NoneReserved
            } else {
                Effect::Reserved
            }
        }
        Sysctl::IpLocalPortStepWidth => match number {
            None => Effect::StepAbsent,
            Some(0) => Effect::StepOff,
            Some(_) => Effect::StepOn,
        },
        Sysctl::IpAutobindReuse if number.is_none() => return None,
        Sysctl::IpAutobindReuse if on => Effect::AutobindOn,
        Sysctl::IpAutobindReuse => Effect::AutobindOff,
        Sysctl::TcpSyncookies => match number? {
            0 => Effect::CookiesOff,
            1 => Effect::CookiesWhenFull,
            _ => Effect::CookiesAlways,
        },
    };
    Some(effect)
}

pub(super) fn find(
    facts: &Facts,
    namespace: &Namespace,
    base: Option<&Namespace>,
    findings: &mut Vec<Finding>,
) {
    let mut found = |sysctl: Sysctl, severity, what| {
        if differs(namespace, base, sysctl) {
            findings.push(Finding::new(severity, Some(namespace.netns), what));
        }
    };
    let is = |sysctl, value| namespace.number(sysctl) == Some(value);
    match (is(Sysctl::TcpTwReuse, 1), timestamps_off(namespace)) {
        (true, true) => {
            // Either of the two may differ.
            let what = What::ReuseWithoutTimestamps;
            let cause = if differs(namespace, base, Sysctl::TcpTwReuse) {
                Sysctl::TcpTwReuse
            } else {
                Sysctl::TcpTimestamps
            };
            found(cause, Severity::Warning, what);
        }
        (true, false) => {
            let age = reuse_age(namespace);
            let what = What::ReuseOnlyOutgoing { age };
            found(Sysctl::TcpTwReuse, Severity::Note, what);
        }
        (false, true) => found(Sysctl::TcpTimestamps, Severity::Note, What::TimestampsOff),
        (false, false) => {}
    }
    if is(Sysctl::TcpRfc1337, 1) {
        let refused = super::counters::refused(namespace).0;
        let severity = match refused {
            0 => Severity::Note,
            _ => Severity::Warning,
        };
        found(Sysctl::TcpRfc1337, severity, What::Rfc1337 { refused });
    }
    if let Some(seconds) = namespace.number(Sysctl::TcpFinTimeout)
        && seconds != 60
    {
        let what = What::FinTimeout { seconds };
        found(Sysctl::TcpFinTimeout, Severity::Note, what);
    }
    if is(Sysctl::IpAutobindReuse, 1) {
        let what = What::AutobindReuse;
        found(Sysctl::IpAutobindReuse, Severity::Note, what);
    }
    match namespace.number(Sysctl::TcpTwRecycle) {
        Some(0) => found(Sysctl::TcpTwRecycle, Severity::Note, What::RecycleThere),
        Some(_) => {
            let dropped = namespace.counter("PAWSPassive");
            let what = What::RecycleOn { dropped };
            found(Sysctl::TcpTwRecycle, Severity::Danger, what);
        }
        None if base.is_none() && !facts.recycle_files.is_empty() => {
            let files = facts.recycle_files.clone();
            let what = What::RecycleGone { files };
            found(Sysctl::TcpTwRecycle, Severity::Note, what);
        }
        None => {}
    }
}
