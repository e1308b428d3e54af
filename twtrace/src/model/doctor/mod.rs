//! What is wrong with a host's TIME_WAIT, by what `doctor` read: findings ranked by evidence, what
//! each sysctl does on this kernel, what each counter counts.

mod counters;
mod held;
mod ports;
mod range;
mod refused;
mod remedy;
mod settings;
#[cfg(test)]
mod tests;
mod tracing;

use serde::Serialize;

pub use counters::{Counter, Counts};
pub use ports::ReuseHelp;
pub use refused::Moved;
pub use remedy::Remedy;
pub use settings::{Effect, ReuseAge, Row};

use crate::event::facts::{Destination, Facts, FullFinWait2, Namespace, Sysctl};
use crate::text::Text;

/// How bad it is. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Connections fail, or are about to.
    Danger,
    /// It hurts, or does not do what it was set for.
    Warning,
    /// Worth knowing.
    Note,
    /// Checked, and fine.
    Ok,
}

/// Something found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub severity: Severity,
    /// Inode number of the network namespace; `None` for the whole machine.
    pub netns: Option<u32>,
    pub what: What,
    /// What to set, if setting something helps.
    pub remedy: Remedy,
}

/// What was found, with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// No usable type information of the kernel.
    NoBtf {
        why: Text,
    },
    /// The kernel refuses to load programs, though the capabilities are there.
    TracingRefused {
        why: Text,
    },
    /// Missing capabilities.
    NeedsPrivileges {
        missing: Vec<Text>,
    },
    /// A lifecycle point that cannot be seen; `without` is `None` if nothing works without it.
    PointMissing {
        point: Text,
        why: Text,
        without: Option<Text>,
    },
    /// Everything can be traced.
    TracingWorks {
        fentry: usize,
        kprobe: usize,
    },
    /// Namespaces that were not looked into.
    NamespacesUnread {
        count: u64,
        why: Text,
    },

    /// `tcp_max_tw_buckets`: the number of mini-sockets against the limit.
    Buckets(Buckets),
    /// At some time there were more mini-sockets than allowed.
    Overflowed(Buckets),
    /// The limit is below the kernel's default.
    BucketsLowered {
        limit: u64,
        default: u64,
    },

    /// Local ports towards one destination.
    Ports {
        destination: Destination,
        usable: u32,
        help: ReuseHelp,
    },
    /// Few ports for connect() to choose from.
    SmallRange {
        usable: u32,
    },

    /// `tcp_tw_reuse` = 1 and timestamps off.
    ReuseWithoutTimestamps,
    /// `tcp_tw_reuse` = 1.
    ReuseOnlyOutgoing {
        age: ReuseAge,
    },
    TimestampsOff,
    /// `tcp_rfc1337` = 1, and SYNs that were refused by timestamp so far.
    Rfc1337 {
        refused: u64,
    },
    /// `tcp_fin_timeout` is not at its default.
    FinTimeout {
        seconds: i64,
    },
    RecycleOn {
        dropped: u64,
    },
    RecycleThere,
    /// Files set it, and this kernel has none.
    RecycleGone {
        files: Vec<Text>,
    },
    AutobindReuse,

    /// Segments refused because their timestamp was older.
    RefusedByTimestamp {
        count: Rate,
        /// The counter counts those of TIME_WAIT alone.
        in_time_wait: bool,
        /// Of those that TIME_WAIT refused, how many got no answer.
        unanswered: u64,
    },
    /// Full sockets in FIN_WAIT2 that a process holds.
    FinWait2Held(FullFinWait2),
    /// Counters of refused segments that moved while doctor looked.
    RefusedNow(Moved),
    /// Counters of refused segments that no other finding tells of.
    RefusedElsewhere {
        counters: Vec<(&'static str, Rate)>,
    },
    /// SYNs that a full queue of a listener dropped.
    ListenDrops {
        count: Rate,
    },
    /// SYNs and SYN-ACKs sent again, of so many opened connections.
    SynsAgain {
        count: u64,
        opens: u64,
    },
    /// Connections closed by a reset, of so many opened.
    ClosedByReset {
        count: u64,
        opens: u64,
    },
}

/// Mini-sockets against their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    pub population: u64,
    pub limit: u64,
    /// What the kernel sets it to, where that is known.
    pub default: Option<u64>,
    /// Since the namespace was made.
    pub overflows: u64,
}

