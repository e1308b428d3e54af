//! `--verbose`: how each kernel function is attached, and why.

use super::output::talk;
use crate::kernel::hooks::{HookKind, POINTS, Point};
use crate::kernel::{Attach, Attached, Mode, Session};

/// Tells it on stderr.
pub(super) fn tell(session: &Session, asked: Attach) {
    for line in lines(session.attached(), asked) {
        talk(&line);
    }
}

/// A line for each point, in the order of attaching.
fn lines(attached: &[Attached], asked: Attach) -> Vec<String> {
    let of_point = |point: &Point| {
        let found = attached.iter().find(|one| one.point.name == point.name);
        match found {
            Some(one) => line(one, asked),
            None => format!(
                "{}: not attached, not needed here ({})",
                first(point),
                point.name
            ),
        }
    };
    POINTS.iter().map(of_point).collect()
}

fn line(one: &Attached, asked: Attach) -> String {
    let Attached {
        point,
        way,
        refused,
    } = one;
    let name = point.name;
    let Some((mode, hooks)) = way else {
        return format!(
            "{}: not attached, optional ({name}): {}; {}",
            first(point),
            refused.join("; "),
            point.without.unwrap_or_default()
        );
    };
    let function = hooks.first().map_or(first(point), |hook| hook.function);
    if hooks
        .iter()
        .all(|hook| hook.kind == HookKind::RawTracepoint)
    {
        return format!("{function}: tracepoint ({name}): the only way");
    }
    let (way, why) = match (mode, asked) {
        (Mode::Fentry, Attach::Fentry) => ("fentry", "asked for by --attach".to_owned()),
        (Mode::Fentry, _) => ("fentry", "possible here, and the cheapest way".to_owned()),
        (Mode::Kprobe, Attach::Kprobe) => ("kprobe", "asked for by --attach".to_owned()),
        (Mode::Kprobe, _) if refused.is_empty() => ("kprobe", "fentry is not possible".to_owned()),
        (Mode::Kprobe, _) => ("kprobe", refused.join("; ")),
    };
    format!("{function}: {way} ({name}): {why}")
}

/// The newest name of its function.
fn first(point: &Point) -> &'static str {
    point.functions.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hooks::Hook;

    fn attached(name: &str, way: Option<(Mode, HookKind)>, refused: &[&str]) -> Attached {
        let point = POINTS.iter().find(|point| point.name == name).unwrap();
        let hook = |kind| Hook {
            program: "program",
            kind,
            function: first(point),
        };
        Attached {
            point,
            way: way.map(|(mode, kind)| (mode, vec![hook(kind)])),
            refused: refused.iter().map(|&why| why.to_owned()).collect(),
        }
    }

    #[test]
    fn each_function_is_told_with_its_way_and_the_reason() {
        let all = [
            attached("timer", Some((Mode::Fentry, HookKind::Fentry)), &[]),
            attached(
                "overflow",
                Some((Mode::Kprobe, HookKind::Kprobe)),
                &["fentry: BTF has no inet_twsk_alloc"],
            ),
            attached("SOCK_DESTROY", None, &["abort on tcp_abort: ENOENT"]),
            attached(
                "refusal without an answer",
                Some((Mode::Fentry, HookKind::RawTracepoint)),
                &[],
            ),
        ];
        let said = lines(&all, Attach::Auto);
        assert_eq!(said.len(), POINTS.len());
        for expected in [
            "tw_timer_handler: fentry (timer): possible here, and the cheapest way",
            "inet_twsk_alloc: kprobe (overflow): fentry: BTF has no inet_twsk_alloc",
            "tcp_abort: not attached, optional (SOCK_DESTROY): abort on tcp_abort: ENOENT; ends by ss -K show as `other`",
            "kfree_skb: tracepoint (refusal without an answer): the only way",
            "inet_csk_get_port: not attached, not needed here (bind() without a port)",
        ] {
            assert!(said.iter().any(|line| line == expected), "{said:#?}");
        }
        let asked = lines(&all[..1], Attach::Fentry);
        assert!(
            asked
                .iter()
                .any(|line| line.ends_with("asked for by --attach"))
        );
    }
}
