//! Each finding in sentences.

use super::effects::{self, age};
use super::words::{list, per_time, percent, seconds};
use crate::event::facts::{Destination, FullFinWait2, Sysctl, Value};
use crate::model::doctor::{
    Buckets, Finding, Moved, Myth, Rate, Remedy, ReuseHelp, Severity, What,
};
use crate::view::units::{count, thousands};

const WIDER_COSTS: &str = "a service that listens in the wider range may find its port taken: list such ports in ip_local_reserved_ports first";
const REUSE_COSTS: &str = "an outgoing connection may reuse a TIME_WAIT socket of this host; a firewall on the way that still remembers the old connection may refuse the new one";

/// A finding as a person reads it.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What it is about.
    pub subject: String,
    /// What it rests on.
    pub evidence: String,
    pub advice: Option<String>,
    pub command: Option<String>,
    pub side_effect: Option<String>,
}

impl Said {
    fn new(subject: &str, evidence: impl Into<String>) -> Self {
        Self {
            subject: subject.to_owned(),
            evidence: evidence.into(),
            ..Self::default()
        }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    fn side_effect(mut self, side_effect: impl Into<String>) -> Self {
        self.side_effect = Some(side_effect.into());
        self
    }
}

pub(super) fn say(finding: &Finding) -> Said {
    remedy(said(finding), &finding.remedy)
}

/// A sysctl is set by one command, however many findings want it.
fn remedy(mut said: Said, remedy: &Remedy) -> Said {
    let set = |(sysctl, value): &(Sysctl, Value)| match value {
        Value::Number(number) => format!(" net.ipv4.{}={number}", sysctl.name()),
        Value::Ports(_) => format!(
            " net.ipv4.{}=\"{}\"",
            sysctl.name(),
            effects::value(value, "").replace('-', " ")
        ),
    };
    if !remedy.set.is_empty() {
        let all: String = remedy.set.iter().map(set).collect();
        said.command = Some(format!("sysctl -w{all}"));
    } else if remedy.set_above {
        said.side_effect = None;
        if let Some(advice) = &mut said.advice {
            advice.push_str(" (a command above does that)");
        }
    }
    said
}

fn said(finding: &Finding) -> Said {
    match &finding.what {
        What::Buckets(buckets) => of_buckets(finding.severity, buckets),
        What::Overflowed(buckets) => overflowed(buckets),
        What::BucketsLowered { limit, default } => lowered(*limit, *default),
        What::Ports {
            destination,
            usable,
            help,
        } => of_ports(finding.severity, destination, *usable, *help),
        What::SmallRange { usable } => Said::new(
            "few local ports",
            format!(
                "connect() has {} to choose from for each destination; by default it has 28,232",
                count((*usable).into(), "port")
            ),
        )
        .advice("if connects fail with \"Cannot assign requested address\", widen the range")
        .side_effect(WIDER_COSTS),
        What::RefusedByTimestamp { .. }
        | What::ListenDrops { .. }
        | What::SynsAgain { .. }
        | What::ClosedByReset { .. } => of_counter(&finding.what),
        What::FinWait2Held(full) => held(full),
        What::RefusedNow(moved) => refused_now(moved),
        What::RefusedElsewhere { counters } => refused_elsewhere(counters),
        What::NoBtf { .. }
        | What::TracingRefused { .. }
        | What::NeedsPrivileges { .. }
        | What::PointMissing { .. }
        | What::TracingWorks { .. }
        | What::NamespacesUnread { .. } => of_tracing(&finding.what),
        What::ReuseWithoutTimestamps
        | What::ReuseOnlyOutgoing { .. }
        | What::TimestampsOff
        | What::Rfc1337 { .. }
        | What::FinTimeout { .. }
        | What::RecycleOn { .. }
        | What::RecycleThere
        | What::RecycleGone { .. }
        | What::AutobindReuse => of_setting(&finding.what),
    }
}

fn of_buckets(severity: Severity, buckets: &Buckets) -> Said {
    let full = format!(
        "{} of {} allowed by tcp_max_tw_buckets ({})",
        count(buckets.population, "closed connection"),
        thousands(buckets.limit),
        percent(buckets.share())
    );
    let overflows = match buckets.overflows {
        0 => String::new(),
        n => format!(
            ". {} ended without TIME_WAIT so far for lack of room",
            count(n, "connection")
        ),
    };
    let evidence = format!("{full}{overflows}");
    match severity {
        Severity::Danger => Said::new("no room for TIME_WAIT", evidence),
        Severity::Warning => Said::new("little room for TIME_WAIT", evidence),
        Severity::Note | Severity::Ok => return Said::new("room for TIME_WAIT", evidence),
    }
    .advice("raise the limit: beyond it a connection ends without TIME_WAIT, its peer's last segments are answered by a reset, and late segments may reach the next connection")
    .side_effect(BUCKETS_COST)
}

const BUCKETS_COST: &str = "about 0.3 KiB of kernel memory for each";

fn overflowed(buckets: &Buckets) -> Said {
    Said::new(
        "TIME_WAIT was cut off",
        format!(
            "{} ended without TIME_WAIT since boot: tcp_max_tw_buckets ({}) was reached, or memory was short. Now there are {}",
            count(buckets.overflows, "connection"),
            thousands(buckets.limit),
            thousands(buckets.population)
        ),
    )
    .advice("raise the limit; `twtrace trace` shows who is hit when it happens again")
    .side_effect(BUCKETS_COST)
}

fn lowered(limit: u64, default: u64) -> Said {
    Said::new(
        "low limit for TIME_WAIT sockets",
        format!(
            "tcp_max_tw_buckets is {}; with this much memory the kernel's default is {}",
            thousands(limit),
            thousands(default)
        ),
    )
    .advice("a low limit cures nothing: it cuts off the TIME_WAIT that protects the next connection from late segments. Set it back")
    .side_effect(BUCKETS_COST)
}

fn of_ports(severity: Severity, to: &Destination, usable: u32, help: ReuseHelp) -> Said {
    let pair = format!(
        "{} to {}",
        to.laddr,
        std::net::SocketAddr::new(to.raddr, to.rport)
    );
    let subject = match severity {
        Severity::Danger if to.ports < usable => format!("almost no local port left from {pair}"),
        Severity::Danger => format!("no local port left from {pair}"),
        Severity::Warning if to.ports < usable => format!("few local ports left from {pair}"),
        // It would be a danger if connect() could not take some over.
        Severity::Warning => format!("no free local port from {pair}"),
        Severity::Note | Severity::Ok => "local ports".to_owned(),
    };
    let mut taken = format!(
        "{} of {} in use, {} by TIME_WAIT",
        thousands(to.ports.into()),
        count(usable.into(), "local port"),
        thousands(to.time_wait.into())
    );
    if help == ReuseHelp::IsOn && severity != Severity::Ok {
        taken += "; connect() can take over those";
    }
    if severity == Severity::Ok {
        let most = format!("busiest destination {pair}: {taken}");
        return Said::new(&subject, most);
    }
    reuse_advice(Said::new(&subject, taken), help)
}

fn reuse_advice(said: Said, help: ReuseHelp) -> Said {
    match help {
        ReuseHelp::PortsAreInUse => said
            .advice("most belong to live connections, so tcp_tw_reuse cannot help: share connections (a pool), use more source or destination addresses, or widen the range")
            .side_effect(WIDER_COSTS),
        ReuseHelp::NeedsTimestamps => said
            .advice("tcp_tw_reuse lets connect() take such ports over, but needs timestamps, which are off; or keep connections open instead of closing them")
            .side_effect(format!("helps new connections only; {REUSE_COSTS}")),
        ReuseHelp::IsOn => said.advice("tcp_tw_reuse is already on for them. If connects still fail, the peer does not use timestamps, or ports are needed again within a second: keep connections open (a pool), or use more addresses"),
        ReuseHelp::OnlyLoopback => said
            .advice("tcp_tw_reuse is 2, which helps loopback only; 1 lets connect() take these ports over, if the peer uses timestamps too")
            .side_effect(REUSE_COSTS),
        ReuseHelp::IsOff => said
            .advice("tcp_tw_reuse lets connect() take such ports over, if the peer uses timestamps too")
            .side_effect(REUSE_COSTS),
    }
}

fn of_counter(what: &What) -> Said {
    match what {
        What::RefusedByTimestamp {
            count: rate,
            in_time_wait,
            unanswered,
        } => {
            let (place, apart) = if *in_time_wait {
                ("that met a TIME_WAIT socket ", "")
            } else {
                (
                    "",
                    ", in TIME_WAIT or on a live connection: this kernel counts both together",
                )
            };
            let silent = match unanswered {
                0 => String::new(),
                n => format!(
                    ". TIME_WAIT left {} refused segments unanswered",
                    thousands(*n)
                ),
            };
            Said::new(
                "segments refused by timestamp",
                format!(
                    "{} {place}had an older timestamp than the segment before and {} refused ({}){apart}{silent}",
                    count(rate.count, "segment"),
                    if rate.count == 1 { "was" } else { "were" },
                    per_time(*rate),
                ),
            )
            .advice("if a SYN is among them, a connect was delayed or failed; other segments do no harm. Find out whose, and why")
            .command(CONFLICTS)
            .side_effect(LOOKS)
        }
        What::ListenDrops { count: rate } => Said::new(
            "connection attempts dropped",
            format!(
                "{} dropped before accept(), mostly because the queue of a listener was full ({})",
                were(rate.count, "attempt"),
                per_time(*rate)
            ),
        )
        .advice("this too causes connects that take 1 s or 3 s: let the service accept faster, or raise its backlog and net.core.somaxconn. To see the queues:")
        .command("ss -ltn")
        .side_effect("none; a longer queue lets clients wait longer"),
        What::SynsAgain { count: again, opens } => Said::new(
            "connects that took two tries",
            format!(
                "{} sent again ({} opened): the first was lost, refused, or met a full queue",
                were(*again, "SYN or SYN-ACK"),
                count(*opens, "connection")
            ),
        )
        .advice("see whether an old connection on this host kept them out")
        .command(CONFLICTS)
        .side_effect(LOOKS),
        What::ClosedByReset { count: reset, opens } => Said::new(
            "connections closed by a reset",
            format!(
                "{} ({} opened; counter TCPAbortOnData): SO_LINGER with time 0, or data that came after close()",
                count(*reset, "connection"),
                count(*opens, "connection")
            ),
        )
        .advice("SO_LINGER 0 is not a fix: data not yet delivered is lost, and the peer reads \"connection reset\""),
        _ => Said::default(),
    }
}

const CONFLICTS: &str = "twtrace conflicts --duration 5m";
const LOOKS: &str = "none on connections; it traces, and needs root";

fn held(full: &FullFinWait2) -> Said {
    let (whose, them) = match full.held {
        1 => ("its program", "it"),
        _ => ("their programs", "them"),
    };
    let mut by: Vec<_> = full
        .holders
        .iter()
        .map(|one| {
            format!(
                "{} (pid {}): {}",
                one.command,
                one.pid,
                thousands(one.sockets)
            )
        })
        .collect();
    let told: u64 = full.holders.iter().map(|one| one.sockets).sum();
    for (sockets, whose) in [
        (full.named.saturating_sub(told), "other processes"),
        (
            full.held.saturating_sub(full.named),
            "processes that cannot be looked at from here",
        ),
    ] {
        if sockets > 0 {
            by.push(format!("{} by {whose}", thousands(sockets)));
        }
    }
    Said::new(
        "sockets in FIN_WAIT2 that are not closed",
        format!(
            "{}: {whose} called shutdown() and not close(), and no time limit ends the wait for the peer's FIN. Held by {}",
            count(full.held, "socket"),
            by.join(", ")
        ),
    )
    .advice(format!("let {whose} close {them}, or give up after a while. tcp_fin_timeout counts from close() on, so it does not touch {them}. To see {them}:"))
    .command("ss -tanp state fin-wait-2")
    .side_effect("none; it only looks")
}

fn refused_now(moved: &Moved) -> Said {
    let counters = moved
        .counters
        .iter()
        .map(|(name, by)| format!("{name} +{} ({})", thousands(*by), effects::counted(name)));
    Said::new(
        "segments are refused now",
        format!(
            "within {} {}",
            seconds(moved.within_ns),
            counters.collect::<Vec<_>>().join(", ")
        ),
    )
    .advice("if a SYN is among them, a client is kept out at this moment. See who, by which connection, and why")
    .command(CONFLICTS)
    .side_effect(LOOKS)
}

fn refused_elsewhere(counters: &[(&'static str, Rate)]) -> Said {
    let counters = counters.iter().map(|(name, rate)| {
        let value = thousands(rate.count);
        let counts = effects::counted(name);
        format!("{name} {value} ({}): {counts}", per_time(*rate))
    });
    Said::new(
        "refused by old connections",
        counters.collect::<Vec<_>>().join("; "),
    )
    .advice("if a SYN is among them, a client was kept out until its RST, or a timeout, ended the old connection. If that still happens, see who it is")
    .command(CONFLICTS)
    .side_effect(LOOKS)
}

/// What a look at one moment cannot tell; nothing where a finding tells of refusals.
pub(super) fn unseen(watched: Option<&Moved>) -> Option<String> {
    let looked = match watched {
        Some(moved) if !moved.counters.is_empty() => return None,
        Some(moved) => format!(
            "no counter of refusals moved within {}, but some refusals move none",
            seconds(moved.within_ns)
        ),
        None => "the kernel's counters were read once".to_owned(),
    };
    Some(format!(
        "who is refused: {looked}. `{CONFLICTS}` shows every SYN that an old connection keeps out"
    ))
}

/// `1 SYN was`, `2 SYNs were`.
fn were(n: u64, one: &str) -> String {
    let verb = if n == 1 { "was" } else { "were" };
    format!("{} {verb}", count(n, one))
}

fn of_tracing(what: &What) -> Said {
    match what {
        What::NoBtf { why } => Said::new("tracing is not possible", why.clone())
            .advice(
                "name this kernel's own BTF file, or boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
            )
            .command("twtrace doctor --btf FILE"),
        What::TracingRefused { why } => Said::new(
            "tracing is refused",
            format!("it is unknown whether twtrace can trace here: {why}"),
        ),
        What::NeedsPrivileges { missing } => Said::new(
            "tracing was not tried",
            format!(
                "this process lacks {}. Everything else was read without it",
                list(missing)
            ),
        )
        .advice("run it as root to learn the rest")
        .command("sudo twtrace doctor"),
        What::PointMissing {
            point,
            why,
            without,
        } => Said::new(
            &format!("not seen here: {point}"),
            format!(
                "{why}. {}",
                without.as_deref().map_or_else(
                    || "Nothing can be traced without it".to_owned(),
                    |lost| format!("Without it, {lost}")
                )
            ),
        ),
        What::TracingWorks { fentry, kprobe } => Said::new(
            "tracing",
            match kprobe {
                0 => "everything can be traced (by fentry, the cheapest way)".to_owned(),
                _ => format!(
                    "{} can be traced by fentry, {} by kprobe, which costs more",
                    count(*fentry as u64, "point"),
                    count(*kprobe as u64, "point")
                ),
            },
        ),
        What::NamespacesUnread { count: n, why } => {
            let others = match n {
                0 => "other network namespaces, if there are any, were not checked".to_owned(),
                n => format!("{} not checked", were(*n, "other network namespace")),
            };
            Said::new("not everything was checked", format!("{others}: {why}"))
                .advice("run it again as root, or inside them")
                .command("sudo twtrace doctor")
        }
        _ => Said::default(),
    }
}

fn of_setting(what: &What) -> Said {
    match what {
        What::ReuseWithoutTimestamps => Said::new(
            "tcp_tw_reuse does nothing",
            "it is 1, but only connections with timestamps can be taken over, and tcp_timestamps is 0",
        )
        .advice("turn timestamps on")
        .side_effect("12 bytes more in each segment of new connections; old ones go on without"),
        What::ReuseOnlyOutgoing { age: from } => Said::new(
            "tcp_tw_reuse is 1",
            format!(
                "connect() may reuse a TIME_WAIT socket {}. It has no effect on incoming connections: on a server, a client's new SYN is accepted over a TIME_WAIT anyway, unless its numbers are older",
                age(*from)
            ),
        ),
        What::TimestampsOff => Said::new(
            "timestamps are off",
            "tcp_timestamps is 0: connect() cannot reuse TIME_WAIT sockets, a SYN is accepted over a TIME_WAIT only with a higher sequence number, and old segments are not recognized after sequence numbers wrap",
        )
        .advice("turn them on, unless there is a reason not to")
        .side_effect("12 bytes more in each segment of new connections; old ones go on without"),
        What::Rfc1337 { refused } => {
            let so_far = match refused {
                0 => ". No segment has been refused by timestamp so far".to_owned(),
                n => format!(
                    ". {} refused by timestamp so far",
                    were(*n, "segment")
                ),
            };
            Said::new(
                "clients may be locked out",
                format!("tcp_rfc1337 is 1: a RST does not end a TIME_WAIT. A client whose SYN is refused answers with just such a RST, so it stays locked out until the TIME_WAIT ends: each SYN refused by timestamp restarts its 60 s, one refused by sequence number alone does not{so_far}"),
            )
            .advice("set it to 0")
            .side_effect("a RST with the exact sequence number ends a TIME_WAIT early, as on most hosts")
        }
        What::FinTimeout { seconds } => Said::new(
            "tcp_fin_timeout is not TIME_WAIT",
            format!("tcp_fin_timeout is {seconds} s, not 60. It limits how long a socket waits in FIN_WAIT2 for the peer to close too, from close() on. TIME_WAIT lasts 60 s regardless, and no setting changes that"),
        )
        .advice(if *seconds < 60 {
            "if it was lowered to have fewer TIME_WAITs, set it back"
        } else {
            "if it was raised without need, set it back: the time over 60 s is spent in a full socket, which takes more memory"
        })
        .side_effect("sockets wait in FIN_WAIT2 for up to 60 s; with less, a peer that closes late is answered by a reset"),
        What::RecycleOn { dropped } => Said::new(
            "tcp_tw_recycle drops clients",
            format!("it is 1: of several hosts behind one address, those whose clock is behind have their SYNs dropped without an answer, {} so far (PAWSPassive)", thousands(*dropped)),
        )
        .advice("turn it off; Linux 4.12 removed it for this reason")
        .side_effect("TIME_WAIT lasts 60 s again instead of a few round trips"),
        What::RecycleThere => Said::new(
            "tcp_tw_recycle",
            "this kernel still has it, and it is 0. Leave it: with 1, SYNs from hosts behind a NAT are dropped without an answer",
        ),
        What::RecycleGone { files } => Said::new(
            "tcp_tw_recycle is gone",
            format!("{} {} it, but Linux 4.12 removed it, because it dropped SYNs from hosts behind a NAT", list(files), if files.len() == 1 { "sets" } else { "set" }),
        )
        .advice("remove the line: it does nothing but fail at boot"),
        What::AutobindReuse => Said::new(
            "ip_autobind_reuse is 1",
            "bind() to port 0 with SO_REUSEADDR may get a port that another socket has; connect() to the same destination then fails with \"Address already in use\" or \"Cannot assign requested address\"",
        )
        .advice("let the program set IP_BIND_ADDRESS_NO_PORT instead")
        .side_effect("a program that relies on it finds fewer ports"),
        _ => Said::default(),
    }
}

/// What is so instead.
pub(super) fn myth(myth: Myth) -> &'static str {
    match myth {
        Myth::FinTimeout => {
            "tcp_fin_timeout does not shorten TIME_WAIT: from close() on, it limits the wait in FIN_WAIT2 for the peer's close. TIME_WAIT is 60 s, and no setting changes that."
        }
        Myth::Buckets => {
            "Lowering tcp_max_tw_buckets is not a cure: connections beyond it skip TIME_WAIT, and with it the protection from late segments."
        }
        Myth::Reuse => {
            "tcp_tw_reuse does nothing for incoming connections: it only helps connect() find a port."
        }
        Myth::Linger => {
            "SO_LINGER with time 0 avoids TIME_WAIT by a reset: data not yet delivered is lost."
        }
        Myth::Recycle => {
            "tcp_tw_recycle was removed in Linux 4.12: it dropped clients behind a NAT."
        }
    }
}
