//! A description of what was seen. Every figure comes from the recording.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::tracer::Written;

const EXPIRED: &str = "expired";

/// The reasons to end early, worded to follow a number.
const EARLY: &[(&str, &str)] = &[
    ("syn-reopened", "reopened by the peer's next SYN"),
    ("connect-reused", "taken over by a connect()"),
    (
        "bound-reused",
        "taken over by a connect() from the same port",
    ),
    ("reset", "reset by the peer"),
    ("fin-wait-2-reset", "reset while waiting for the peer's FIN"),
    ("fin-wait-2-timeout", "given up because no FIN came"),
    ("destroyed", "destroyed by hand"),
    ("netns-exit", "gone with their namespace"),
    ("other", "for a reason unknown"),
];

/// Four lines: sockets that expired, that ended early, that never entered TIME_WAIT, and clients
/// that were refused.
pub(super) fn lines(written: &Written, conflicts: &Written) -> Result<[String; 4]> {
    let ends = || {
        written
            .events
            .iter()
            .filter(|event| event["event"] == "end")
    };
    let (waited, early): (Vec<_>, Vec<_>) = ends().partition(|end| end["reason"] == EXPIRED);
    let overflows = written.number("/overflows/seen")?;
    Ok([
        format!(
            "{} stayed in TIME_WAIT until the timer fired, {}.",
            sockets(waited.len()),
            range(&waited)?
        ),
        format!(
            "{} ended before that, {}: {}.",
            sockets(early.len()),
            range(&early)?,
            reasons(&early)
        ),
        format!("{overflows} more were closed without any TIME_WAIT: tcp_max_tw_buckets was full."),
        kept_out(conflicts),
    ])
}

/// The number of conflicts, and how long they kept clients out.
fn kept_out(conflicts: &Written) -> String {
    let all: Vec<_> = conflicts
        .events
        .iter()
        .filter(|event| event["event"] == "conflict")
        .collect();
    let recovered = all.iter().filter(|one| one["outcome"] == "recovered");
    let mut delays: Vec<f64> = recovered
        .filter_map(|one| one["delay_ms"].as_f64())
        .collect();
    delays.sort_by(f64::total_cmp);
    let count = all.len();
    let head = format!(
        "{count} clients were refused at first: another behind the same NAT had the same port before, and a clock ahead of theirs"
    );
    match (delays.first(), delays.last()) {
        (Some(least), Some(most)) => format!(
            "{head}. {} got through, the TIME_WAIT out of the way after {} to {}.",
            delays.len(),
            time(*least),
            time(*most)
        ),
        _ => format!("{head}. None got through."),
    }
}

fn sockets(count: usize) -> String {
    match count {
        1 => "1 socket".to_owned(),
        _ => format!("{count} sockets"),
    }
}

/// `7 reset by the peer, 5 gone with their namespace`, the most frequent first.
fn reasons(ends: &[&Value]) -> String {
    let count = |reason| ends.iter().filter(|end| end["reason"] == reason).count();
    let mut counts: Vec<_> = EARLY
        .iter()
        .map(|&(reason, words)| (count(reason), words))
        .filter(|&(count, _)| count > 0)
        .collect();
    counts.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    let words = counts
        .iter()
        .map(|(count, words)| format!("{count} {words}"));
    words.collect::<Vec<_>>().join(", ")
}

/// `after 60.1 to 61.9 s`.
fn range(ends: &[&Value]) -> Result<String> {
    let mut lives = ends
        .iter()
        .map(|end| life(end))
        .collect::<Result<Vec<_>>>()?;
    lives.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (lives.first(), lives.last()) else {
        return Ok("never".to_owned());
    };
    Ok(format!("after {} to {}", time(*least), time(*most)))
}

/// In ms, both substates together.
fn life(end: &Value) -> Result<f64> {
    let parts = [&end["fin_wait_2_ms"], &end["time_wait_ms"]];
    let known: Vec<f64> = parts.into_iter().filter_map(Value::as_f64).collect();
    (!known.is_empty())
        .then(|| known.iter().sum())
        .with_context(|| format!("an end without a lifetime: {end}"))
}

fn time(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_become_words() {
        let end = |reason, fin_wait_2: Option<f64>, time_wait: Option<f64>| json!({"event": "end", "reason": reason, "fin_wait_2_ms": fin_wait_2, "time_wait_ms": time_wait});
        let written = Written {
            events: vec![
                end("expired", Some(0.25), Some(60_123.0)),
                end("expired", None, Some(61_900.0)),
                end("reset", None, Some(812.4)),
                end("syn-reopened", None, Some(900.0)),
                end("fin-wait-2-timeout", Some(2_049.0), None),
                end("syn-reopened", None, Some(1_000.0)),
            ],
            summary: json!({"overflows": {"seen": 5}}),
        };
        let conflict = |outcome, delay: Option<f64>| json!({"event": "conflict", "outcome": outcome, "delay_ms": delay});
        let conflicts = Written {
            events: vec![
                json!({"event": "refusal"}),
                conflict("recovered", Some(12.0)),
                conflict("stuck", None),
                conflict("recovered", Some(9.0)),
            ],
            summary: json!({}),
        };
        assert_eq!(
            lines(&written, &conflicts).unwrap(),
            [
                "2 sockets stayed in TIME_WAIT until the timer fired, after 60.1 s to 61.9 s.",
                "4 sockets ended before that, after 812 ms to 2.0 s: 2 reopened by the peer's next SYN, 1 reset by the peer, 1 given up because no FIN came.",
                "5 more were closed without any TIME_WAIT: tcp_max_tw_buckets was full.",
                "3 clients were refused at first: another behind the same NAT had the same port before, and a clock ahead of theirs. 2 got through, the TIME_WAIT out of the way after 9.0 ms to 12 ms.",
            ]
        );
    }
}
