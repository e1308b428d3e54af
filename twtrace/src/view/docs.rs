//! docs/output.md, made from the table of columns and the fields listed here.

use std::fmt::Write;

use twtrace_common::Reason;
use twtrace_common::refusal::RULES as RULE_COUNT;

use super::columns::{COLUMNS, Of, Shown};
use super::doctor;
use super::groups;
use super::json::VERSION;
use crate::event::Rule;
use crate::model::conflicts::causes::Cause;
use crate::model::conflicts::{self, Outcome};

/// Key, unit and meaning.
pub type Field = (&'static str, &'static str, &'static str);

/// The last JSON object of `trace` and `report`.
pub const SUMMARY: [Field; 23] = [
    ("v", "", "version of the schema"),
    ("event", "", "`summary`"),
    ("kernel", "", "release of the kernel, as `uname -r`"),
    ("duration_ms", "ms", "from the start to the last totals"),
    ("seen", "", "ends counted in the kernel"),
    ("reported", "", "ends shown"),
    (
        "lost",
        "",
        "`ring`: ends that did not fit the ring; `map`: births that found no room, whose ends are shown without their times; `mark_lost`: marks without room, of mini-sockets older than the trace, which may end as `other`; `missed`: runs of twtrace's programs that the kernel skipped, null if it does not tell",
    ),
    ("totals", "", "ends counted in the kernel, by reason"),
    (
        "counters",
        "",
        "the kernel's own counters beside twtrace's, an object per namespace and counter: `netns`, `name`, `kernel` (by how much it moved; null if not known), `expected`, `agree` (null if it proves nothing), `why` (there is no kernel value, or it proves nothing). Counters of births and ends are listed for every namespace in which one of them moved, those of refusals if they moved themselves; empty if a filter was set",
    ),
    (
        "agree",
        "",
        "false if any counter does not agree, true if none disagrees, null if nothing could be compared",
    ),
    (
        "complete",
        "",
        "nothing was lost or left out by a rate limit, for each class `seen = reported + unasked + limited + lost.ring`, and `agree` is not false (where namespaces have cookies: Linux 5.14 and later); else the exit code is 3",
    ),
    (
        "overflows",
        "",
        "`seen`, `reported` and `lost` of overflows (`ring`; `missed`: skipped runs of the program for them, unless the kernel counted as many overflows as twtrace)",
    ),
    (
        "refusals",
        "",
        "`seen`, `reported`, `limited` (over the rate limit, only counted) and `lost` (`ring` only) of refusals; `syns`: SYNs among them that a mini-socket refused; `classes`: by what refused them; `verdict_differs`: the kernel's drop reason differs from the rule that twtrace found, which is a mistake in twtrace; null if they were not traced",
    ),
    (
        "port_failures",
        "",
        "`seen`, `reported`, `limited` (over the rate limit, only counted) and `lost` of calls that got no port (`ring`; `missed`: calls that the kernel skipped, most of which will have got a port); `calls`: by call; null if they were not traced",
    ),
    (
        "unasked",
        "",
        "ends counted but not shown because the command does not need them",
    ),
    (
        "births",
        "",
        "mini-sockets created, by their first substate; `reported` and `lost` (`ring` only) of their records: null where none was asked for",
    ),
    (
        "promoted",
        "",
        "changes from FIN_WAIT2 to TIME_WAIT; without `births` only of those that ended",
    ),
    (
        "rearmed",
        "",
        "timer restarts in TIME_WAIT; null if they were not traced",
    ),
    ("untracked", "", "ends whose birth was not seen"),
    ("filtered", "", "births and ends that the filters left out"),
    ("undecoded", "", "records that could not be decoded"),
    (
        "cut",
        "",
        "the recording ends before the trace did: its last events and totals are missing",
    ),
    ("attach", "", "`fentry`, `kprobe` or `mixed`"),
];

/// One JSON object of `hist`; CSV has the same fields but `v`, `event` and `buckets`.
pub const HISTOGRAM: [Field; 13] = [
    ("v", "", "version of the schema"),
    ("event", "", "`histogram`"),
    (
        "scope",
        "",
        "`interval`: since the previous report; `total`: since the start",
    ),
    ("from_ns", "ns", "start of that time, CLOCK_MONOTONIC"),
    ("to_ns", "ns", "its end"),
    ("reason", "", "why the mini-sockets ended"),
    (
        "clock",
        "",
        "`time-wait` or `fin-wait-2`: the substate whose time is counted",
    ),
    ("n", "", "number of values"),
    ("p50_ms", "ms", "median"),
    ("p90_ms", "ms", "90th percentile"),
    ("p99_ms", "ms", "99th percentile"),
    ("max_ms", "ms", "maximum"),
    (
        "buckets",
        "ns",
        "the histogram itself: lowest value and count of each bucket that is not empty",
    ),
];

/// One JSON object per destination of `ports`; CSV has the same fields but `v`, `event`,
/// `reuse_delay_ms` and `last_…`.
pub const PORT_PRESSURE: [Field; 23] = [
    ("v", "", "version of the schema"),
    ("event", "", "`port-pressure`"),
    (
        "scope",
        "",
        "`interval`: as it is now; `warning`: the destination has come under pressure (90 % in use, or 10 % and full in less than 60 s at the present growth; not where tcp_tw_reuse is on for it); `total`: at the end, those that came closest first",
    ),
    ("at_ns", "ns", "when, CLOCK_MONOTONIC"),
    ("netns", "", "network namespace: its inode number"),
    ("laddr", "", "source address"),
    (
        "raddr",
        "",
        "destination address; null for a source of which bind() takes the ports, so that all destinations share them (IP_BIND_ADDRESS_NO_PORT leaves the choice to connect()), and for a port that bind() did not get",
    ),
    ("rport", "", "destination port; null likewise"),
    (
        "in_use",
        "",
        "ports of the ephemeral range in use between these two, or of a source by anybody: `time_wait` + `others`, but at most `candidates`, because a connection among the others may have become a mini-socket since it was counted",
    ),
    (
        "candidates",
        "",
        "ports that connect() may use: the range, less what is reserved, listened on, or (from 6.8 on) only bound. Both parities count: connect() tries one first, then the other",
    ),
    (
        "time_wait",
        "",
        "of these, by mini-sockets, FIN_WAIT2 included",
    ),
    (
        "others",
        "",
        "of these, by other connections, as last counted: at each interval, or more seldom if that takes over 1 % of a CPU",
    ),
    ("peak", "", "the most that were in use at once"),
    ("arrivals", "1/s", "new mini-sockets, over the last 10 s"),
    ("growth", "1/s", "arrivals less ends"),
    (
        "full_in_ms",
        "ms",
        "when all candidates are in use at the present growth, of the source if bind() takes its ports; null if it does not grow, or if tcp_tw_reuse frees them",
    ),
    (
        "reuse",
        "",
        "whether tcp_tw_reuse can help, judging by the sysctls of the namespace (the peer must use timestamps, too): `on` for this destination already, `would-help` if it were 1, `no-timestamps` (tcp_timestamps is 0), `unknown`; or why it has no part in this: `port-named` (the caller names the port), `bind` (bind() chooses the ports), `live` (live connections hold most), `fin-wait-2` (FIN_WAIT2 holds most; Linux 5.10 takes those over, newer kernels do not)",
    ),
    (
        "reuse_delay_ms",
        "ms",
        "how long a port cannot be reused; null where the kernel has no tcp_tw_reuse_delay: up to a second",
    ),
    ("failures", "", "calls that got no port, so far"),
    (
        "last_pid",
        "",
        "process of the last such call; null if there was none",
    ),
    ("last_command", "", "its name"),
    (
        "lport",
        "",
        "the port that callers named and did not get: the row is of this port alone, and in use when they asked; null where a port of the range is chosen",
    ),
    (
        "held_by",
        "",
        "of a port that callers named, what holds it. `ports` looks right after a bind() failed: `listener`; `live-accepted`, `live-outgoing` or, where both ports are in the ephemeral range, `live` connections; `bound`: a socket that is only bound; `time-wait-accepted`, `time-wait-outgoing`, `time-wait`: the same of mini-sockets, FIN_WAIT2 included; `gone`: nothing any more. `unknown` where it was not looked, as in a recording. Of a connect(): `time-wait` or `unknown`. null for other rows",
    ),
];

/// One JSON object per namespace of `ports`.
pub const POPULATION: [Field; 13] = [
    ("v", "", "version of the schema"),
    ("event", "", "`population`"),
    ("scope", "", "`interval` or `total`"),
    ("at_ns", "ns", "when, CLOCK_MONOTONIC"),
    ("netns", "", "network namespace: its inode number"),
    ("time_wait", "", "mini-sockets alive in TIME_WAIT"),
    ("fin_wait_2", "", "mini-sockets alive in FIN_WAIT2"),
    (
        "uncertain",
        "",
        "how many more or fewer there may be, because of what was lost or missed while the earlier ones were listed",
    ),
    (
        "substate_uncertain",
        "",
        "how many at most may be in the other substate, because they changed it while they were listed",
    ),
    ("listed", "", "those from before the trace are included"),
    (
        "limit",
        "",
        "`tcp_max_tw_buckets`; null if it was not read, or if a filter hides what counts against it",
    ),
    ("left", "", "how many more the limit allows"),
    (
        "overflows",
        "",
        "connections that got no mini-socket, so far",
    ),
];

/// Why a segment was refused.
const RULES: [(Rule, &str); RULE_COUNT] = [
    (
        Rule::Paws,
        "its timestamp is older than the last one of the connection",
    ),
    (
        Rule::OldSequence,
        "a SYN whose ISN is not beyond what was received, and whose timestamp is not newer; any other segment that begins before what was received",
    ),
    (Rule::OutOfWindow, "it begins beyond what is expected"),
    (
        Rule::Rfc1337,
        "a RST in TIME_WAIT that would have ended it, but for tcp_rfc1337",
    ),
    (
        Rule::Unexpected,
        "a new SYN, or data, while FIN_WAIT2 waits for a FIN: the answer is a RST, and the mini-socket ends",
    ),
    (
        Rule::Challenge,
        "a SYN on a live connection: challenged whatever its numbers (RFC 5961)",
    ),
    (Rule::Echo, "it echoes a timestamp that was never sent"),
];

/// The outcome for a client.
const OUTCOMES: [(Outcome, &str); conflicts::OUTCOMES] = [
    (
        Outcome::Recovered,
        "the client answered the ACK with a RST, which ended the mini-socket. Nothing refuses its next SYN, which no hook sees: Linux from 5.6 on sends it two jiffies later, others after their retransmission timeout, which comes on top of `delay_ms`",
    ),
    (
        Outcome::Reopened,
        "a later SYN was accepted over the TIME_WAIT",
    ),
    (
        Outcome::Stuck,
        "three or more SYNs refused over 3 s or more, and no end in sight; reported as soon as that is so",
    ),
    (
        Outcome::GaveUp,
        "fewer SYNs, and then the mini-socket ended for another reason",
    ),
    (
        Outcome::Unknown,
        "the trace ended first, the end was missed, or it was not a mini-socket that refused",
    ),
];

/// What may be the cause.
const CAUSES: [(Cause, &str); Cause::ALL.len()] = [
    (
        Cause::SeveralHosts,
        "several hosts behind one address, each with its own clock",
    ),
    (
        Cause::PortRewritingNat,
        "one host behind a NAT that rewrites its ports, on a kernel with a clock per port",
    ),
    (
        Cause::ClockReset,
        "the peer's clock went back: a reboot, a restored virtual machine",
    ),
    (
        Cause::NonMonotonicStack,
        "a stack or proxy whose timestamps do not grow from one connection to the next",
    ),
    (
        Cause::RestartedDevice,
        "a device without timestamps has restarted, and begins from the same port or the same ISN again",
    ),
    (
        Cause::OldDuplicate,
        "a segment of an earlier connection that was delayed in the network",
    ),
];

/// One JSON object per remote address with conflicts, at the end of `conflicts`.
pub const PEER: [Field; 12] = [
    ("v", "", "version of the schema"),
    ("event", "", "`peer`"),
    (
        "raddr",
        "",
        "remote address; null in a last object for all addresses that could not be told apart",
    ),
    ("netns", "", "network namespace: its inode number"),
    (
        "refused",
        "",
        "SYNs refused, whatever the stage and rule, including those without a record",
    ),
    (
        "accepted",
        "",
        "SYNs accepted over a TIME_WAIT since the address was first followed",
    ),
    (
        "tuples",
        "",
        "different 4-tuples that had a conflict; 262,144 are told apart in all",
    ),
    ("outcomes", "", "conflicts by outcome"),
    (
        "stuck",
        "",
        "conflicts that were stuck at some time, whatever their outcome",
    ),
    (
        "stuck_by",
        "",
        "the same by what kept them stuck, as far as known",
    ),
    (
        "delay",
        "ms",
        "`n`, `p50_ms`, `p90_ms`, `p99_ms`, `max_ms` of `delay_ms`; null if nobody got in",
    ),
    (
        "causes",
        "",
        "as in `conflict`, from everything known at the end",
    ),
];

/// The object after those: all addresses together.
pub const CONFLICTS: [Field; 6] = [
    ("event", "", "`conflicts`"),
    (
        "addresses",
        "",
        "remote addresses with conflicts that could be told apart, 4,096 at most",
    ),
    (
        "refused, accepted, tuples, outcomes, stuck, stuck_by, delay",
        "",
        "as in `peer`",
    ),
    (
        "buckets",
        "ns",
        "the histogram of all delays: lowest value and count of each bucket that is not empty",
    ),
    (
        "recycle",
        "",
        "with `--what-if recycle`: of `syns` that met a mini-socket, how many tcp_tw_recycle would at least have `dropped`: those `behind` another clock of their address and those `without_timestamp`; else null",
    ),
    (
        "unseen",
        "",
        "null if all stages can be seen; else what is not: SYNs refused at `stage` other than those told, and how far the kernel's `counter` of them `grew` in the network namespaces where that is `known` (it counts SYN-ACKs that are sent again, too); null if it is `unknown` in all",
    ),
];

/// The whole of docs/output.md.
#[must_use]
pub fn output_md() -> String {
    let mut page = format!(
        "# Output\n\n\
         This page is made from the tables in `twtrace/src/view/`; a test compares the two.\n\n\
         Data goes to stdout, messages to stderr. `-o json` prints one object per line, each with\n\
         the version of this schema in `v`, now {VERSION}. Fields may be added; a field that changes its\n\
         meaning raises the version. [schema/twtrace.schema.json](schema/twtrace.schema.json) says the\n\
         same as a JSON Schema (draft 2020-12). `null` (in CSV an empty field, in text `–`) means unknown,\n\
         never zero. Times (`_ns`) are nanoseconds of CLOCK_MONOTONIC, spans (`_ms`) are\n\
         milliseconds. Terms are explained in [glossary.md](glossary.md).\n\n\
         Names, commands and everything else from outside is cleaned: control characters, characters\n\
         that change the direction of text, break lines or are invisible, and bytes that are not UTF-8\n\
         are written as `\\x1b`, `\\u{{202e}}` or `\\xff`; anything longer than 1,024 bytes has `…` for its\n\
         middle. In CSV, a name or note that begins with `=`, `+`, `-` or `@` has `'` before it, so that\n\
         no spreadsheet takes it for a formula. Where the locale is not UTF-8, text has ASCII instead of\n\
         `–`, `·`, `→` and the like.\n\n\
         ## Fields of events\n\n\
         `trace` and `report` show ends, overflows, refusals and port failures; `conflicts` and `report\n\
         --conflicts` show refusals, reopens and conflicts (in text only refused SYNs, RSTs\n\
         ignored because of tcp_rfc1337, and conflicts). JSON has each event's own fields, CSV those of all\n\
         that the command shows. `--fields` chooses others and their order, in every output.\n\n\
         | field | unit | events | shown in | meaning |\n|---|---|---|---|---|\n"
    );
    for column in COLUMNS {
        let of = match column.of {
            Of::ALL => "all".to_owned(),
            some => some.names().collect::<Vec<_>>().join(", "),
        };
        let shown = match column.shown {
            Shown::Data => "JSON, CSV",
            Shown::Text => "text",
            Shown::Everywhere => "all",
            Shown::Asked => "`--fields`",
        };
        let (key, unit, doc) = (column.key, column.unit, column.doc);
        line(&mut page, &[&format!("`{key}`"), unit, &of, shown, doc]);
    }
    page.push_str("\nWhy a mini-socket ends:\n\n| `reason` | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        line(
            &mut page,
            &[&format!("`{}`", reason.name()), meaning(reason)],
        );
    }
    page.push_str("\nRules by which a segment is refused:\n\n| `rule` | meaning |\n|---|---|\n");
    for (rule, doc) in RULES {
        line(&mut page, &[&format!("`{}`", rule.name()), doc]);
    }
    conflicts_md(&mut page);
    ports_md(&mut page);
    page.push_str(
        "\n## The summary\n\n\
         The last line. In text it reads `2,904 ends · 41 refusals · lost 0 (ring 0, map 0, missed 0)\n\
         · kernel counters agree (…)`; a counter that does not agree has a line of its own.\n\n",
    );
    fields(&mut page, &SUMMARY);
    page.push_str(
        "\nWhat the kernel counts when: `TW+TWKilled` moves at each birth from 6.1 on, and on\n\
         earlier kernels when a timer fires; `TWRecycled` at each reuse by a local connect();\n\
         `TCPTimeWaitOverflow` at each overflow. Refusals by PAWS: `PAWSTimewait` in TIME_WAIT where\n\
         the kernel has it, else `PAWSEstab`, which also counts those on live connections and in\n\
         SYN_RECV; `PAWSOldAck` old ACKs without data; `TCPACKSkipped…` suppressed answers.\n\n\
         ## Histograms of `hist`\n\n\
         The kernel side counts in the buckets of an HdrHistogram with two significant digits: 16 µs\n\
         wide up to 4 ms, at most 1/128 of the value above. Percentiles and maximum are the middle of\n\
         their bucket, within 1/256 of the truth. Only values whose start is known are counted.\n\
         `--hgrm` writes HdrHistogram's own percentile format, values in ms, which shows the upper\n\
         edge of buckets.\n\n",
    );
    fields(&mut page, &HISTOGRAM);
    groups_md(&mut page);
    doctor::docs::md(&mut page);
    page
}

