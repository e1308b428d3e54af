//! Causes and their evidence in words.

use serde::Serialize;

use super::line::Line;
use super::units::{self, thousands};
use crate::model::conflicts::causes::{
    Argument, Cause, FAR_TICKS, Hypothesis, NEAR_BYTES, Standing,
};

/// A cause for people.
pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::SeveralHosts => "several hosts behind one address",
        Cause::PortRewritingNat => "one host behind a NAT that rewrites ports",
        Cause::ClockReset => "a clock that went back: reboot, restored VM",
        Cause::NonMonotonicStack => "a stack or proxy whose timestamps do not grow",
        Cause::RestartedDevice => "a device that restarted, with a fixed port or ISN",
        Cause::OldDuplicate => "old duplicates: segments delayed in the network",
    }
}

pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Likely => "likely",
        Standing::Perhaps => "perhaps",
        Standing::Less => "less",
        Standing::Not => "not",
    }
}

/// A fact as a short sentence.
pub(super) fn sentence(argument: &Argument) -> String {
    let n = |n: u64| thousands(n);
    match *argument {
        Argument::SameGaps { n: same, of, ticks } => format!(
            "{} of {} gaps are the same, {} ticks: the same two clocks",
            n(same),
            n(of),
            n(ticks.into())
        ),
        Argument::UnrelatedGaps { of } => {
            format!(
                "the {} gaps are unrelated: a different clock each time",
                n(of)
            )
        }
        Argument::FarBehind { n: 1, of: 1 } => format!(
            "the gap exceeds {} ticks: a different clock, not a delayed segment",
            n(FAR_TICKS.into())
        ),
        Argument::FarBehind { n: far, of } if far == of => format!(
            "all {} gaps exceed {} ticks: a different clock, not a delayed segment",
            n(of),
            n(FAR_TICKS.into())
        ),
        Argument::FarBehind { n: far, of } => format!(
            "{} of {} gaps exceed {} ticks: a different clock, not a delayed segment",
            n(far),
            n(of),
            n(FAR_TICKS.into())
        ),
        Argument::TurnsTaken { n: turns } => format!(
            "{} ahead by as much as the refused ones are behind: two clocks take turns",
            units::count(turns, "accepted SYN")
        ),
        Argument::Jumps { n: jumps } => {
            format!(
                "{} with a clock far ahead",
                units::count(jumps, "accepted SYN")
            )
        }
        Argument::NoJumps => "no accepted SYN is far ahead, as if two hosts took turns".to_owned(),
        Argument::InStepBefore { n: before } => format!(
            "{} before the first refusal had the clock of the earlier connection",
            units::count(before, "SYN")
        ),
        Argument::OtherTtl {
            n: times,
            syn,
            owner,
        } => format!(
            "TTL {syn} where the earlier connection had {owner}, {}: another host or path",
            units::count(times, "time")
        ),
        Argument::SeveralTtls { a, b } => {
            format!("SYNs come with TTL {a} and {b}: several hosts or paths")
        }
        Argument::SameTtl { n: times, ttl } => {
            format!(
                "TTL {ttl} like the earlier connection, all {} times",
                n(times)
            )
        }
        Argument::SeveralWindows { n: windows } => {
            format!("SYNs offer {windows} or more different windows: several stacks")
        }
        Argument::OneWindow { window } => format!("all SYNs offer the window {window}"),
        Argument::IsnAhead { n: ahead, of } => {
            format!("ISN beyond rcv_nxt in {} of {}", n(ahead), n(of))
        }
        Argument::IsnMixed { ahead, behind } => format!(
            "ISN beyond rcv_nxt {} times, before it {} times: unrelated connections",
            n(ahead),
            n(behind)
        ),
        Argument::LikeDuplicates {
            n: alike,
            of,
            timestamps,
        } => format!(
            "{} only a little behind in {} of {}, as if from the earlier connection",
            if timestamps {
                "TSval and ISN are"
            } else {
                "the ISN is"
            },
            n(alike),
            n(of)
        ),
        Argument::IsnNotAhead { n: behind, of } => format!(
            "no timestamps, and the ISN is not beyond rcv_nxt in {} of {}",
            n(behind),
            n(of)
        ),
        Argument::IsnNear { n: near, of } => format!(
            "the ISN is less than {} bytes before rcv_nxt in {} of {}: about where the earlier connection began",
            n(NEAR_BYTES.into()),
            n(near),
            n(of)
        ),
        Argument::OneIsn { n: all, isn } => {
            format!("the same ISN, {}, in {} SYNs", n(isn.into()), n(all))
        }
        Argument::OnePort { n: all, port } => {
            format!("the same port, {port}, in {} conflicts", n(all))
        }
        Argument::Many { n: many } => {
            format!("{} conflicts; a delayed segment would come alone", n(many))
        }
        Argument::SentAgain { n: again, of } => format!(
            "{} of {} SYNs were repeated: somebody wants to connect",
            n(again),
            n(of)
        ),
        Argument::Within { ns } => format!("all refusals within {}", units::span(ns)),
        Argument::YoungClock { ticks } => format!(
            "no TSval above {} ticks: a clock that has just started at 0, unless it adds an offset",
            n(ticks.into())
        ),
        Argument::ZeroTsval { n: zero, of } => {
            format!("TSval 0 in {} of {} SYNs", n(zero), n(of))
        }
        Argument::NoTsval { n: without, of } => format!(
            "{} of {} SYNs have no timestamp, unlike the earlier connections",
            n(without),
            n(of)
        ),
        Argument::NoTimestamps { n: without } => format!(
            "{} without timestamps: only the ISN decides",
            units::count(without, "connection")
        ),
        Argument::NeverClosed { n: open, of, live } => format!(
            "{} of {} old connections still {}, because their client never closed them",
            n(open),
            n(of),
            match live {
                0 => "in FIN_WAIT2",
                live if live == open => "live",
                _ => "live or in FIN_WAIT2",
            }
        ),
        Argument::PortsHashed => {
            "this kernel has a clock per port, and so has a client that runs the same kernel"
                .to_owned()
        }
    }
}

/// A hypothesis in JSON.
#[derive(Serialize)]
pub(super) struct CauseObject {
    cause: &'static str,
    r#for: Vec<String>,
    against: Vec<String>,
}

impl CauseObject {
    pub(super) fn all(causes: &[Hypothesis]) -> Vec<Self> {
        let object = |one: &Hypothesis| Self {
            cause: one.cause.name(),
            r#for: one.pro.iter().map(sentence).collect(),
            against: one.con.iter().map(sentence).collect(),
        };
        causes.iter().map(object).collect()
    }
}

/// `port-rewriting-nat several-hosts`: those for which more speaks than against.
pub(super) fn causes_apart(causes: &[Hypothesis], out: &mut Line) {
    let good = causes
        .iter()
        .filter(|one| one.standing() <= Standing::Perhaps);
    for (index, one) in good.enumerate() {
        if index > 0 {
            out.byte(b' ');
        }
        out.text(one.cause.name());
    }
}

/// `-5 -17`.
pub(super) fn gaps_apart(gaps: &[i32], out: &mut Line) {
    for (index, gap) in gaps.iter().enumerate() {
        if index > 0 {
            out.byte(b' ');
        }
        out.signed(*gap);
    }
}
