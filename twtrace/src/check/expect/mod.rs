//! What a kernel that treats TIME_WAIT as it should does: one table of behaviours, by group. A
//! scenario makes one of them happen; the reports say what it was about.

mod lifecycle;
mod ports;
mod refusal;
mod shown;
mod takeover;

pub(super) use shown::{Place, SIGNS, Shown, Sign};

/// What a behaviour is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Lifecycle,
    Rearm,
    Reuse,
    Reopen,
    Reset,
    Refusal,
    Overflow,
    Ports,
    Namespaces,
    Counters,
}

/// One thing that a kernel does.
#[derive(Debug)]
pub(super) struct Behaviour {
    /// Also the name of the scenario that makes it happen.
    pub(super) name: &'static str,
    /// What passes if this passes.
    pub(super) rule: &'static str,
    /// Who suffers if it is otherwise.
    pub(super) why: &'static str,
    /// The kernel function that does it, and when.
    pub(super) source: &'static str,
    /// Where kernels are different by rights.
    pub(super) differs: &'static [Differs],
}

/// Two ways that are both right.
#[derive(Debug)]
pub(super) struct Differs {
    /// What tells them apart.
    pub(super) by: By,
    /// With the sign, or the later way.
    pub(super) with: &'static str,
    pub(super) without: &'static str,
}

/// How a difference is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Sign(Sign),
    /// Nothing shows it, so both are accepted, and which it was is told.
    Trying,
}

/// All behaviours.
pub(super) const TABLE: &[(Group, &[Behaviour])] = &[
    (Group::Lifecycle, lifecycle::LIFECYCLE),
    (Group::Rearm, lifecycle::REARM),
    (Group::Reuse, takeover::REUSE),
    (Group::Reopen, takeover::REOPEN),
    (Group::Reset, takeover::RESET),
    (Group::Refusal, refusal::REFUSAL),
    (Group::Overflow, lifecycle::OVERFLOW),
    (Group::Ports, ports::PORTS),
    (Group::Namespaces, lifecycle::NAMESPACES),
    (Group::Counters, refusal::COUNTERS),
];

impl Group {
    /// As written in reports and on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Rearm => "re-arm",
            Self::Reuse => "reuse",
            Self::Reopen => "reopen",
            Self::Reset => "reset",
            Self::Refusal => "refusal",
            Self::Overflow => "overflow",
            Self::Ports => "ports",
            Self::Namespaces => "namespaces",
            Self::Counters => "counters",
        }
    }
}

impl Differs {
    /// What is right there, or both ways if nobody asked the kernel.
    pub(super) fn told(&self, shown: Option<&Shown>) -> String {
        let Self { by, with, without } = self;
        match (shown, by) {
            (Some(shown), _) => self.on(shown),
            (None, By::Trying) => self.on(&Shown::default()),
            (None, By::Sign(sign)) => {
                format!("with {}: {with}; without: {without}", sign.name())
            }
        }
    }

    /// What is right on that kernel.
    pub(super) fn on(&self, shown: &Shown) -> String {
        let Self { by, with, without } = self;
        match by {
            By::Sign(sign) if shown.has(*sign) => format!("{with} (it has {})", sign.name()),
            By::Sign(sign) => format!("{without} (it has no {})", sign.name()),
            By::Trying => format!("{with}, or {without}; nothing shows which"),
        }
    }
}

/// The behaviour that a scenario makes happen.
pub(super) fn find(name: &str) -> Option<(Group, &'static Behaviour)> {
    TABLE.iter().find_map(|(group, behaviours)| {
        let found = behaviours.iter().find(|one| one.name == name)?;
        Some((*group, found))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> impl Iterator<Item = &'static Behaviour> {
        TABLE.iter().flat_map(|(_, behaviours)| *behaviours)
    }

    #[test]
    fn every_behaviour_has_its_rule_its_reason_and_its_source() {
        for one in all() {
            for text in [one.name, one.rule, one.why, one.source] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{one:?}");
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = all().map(|one| one.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn what_is_right_follows_what_the_kernel_shows() {
        let differs = Differs {
            by: By::Sign(Sign::ReuseDelay),
            with: "after a delay",
            without: "in the next second",
        };
        let new = Shown::from_iter([Sign::ReuseDelay]);
        let sign = "net.ipv4.tcp_tw_reuse_delay";
        assert_eq!(differs.on(&new), format!("after a delay (it has {sign})"));
        let old = Shown::default();
        let wanted = format!("in the next second (it has no {sign})");
        assert_eq!(differs.on(&old), wanted);
    }
}
