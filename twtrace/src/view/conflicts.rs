//! The closing summary of `conflicts`: by remote address, and all together.

use std::net::IpAddr;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::advice;
use super::cell::name_or_number;
use super::evidence::{self, CauseObject};
use super::json::{self, ms};
use super::line::Line;
use super::paint::{BAD, CARE, GOOD, HEADING, Paint};
use super::units::{self, count, thousands};
use crate::event::Stage;
use crate::host::Names;
use crate::model::Conflicts;
use crate::model::books::{UNSEEN, Unseen};
use crate::model::conflicts::causes::{Hypothesis, Standing};
use crate::model::conflicts::what_if::Recycle;
use crate::model::conflicts::{Counts, OUTCOMES, Outcome, Peer, PeerKey, Rest, StuckBy};
use crate::model::stats::{Percentiles, buckets};

/// Addresses shown one by one; the others together.
const TOP: usize = 15;
/// Namespaces named in a line.
const NAMESPACES: usize = 5;
/// Sentences a line.
const SENTENCES: usize = 3;

/// Additional questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// What would tcp_tw_recycle have done?
    pub recycle: bool,
}

pub(super) fn text(
    conflicts: &Conflicts,
    unseen: Option<&Unseen>,
    what_if: WhatIf,
    paint: Paint,
    names: &mut Names,
    out: &mut Line,
) {
    let overview = conflicts.overview();
    let Counts {
        refused, accepted, ..
    } = overview.counts;
    if refused == 0 {
        let clean = match unseen {
            Some(unseen) if !unseen.none() => "",
            _ => ": no old connection kept a new one out",
        };
        writeln!(
            out,
            "0 SYNs refused; {} accepted over a TIME_WAIT{clean}",
            thousands(accepted)
        );
    } else {
        table(conflicts, paint, names, out);
        if let Some(delays) = overview.delays {
            delay_line(&delays, out);
        }
        writeln!(
            out,
            "{} refused, {} accepted over a TIME_WAIT, from {}",
            count(refused, "SYN"),
            thousands(accepted),
            plural(overview.addresses as u64, "address", "addresses")
        );
    }
    if let Some(unseen) = unseen {
        not_seen(unseen, names, out);
    }
    if what_if.recycle {
        recycle(conflicts.recycle(), out);
    }
}

/// Where a stage cannot be seen, the kernel's counter has the word.
fn not_seen(unseen: &Unseen, names: &mut Names, out: &mut Line) {
    out.text("not seen here: SYNs refused by a connection that still lives; ");
    for (index, &(netns, by)) in unseen.grew.iter().take(NAMESPACES).enumerate() {
        let before = match index {
            0 => format!("{UNSEEN} grew"),
            _ => ",".to_owned(),
        };
        write!(out, "{before} by {} in netns ", thousands(by));
        name_or_number(names.netns(netns), netns, out);
    }
    let more = unseen.grew.len().saturating_sub(NAMESPACES);
    if more > 0 {
        write!(out, " and in {} more", thousands(more as u64));
    }
    if unseen.filtered && !unseen.grew.is_empty() {
        out.text(", whatever the filters");
    }
    if unseen.grew.is_empty() && unseen.known > 0 {
        write!(out, "{UNSEEN} did not grow in {} netns", unseen.known);
    }
    if unseen.unknown > 0 {
        let before = if unseen.known > 0 { ", and" } else { UNSEEN };
        write!(out, "{before} is not known of {} netns", unseen.unknown);
    }
    if !unseen.grew.is_empty() {
        out.text(": that many SYNs came (SYN-ACKs sent again count too); `ss -tan` shows whose connections are still open");
    }
    out.byte(b'\n');
}

fn table(conflicts: &Conflicts, paint: Paint, names: &mut Names, out: &mut Line) {
    out.byte(b'\n');
    let head = [
        "SYNS REFUSED",
        "ACCEPTED",
        "TUPLES",
        "RECOVERED",
        "REOPENED",
        "STUCK",
        "GAVE UP",
        "UNKNOWN",
    ];
    let titles = head.map(|title| format!(" {title}")).concat();
    let head = format!(
        "{:<23} {:<10}{titles}  DELAY p50 / p99 / max",
        "PEER", "NETNS"
    );
    writeln!(out, "{}", paint.on(HEADING, &head));
    let top = conflicts.top(TOP);
    for (address, peer) in top.peers {
        row(address, peer, names, out);
        let causes = conflicts.causes(peer);
        hypotheses(&causes, paint, out);
        advise(&causes, address.raddr, peer.counts.stuck > 0, paint, out);
        stuck(&peer.counts, paint, out);
    }
    if let Some(Rest {
        addresses,
        more,
        counts,
    }) = top.rest
    {
        let least = if more { "at least " } else { "" };
        let who = format!(
            "{least}{} more",
            plural(addresses as u64, "address", "addresses")
        );
        write!(out, "{who:<34}");
        cells(&counts, out);
        out.byte(b'\n');
    }
    out.byte(b'\n');
}

