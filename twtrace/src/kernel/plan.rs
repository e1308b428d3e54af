//! What would be attached where on this kernel, without attaching anything. Pure: what the kernel
//! was asked comes as [`Trials`].

use super::attach::adapt;
use super::btf::{Btf, Kind};
use super::hooks::{self, Hook, HookKind, POINTS};
use super::{Options, offsets, preemption};
use crate::event::facts::{Answer, Feature, Point};

/// Everything to look up in BTF.
pub(super) fn wanted() -> Vec<(&'static str, Kind)> {
    offsets::STRUCTS
        .into_iter()
        .chain(hooks::functions())
        .chain(offsets::TS_OFFSET_FUNCTIONS)
        .chain(offsets::ENUMERATORS)
        .collect()
}

/// What the kernel says when it is asked.
pub(super) struct Trials<'a> {
    /// Whether a program may be loaded for a function's entry or exit, by its number in BTF.
    pub fentry: &'a dyn Fn(u32, bool) -> Answer,
    /// Whether one may be loaded for kprobes and raw tracepoints.
    pub load: Answer,
    /// Whether a kprobe may be set on a function.
    pub kprobe: &'a dyn Fn(&str) -> Answer,
    pub compare_exchange: Answer,
    pub missed_counts: Answer,
    /// Whether the kernel preempts bottom halves.
    pub preempts: bool,
}

/// Each point in the order of attaching.
pub(super) fn points(btf: &Btf, trials: &Trials<'_>) -> Vec<Point> {
    let slots = trials.compare_exchange == Answer::Yes;
    POINTS
        .iter()
        .map(|point| plan(point, btf, trials, slots))
        .collect()
}

fn plan(point: &hooks::Point, btf: &Btf, trials: &Trials<'_>, slots: bool) -> Point {
    let mut planned = Point {
        name: point.name.into(),
        function: point.function(btf).into(),
        answer: Answer::Yes,
        way: None,
        programs: Vec::new(),
        refused: Vec::new(),
        without: point.without.map(Into::into),
    };
    // With the options of `record`, which wants everything.
    let options = Options {
        ports: true,
        ..Options::default()
    };
    if !point.is_wanted(btf, &options) {
        planned.answer = Answer::No(hooks::UNWANTED.into());
        return planned;
    }
    let mut ways = [
        ("fentry", point.fentry_hooks(btf, &options)),
        ("kprobe", Ok(point.kprobe_hooks(btf, &options))),
    ];
    if trials.preempts {
        ways.reverse();
    }
    for (way, hooks) in ways {
        let answer = match &hooks {
            Ok(hooks) => all(hooks, btf, trials),
            Err(why) => Answer::No(why.as_str().into()),
        };
        match (answer, hooks) {
            (Answer::No(why), _) => planned.refused.push(format!("{way}: {why}").into()),
            (answer, hooks) => {
                let hooks = hooks.unwrap_or_default();
                let traced = |hook: &Hook| hook.kind == HookKind::RawTracepoint;
                let way = if hooks.iter().all(traced) {
                    "tracepoint"
                } else {
                    way
                };
                if trials.preempts && way == "kprobe" {
                    planned.refused.push(preemption::WHY_KPROBE.into());
                }
                planned.answer = answer;
                planned.way = Some(way.into());
                planned.programs = hooks
                    .into_iter()
                    .map(|hook| adapt(hook, slots).program.into())
                    .collect();
                return planned;
            }
        }
    }
    planned.answer = Answer::No(planned.refused.join("; ").into());
    planned
}

/// Yes if each hook is possible; else the first answer that is no or unknown.
fn all(hooks: &[Hook], btf: &Btf, trials: &Trials<'_>) -> Answer {
    let ask = |hook: &Hook| match hook.kind {
        HookKind::Fentry | HookKind::Fexit => btf
            .number(hook.function, Kind::Function)
            .map_or(Answer::Yes, |number| {
                (trials.fentry)(number, hook.kind == HookKind::Fexit)
            }),
        HookKind::Kprobe | HookKind::Kretprobe => match &trials.load {
            Answer::Yes => (trials.kprobe)(hook.function),
            refused => refused.clone(),
        },
        HookKind::RawTracepoint => trials.load.clone(),
    };
    let answers = hooks.iter().map(ask);
    answers
        .into_iter()
        .find(|answer| *answer != Answer::Yes)
        .unwrap_or(Answer::Yes)
}