fn groups_md(page: &mut String) {
    page.push_str(
        "\n## Groups\n\n\
         With `--by peer|service|lport|uid|cgroup|netns`, `hist` shows a row per group instead of the\n\
         histograms, and `trace` and `report` show them before the summary (with CSV, on stderr). Groups\n\
         are counted from records, one by one while there are no more than 1,024; then the smallest\n\
         are added to the others, so a group that was once small may have had more than its row says.\n\
         The rows of scope `total` add up to the ends that the kernel side counted.\n\
         Addresses are not told apart by namespace. Lifetimes are known to 1/8 ms or 1/128 of their\n\
         value. CSV has the same fields but `v` and `event`.\n\n",
    );
    line(page, &["field", "unit", "meaning"]);
    page.push_str("|---|---|---|\n");
    line(page, &["`v`", "", "version of the schema"]);
    line(page, &["`event`", "", "`group`"]);
    for column in groups::COLUMNS {
        line(
            page,
            &[&format!("`{}`", column.key), column.unit, column.doc],
        );
    }
}

fn ports_md(page: &mut String) {
    page.push_str(
        "\n## Ports\n\n\
         At each interval `ports` shows the namespaces that have mini-sockets and the destinations with\n\
         the highest share of ports in use; `overflow` and `port-failure` events (see above) as they\n\
         happen; warnings; and at the end how close each destination came. In text, failures begin\n\
         with `!!` and are shown at most once per second and destination, warnings begin with `!`, and\n\
         a namespace is compared with its limit once it has reached half of it. With CSV, failures go to stderr.\n\n",
    );
    fields(page, &PORT_PRESSURE);
    page.push('\n');
    fields(page, &POPULATION);
}