fn row(address: PeerKey, peer: &Peer, names: &mut Names, out: &mut Line) {
    let mut name = Line::new();
    name_or_number(names.netns(address.netns), address.netns, &mut name);
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    write!(out, "{:<23} {name:<10}", address.raddr.to_string());
    cells(&peer.counts, out);
    if let Some(delays) = peer.delays() {
        let [p50, p99, max] = [delays.p50_ns, delays.p99_ns, delays.max_ns].map(units::span);
        write!(out, "  {p50} / {p99} / {max}");
    }
    out.byte(b'\n');
}

fn cells(counts: &Counts, out: &mut Line) {
    let outcome = |outcome: Outcome| counts.outcomes[outcome as usize];
    for (value, width) in [
        (counts.refused, 12),
        (counts.accepted, 8),
        (counts.tuples, 6),
        (outcome(Outcome::Recovered), 9),
        (outcome(Outcome::Reopened), 8),
        (outcome(Outcome::Stuck), 5),
        (outcome(Outcome::GaveUp), 7),
        (outcome(Outcome::Unknown), 7),
    ] {
        write!(out, " {:>width$}", thousands(value));
    }
}

/// A line each.
fn hypotheses(causes: &[Hypothesis], paint: Paint, out: &mut Line) {
    for case in causes {
        let standing = case.standing();
        let (first, then) = match standing {
            Standing::Likely | Standing::Perhaps => (&case.pro, &case.con),
            Standing::Less | Standing::Not => (&case.con, &case.pro),
        };
        if first.is_empty() {
            continue;
        }
        let said: Vec<_> = first
            .iter()
            .take(SENTENCES)
            .map(evidence::sentence)
            .collect();
        let word = format!("{:<8}", evidence::standing(standing));
        let word = match standing {
            Standing::Likely | Standing::Perhaps => paint.on(CARE, &word),
            Standing::Less | Standing::Not => word,
        };
        write!(
            out,
            "  {word} {}: {}",
            evidence::cause(case.cause),
            said.join("; ")
        );
        if let (Some(but), Standing::Likely | Standing::Perhaps) = (then.first(), standing) {
            write!(out, " – but {}", evidence::sentence(but));
        }
        out.byte(b'\n');
    }
}

fn advise(causes: &[Hypothesis], address: IpAddr, stuck: bool, paint: Paint, out: &mut Line) {
    let best = causes.first().filter(|best| best.points > 0);
    if let Some(advice) = best.and_then(|best| advice::advice(best, address, stuck)) {
        writeln!(out, "  {} {advice}", paint.on(GOOD, "try     "));
    }
}

fn stuck(counts: &Counts, paint: Paint, out: &mut Line) {
    for by in StuckBy::ALL {
        let clients = counts.stuck_by[by as usize];
        if clients > 0 {
            let advice = match by {
                StuckBy::Rfc1337 => "their RST is ignored: tcp_rfc1337=0 lets them in",
                StuckBy::WrongRst => {
                    "their RST has the wrong numbers: something on the way rewrites sequence numbers"
                }
                StuckBy::NoRst => {
                    "no RST answered the ACKs: let the ACK to a SYN, and the RST to that ACK, pass the firewall and NAT"
                }
            };
            writeln!(
                out,
                "  {} {}: {advice}",
                paint.on(BAD, "stuck   "),
                count(clients, "connection")
            );
        }
    }
}

fn delay_line(delays: &Percentiles, out: &mut Line) {
    let [p50, p90, p99, max] =
        [delays.p50_ns, delays.p90_ns, delays.p99_ns, delays.max_ns].map(units::span);
    writeln!(
        out,
        "delay from the first refused SYN: p50 {p50}, p90 {p90}, p99 {p99}, max {max} ({} let in; after a RST the client's next SYN comes at once from Linux 5.6 on, else after its retransmission timeout)",
        thousands(delays.n)
    );
}