/// A counter and how fast it moved since the boot, at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub count: u64,
    pub per_hour: f64,
}

/// Common beliefs about TIME_WAIT that are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Myth {
    /// "A lower `tcp_fin_timeout` shortens TIME_WAIT."
    FinTimeout,
    /// "A lower `tcp_max_tw_buckets` cures too many TIME_WAITs."
    Buckets,
    /// "`tcp_tw_reuse` helps a server."
    Reuse,
    /// "SO_LINGER with 0 is a way around TIME_WAIT."
    Linger,
    /// "`tcp_tw_recycle` is the setting to use."
    Recycle,
}

/// Everything that `doctor` reports.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The worst first, then the best supported.
    pub findings: Vec<Finding>,
    /// Of our own namespace all, of others those that differ.
    pub sysctls: Vec<Row>,
    /// Of our own namespace all, of others those that moved.
    pub counters: Vec<Counter>,
    /// Those that no finding corrects.
    pub myths: Vec<Myth>,
    /// What the counters of refusals did in each namespace while doctor looked, in the order of the
    /// facts; `None` if they were read only once.
    pub watched: Vec<Option<Moved>>,
}

impl Finding {
    /// A finding whose remedy no other names.
    #[must_use]
    pub fn new(severity: Severity, netns: Option<u32>, what: What) -> Self {
        Self {
            severity,
            netns,
            remedy: Remedy::of(severity, &what),
            what,
        }
    }
}

impl Diagnosis {
    /// The worst that was found.
    #[must_use]
    pub fn verdict(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.min().unwrap_or(Severity::Ok)
    }

    /// How many findings are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let same = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(same).count()
    }
}

/// Makes findings of facts.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let mut findings = Vec::new();
    tracing::find(facts, &mut findings);
    let own = facts.namespaces.first();
    for namespace in &facts.namespaces {
        let base = own.filter(|own| own.netns != namespace.netns);
        population(namespace, base, &mut findings);
        ports::find(namespace, base, &mut findings);
        settings::find(facts, namespace, base, &mut findings);
        counters::find(facts, namespace, &mut findings);
        held::find(namespace, &mut findings);
        refused::find(facts, namespace, &mut findings);
    }
    // Stable: what is equally strong stays in the order of looking.
    findings.sort_by_key(|finding| (finding.severity, std::cmp::Reverse(finding.what.strength())));
    remedy::once(&mut findings);
    Diagnosis {
        myths: myths(&findings),
        findings,
        sysctls: settings::rows(facts),
        counters: counters::rows(facts),
        watched: facts.namespaces.iter().map(refused::watched).collect(),
    }
}

fn myths(findings: &[Finding]) -> Vec<Myth> {
    let corrected = |myth: &Myth| {
        findings.iter().any(|finding| {
            matches!(
                (myth, &finding.what),
                (Myth::FinTimeout, What::FinTimeout { .. })
                    | (Myth::Buckets, What::BucketsLowered { .. })
                    | (Myth::Reuse, What::ReuseOnlyOutgoing { .. })
                    | (Myth::Linger, What::ClosedByReset { .. })
                    | (
                        Myth::Recycle,
                        What::RecycleOn { .. } | What::RecycleThere | What::RecycleGone { .. }
                    )
            )
        })
    };
    [
        Myth::FinTimeout,
        Myth::Buckets,
        Myth::Reuse,
        Myth::Linger,
        Myth::Recycle,
    ]
    .into_iter()
    .filter(|myth| !corrected(myth))
    .collect()
}

/// From this share of the limit on, the population is near it.
const NEAR: f64 = 0.8;