/// What not every kernel has.
pub(super) fn features(btf: &Btf, trials: &Trials<'_>) -> Vec<Feature> {
    let has = |there: bool, what: &str| {
        if there {
            Answer::Yes
        } else {
            Answer::No(format!("this kernel has no {what}").into())
        }
    };
    let member = |structure: &str, path: &str| {
        has(
            btf.member(structure, path).is_some(),
            &format!("{structure}.{path}"),
        )
    };
    let enumerator = |name: &str| has(btf.enumerator(name).is_some(), name);
    let cgroup = match member("sock", "sk_cgrp_data.cgroup") {
        Answer::Yes => Answer::Yes,
        _ => member("sock", "sk_cgrp_data.val"),
    };
    let drops = if hooks::drops_tell(btf) {
        Answer::Yes
    } else {
        Answer::No(hooks::UNWANTED.into())
    };
    [
        (
            "tw-entry-stamp",
            member("inet_timewait_sock", "tw_entry_stamp"),
            "the age of a TIME_WAIT that is older than the trace",
        ),
        (
            "drop-reasons",
            enumerator("SKB_DROP_REASON_TCP_RFC7323_TW_PAWS"),
            "the kernel's own reason why TIME_WAIT refused a segment",
        ),
        (
            "drops-tell-socket",
            drops,
            "refusals on live connections, and while connecting",
        ),
        ("cgroup", cgroup, "the owner of a socket, by control group"),
        (
            "compare-exchange",
            trials.compare_exchange.clone(),
            "cheaper state; without it, a hash map",
        ),
        (
            "missed-counts",
            trials.missed_counts.clone(),
            "how many events the kernel skipped",
        ),
    ]
    .map(|(name, answer, gives)| Feature {
        name: name.into(),
        answer,
        gives: gives.into(),
    })
    .into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::btf::VMLINUX;
    use super::*;

    fn this_kernel() -> Btf {
        Btf::read(Path::new(VMLINUX), &wanted()).unwrap()
    }

    /// Trials that all have one answer.
    fn planned(fentry: &Answer, kprobe: &Answer, load: &Answer) -> Vec<Point> {
        planned_where(false, fentry, kprobe, load)
    }

    fn planned_where(
        preempts: bool,
        fentry: &Answer,
        kprobe: &Answer,
        load: &Answer,
    ) -> Vec<Point> {
        points(
            &this_kernel(),
            &Trials {
                fentry: &|_, _| fentry.clone(),
                load: load.clone(),
                kprobe: &|_| kprobe.clone(),
                compare_exchange: Answer::Yes,
                missed_counts: Answer::Yes,
                preempts,
            },
        )
    }

    fn no() -> Answer {
        Answer::No("why not".into())
    }

    fn end(points: &[Point]) -> &Point {
        points.iter().find(|point| point.name == "end").unwrap()
    }

    #[test]
    fn fentry_is_taken_where_it_works() {
        let points = planned(&Answer::Yes, &Answer::Yes, &Answer::Yes);
        assert_eq!(points.len(), POINTS.len());
        assert_eq!(end(&points).way.as_deref(), Some("fentry"));
        assert_eq!(end(&points).programs, ["kill"]);
        assert_eq!(end(&points).answer, Answer::Yes);
    }

    #[test]
    fn where_fentry_is_refused_a_kprobe_is_taken_and_it_says_why() {
        let points = planned(&no(), &Answer::Yes, &Answer::Yes);
        assert_eq!(end(&points).way.as_deref(), Some("kprobe"));
        assert_eq!(end(&points).refused, ["fentry: why not"]);
        assert_eq!(end(&points).answer, Answer::Yes);
    }

    #[test]
    fn where_bottom_halves_are_preempted_kprobes_come_first() {
        for (kprobe, way, refused) in [
            (Answer::Yes, "kprobe", preemption::WHY_KPROBE),
            (no(), "fentry", "kprobe: why not"),
        ] {
            let points = planned_where(true, &Answer::Yes, &kprobe, &Answer::Yes);
            assert_eq!(end(&points).answer, Answer::Yes);
            assert_eq!(end(&points).way.as_deref(), Some(way));
            assert_eq!(end(&points).refused, [refused]);
        }
    }

    #[test]
    fn where_both_are_refused_the_answer_is_no() {
        let points = planned(&no(), &no(), &Answer::Yes);
        let why = "fentry: why not; kprobe: why not".into();
        assert_eq!(end(&points).answer, Answer::No(why));
        assert_eq!(end(&points).way, None);
    }

    #[test]
    fn who_may_not_ask_does_not_know() {
        let unknown = Answer::Unknown("EPERM".into());
        let points = planned(&unknown, &Answer::Yes, &unknown);
        assert_eq!(end(&points).answer, unknown);
        assert_eq!(end(&points).way.as_deref(), Some("fentry"));
        assert!(end(&points).refused.is_empty());
    }

    #[test]
    fn a_point_that_is_of_no_use_here_says_so() {
        let blind = Btf::read(Path::new(VMLINUX), &[]).unwrap();
        let trials = Trials {
            fentry: &|_, _| Answer::Yes,
            load: Answer::Yes,
            kprobe: &|_| no(),
            compare_exchange: no(),
            missed_counts: no(),
            preempts: false,
        };
        let points = points(&blind, &trials);
        let drops = points.iter().find(|point| point.name == hooks::DROP);
        assert_eq!(drops.unwrap().answer, Answer::No(hooks::UNWANTED.into()));
        // A function that BTF does not have is refused, not guessed at.
        assert!(matches!(&end(&points).answer, Answer::No(why) if why.contains("is not in BTF")));
        let features = features(&blind, &trials);
        assert!(
            features
                .iter()
                .all(|feature| matches!(feature.answer, Answer::No(_)))
        );
    }
}