fn conflicts_md(page: &mut String) {
    page.push_str(
        "\n## Conflicts\n\n\
         A conflict begins with the first SYN that is refused, whatever the rule, and ends with the\n\
         mini-socket that refused it. [conflicts.md](conflicts.md) explains how to read one.\n\n\
         | `outcome` | meaning |\n|---|---|\n",
    );
    for (outcome, doc) in OUTCOMES {
        line(page, &[&format!("`{}`", outcome.name()), doc]);
    }
    page.push_str("\n| `cause` | meaning |\n|---|---|\n");
    for (cause, doc) in CAUSES {
        line(page, &[&format!("`{}`", cause.name()), doc]);
    }
    page.push_str(
        "\nAt the end comes an object for each remote address, those with the most refused SYNs\n\
         first, and one for all together. In text, the first 15 have a row and lines with what is\n\
         `likely`, `perhaps`, `less` or `not` the cause; with CSV this goes to stderr. Delays of an\n\
         address are known to 1/8 ms or 1/128 of their value.\n\n",
    );
    fields(page, &PEER);
    page.push('\n');
    fields(page, &CONFLICTS);
}

fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Other => "no mark was found",
        Reason::Expired => "the timer fired in TIME_WAIT (`tw_timer_handler`)",
        Reason::FinWait2Timeout => "the timer fired while still waiting for the peer's FIN",
        Reason::SynReopened => "the peer's new SYN was accepted over it",
        Reason::ConnectReused => {
            "a local connect() took its port over (`tcp_tw_reuse`, `tcp_twsk_unique`)"
        }
        Reason::BoundReused => {
            "a connect() from a bound port took it over, whatever `tcp_tw_reuse` says"
        }
        Reason::Reset => "a RST in TIME_WAIT (`tcp_rfc1337=0`)",
        Reason::FinWait2Reset => {
            "a RST in FIN_WAIT2, or a segment there that was answered with a RST"
        }
        Reason::Destroyed => "`ss -K` (SOCK_DESTROY, `tcp_abort`)",
        Reason::NetnsExit => "its network namespace went away",
        Reason::Recycled => "tcp_tw_recycle's short timer; kernels up to 4.11 only, never reported",
    }
}

pub(super) fn fields(page: &mut String, fields: &[Field]) {
    page.push_str("| field | unit | meaning |\n|---|---|---|\n");
    for (key, unit, doc) in fields {
        line(page, &[&format!("`{key}`"), unit, doc]);
    }
}

pub(super) fn line(page: &mut String, cells: &[&str]) {
    // A String takes everything.
    let written = writeln!(page, "| {} |", cells.join(" | "));
    debug_assert!(written.is_ok());
}