/// `base` is our own namespace, if this is another one.
fn population(namespace: &Namespace, base: Option<&Namespace>, findings: &mut Vec<Finding>) {
    let mut found = |severity, what| {
        findings.push(Finding::new(severity, Some(namespace.netns), what));
    };
    let limit = namespace
        .number(Sysctl::TcpMaxTwBuckets)
        .and_then(|limit| u64::try_from(limit).ok());
    if let (Some(population), Some(limit)) = (namespace.population, limit) {
        let buckets = Buckets {
            population,
            limit,
            default: settings::default_limit(namespace),
            overflows: namespace.counter("TCPTimeWaitOverflow"),
        };
        if population >= limit {
            found(Severity::Danger, What::Buckets(buckets));
        } else if share(population, limit) >= NEAR {
            found(Severity::Warning, What::Buckets(buckets));
        } else {
            if buckets.overflows > 0 {
                found(Severity::Warning, What::Overflowed(buckets));
            }
            if base.is_none() {
                found(Severity::Ok, What::Buckets(buckets));
            }
        }
    }
    if let (Some(limit), Some(default)) = (limit, settings::default_limit(namespace))
        && limit < default
        && settings::differs(namespace, base, Sysctl::TcpMaxTwBuckets)
    {
        found(Severity::Note, What::BucketsLowered { limit, default });
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Rate {
    fn new(count: u64, uptime_s: u64) -> Self {
        Self {
            count,
            per_hour: count as f64 * 3600.0 / uptime_s.max(1) as f64,
        }
    }
}

impl Buckets {
    /// A limit with room: twice the present one, twice the population, no less than the default.
    #[must_use]
    pub fn with_room(&self) -> u64 {
        let room = self.limit.max(self.population).max(1024).saturating_mul(2);
        room.max(self.default.unwrap_or(0))
    }

    /// Of the limit.
    #[must_use]
    pub fn share(&self) -> f64 {
        share(self.population, self.limit)
    }
}

impl What {
    /// A name that stays.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoBtf { .. } => "no-btf",
            Self::TracingRefused { .. } => "tracing-refused",
            Self::NeedsPrivileges { .. } => "needs-privileges",
            Self::PointMissing { .. } => "point-missing",
            Self::TracingWorks { .. } => "tracing-works",
            Self::NamespacesUnread { .. } => "namespaces-unread",
            Self::Buckets(_) => "tw-buckets",
            Self::Overflowed(_) => "tw-overflowed",
            Self::BucketsLowered { .. } => "tw-buckets-lowered",
            Self::Ports { .. } => "ports",
            Self::SmallRange { .. } => "small-port-range",
            Self::ReuseWithoutTimestamps => "reuse-without-timestamps",
            Self::ReuseOnlyOutgoing { .. } => "reuse-only-outgoing",
            Self::TimestampsOff => "timestamps-off",
            Self::Rfc1337 { .. } => "rfc1337",
            Self::FinTimeout { .. } => "fin-timeout",
            Self::RecycleOn { .. } => "recycle-on",
            Self::RecycleThere => "recycle-there",
            Self::RecycleGone { .. } => "recycle-gone",
            Self::AutobindReuse => "autobind-reuse",
            Self::RefusedByTimestamp { .. } => "refused-by-timestamp",
            Self::FinWait2Held(_) => "fin-wait-2-held",
            Self::RefusedNow(_) => "refused-now",
            Self::RefusedElsewhere { .. } => "refused-elsewhere",
            Self::ListenDrops { .. } => "listen-drops",
            Self::SynsAgain { .. } => "syns-again",
            Self::ClosedByReset { .. } => "closed-by-reset",
        }
    }

    /// How strong the evidence is, to rank findings of one severity: a share in per mille, or events
    /// per hour.
    fn strength(&self) -> u64 {
        let per_mille = |share: f64| (share * 1000.0) as u64;
        match self {
            Self::Buckets(buckets) => per_mille(buckets.share()),
            Self::Ports {
                destination,
                usable,
                ..
            } => per_mille(share(destination.ports.into(), (*usable).into())),
            Self::Overflowed(buckets) => 1 + buckets.overflows,
            Self::RefusedByTimestamp { count, .. } | Self::ListenDrops { count } => {
                count.per_hour as u64
            }
            Self::FinWait2Held(full) => full.held,
            Self::RefusedNow(moved) => moved.per_hour(),
            Self::RefusedElsewhere { counters } => {
                let rates = counters.iter().map(|(_, rate)| rate.per_hour as u64);
                rates.sum()
            }
            Self::SynsAgain { count, opens } | Self::ClosedByReset { count, opens } => {
                per_mille(share(*count, *opens))
            }
            Self::RecycleOn { dropped } => 1 + dropped,
            Self::Rfc1337 { refused } => *refused,
            Self::ReuseWithoutTimestamps => 1,
            _ => 0,
        }
    }
}