fn recycle(recycle: &Recycle, out: &mut Line) {
    writeln!(
        out,
        "tcp_tw_recycle would have dropped at least {} of the {} that met an old connection, without an answer: {} behind another clock of their address, {} without a timestamp. At least, because SYNs that meet no old connection are not seen here. It is gone since Linux 4.12",
        thousands(recycle.dropped()),
        count(recycle.syns, "SYN"),
        thousands(recycle.dropped_behind),
        thousands(recycle.dropped_without)
    );
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// One remote address as it is written; docs/output.md describes each field.
#[derive(Serialize)]
struct PeerObject {
    v: u32,
    event: &'static str,
    raddr: Option<String>,
    netns: Option<u32>,
    #[serde(flatten)]
    counts: CountsObject,
    delay: Option<DelayObject>,
    causes: Vec<CauseObject>,
}

#[derive(Serialize)]
struct CountsObject {
    refused: u64,
    accepted: u64,
    tuples: u64,
    outcomes: Outcomes,
    stuck: u64,
    stuck_by: StuckByObject,
}

#[derive(Serialize)]
struct DelayObject {
    n: u64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// All together.
#[derive(Serialize)]
struct Object {
    v: u32,
    event: &'static str,
    addresses: usize,
    #[serde(flatten)]
    counts: CountsObject,
    delay: Option<DelayObject>,
    buckets: Vec<(u64, u64)>,
    recycle: Option<RecycleObject>,
    unseen: Option<UnseenObject>,
}

#[derive(Serialize)]
struct UnseenObject {
    stage: &'static str,
    counter: &'static str,
    grew: Option<u64>,
    known: usize,
    unknown: usize,
}

#[derive(Serialize)]
struct RecycleObject {
    syns: u64,
    dropped: u64,
    behind: u64,
    without_timestamp: u64,
}

pub(super) fn json(
    conflicts: &Conflicts,
    unseen: Option<&Unseen>,
    what_if: WhatIf,
    out: &mut Line,
) {
    let top = conflicts.top(usize::MAX);
    for (address, peer) in top.peers {
        let object = PeerObject {
            v: json::VERSION,
            event: "peer",
            raddr: Some(address.raddr.to_string()),
            netns: Some(address.netns),
            counts: peer.counts.into(),
            delay: peer.delays().map(DelayObject::from),
            causes: CauseObject::all(&conflicts.causes(peer)),
        };
        json::put(&object, out);
        out.byte(b'\n');
    }
    if let Some(rest) = top.rest {
        let object = PeerObject {
            v: json::VERSION,
            event: "peer",
            raddr: None,
            netns: None,
            counts: rest.counts.into(),
            delay: None,
            causes: Vec::new(),
        };
        json::put(&object, out);
        out.byte(b'\n');
    }
    all(conflicts, unseen, what_if, out);
}

fn all(conflicts: &Conflicts, unseen: Option<&Unseen>, what_if: WhatIf, out: &mut Line) {
    let overview = conflicts.overview();
    let delays: &Histogram<u64> = conflicts.delays();
    let recycle = conflicts.recycle();
    let object = Object {
        v: json::VERSION,
        event: "conflicts",
        addresses: overview.addresses,
        counts: overview.counts.into(),
        delay: overview.delays.map(DelayObject::from),
        buckets: buckets(delays).collect(),
        recycle: what_if.recycle.then(|| RecycleObject {
            syns: recycle.syns,
            dropped: recycle.dropped(),
            behind: recycle.dropped_behind,
            without_timestamp: recycle.dropped_without,
        }),
        unseen: unseen.map(|unseen| UnseenObject {
            stage: Stage::Established.name(),
            counter: UNSEEN,
            grew: unseen.grew(),
            known: unseen.known,
            unknown: unseen.unknown,
        }),
    };
    json::put(&object, out);
    out.byte(b'\n');
}

impl From<Counts> for CountsObject {
    fn from(counts: Counts) -> Self {
        let Counts {
            refused,
            accepted,
            tuples,
            outcomes,
            stuck,
            stuck_by,
        } = counts;
        Self {
            refused,
            accepted,
            tuples,
            outcomes: Outcomes(outcomes),
            stuck,
            stuck_by: StuckByObject(stuck_by),
        }
    }
}

impl From<Percentiles> for DelayObject {
    fn from(delays: Percentiles) -> Self {
        let Percentiles {
            n,
            p50_ns,
            p90_ns,
            p99_ns,
            max_ns,
        } = delays;
        Self {
            n,
            p50_ms: ms(p50_ns),
            p90_ms: ms(p90_ns),
            p99_ms: ms(p99_ns),
            max_ms: ms(max_ns),
        }
    }
}

/// `{"recovered": 12, …}`.
struct Outcomes([u64; OUTCOMES]);

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(OUTCOMES))?;
        for (outcome, count) in Outcome::ALL.into_iter().zip(self.0) {
            map.serialize_entry(outcome.name(), &count)?;
        }
        map.end()
    }
}

/// `{"rfc1337": 3, …}`.
struct StuckByObject([u64; StuckBy::ALL.len()]);

impl Serialize for StuckByObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (by, count) in StuckBy::ALL.into_iter().zip(self.0) {
            map.serialize_entry(by.name(), &count)?;
        }
        map.end()
    }
}
