//! Whether twtrace can trace here, and what else could not be checked.

use super::{Finding, Severity, What};
use crate::event::facts::{Answer, Facts, Point, Tracing};

pub(super) fn find(facts: &Facts, findings: &mut Vec<Finding>) {
    let tracing = &facts.tracing;
    let mut found = |severity, what| {
        findings.push(Finding::new(severity, None, what));
    };
    if let Answer::No(why) | Answer::Unknown(why) = &tracing.btf {
        found(Severity::Warning, What::NoBtf { why: why.clone() });
    }
    for point in tracing.points.iter().filter(|point| is_missing(point)) {
        let severity = match point.without {
            None => Severity::Warning,
            Some(_) => Severity::Note,
        };
        let missing = What::PointMissing {
            point: point.name.clone(),
            why: point.refused.join("; ").into(),
            without: point.without.clone(),
        };
        found(severity, missing);
    }
    match &tracing.allowed {
        Answer::Yes if works(tracing) => found(Severity::Ok, ways(tracing)),
        Answer::Yes => {}
        Answer::Unknown(_) if !tracing.privileges.missing.is_empty() => {
            let missing = tracing.privileges.missing.clone();
            found(Severity::Note, What::NeedsPrivileges { missing });
        }
        Answer::No(why) | Answer::Unknown(why) => {
            let refused = What::TracingRefused { why: why.clone() };
            found(Severity::Warning, refused);
        }
    }
    let unread = &facts.unread;
    if let Some(why) = unread
        .why
        .clone()
        .filter(|_| unread.count > 0 || unread.more)
    {
        let count = unread.count;
        found(Severity::Note, What::NamespacesUnread { count, why });
    }
}

/// Wanted, but every way to it is refused. A point that is of no use here has no refused way.
fn is_missing(point: &Point) -> bool {
    matches!(point.answer, Answer::No(_)) && !point.refused.is_empty()
}

fn works(tracing: &Tracing) -> bool {
    let required = |point: &&Point| point.without.is_none();
    tracing.btf == Answer::Yes
        && tracing
            .points
            .iter()
            .filter(required)
            .all(|point| point.answer == Answer::Yes)
}

fn ways(tracing: &Tracing) -> What {
    let by = |way: &str| {
        let same = |point: &&Point| point.way.as_deref() == Some(way);
        tracing.points.iter().filter(same).count()
    };
    What::TracingWorks {
        fentry: by("fentry"),
        kprobe: by("kprobe"),
    }
}
