//! The rows of the table.

use super::get::{
    at_ns, cgroup, conflict, connected, delay_ns, end, errno, family, flow, gap, known, lport,
    numbers, owner, port_failure, refusal, room, seq_gap, stage, time_wait_ns, what,
};
use super::rows::{columns, in_schema};
use super::{Align, Before, CgroupFact, Column, Of, Show, Shown, Value};
use crate::event::{BornAs, Call};
use crate::model::Report;

columns! {
    event {
        header: "EVENT",
        width: 8,
        align: Align::Left,
        doc: "what happened; always there in JSON, after the schema version `v`",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Word(match report {
            Report::End(_) => "end",
            other => Of::kind(other).name(),
        }),
    }
    reason {
        header: "END",
        width: 18,
        align: Align::Left,
        doc: "why the mini-socket ended; in CSV `overflow` if there was none, `refused` for a refusal, `no-port` for a port failure, the outcome for a conflict; in text `REFUSED SYN` and the like",
        of: Of::END,
        shown: Shown::Everywhere,
        get: what,
    }
    stage {
        header: "STAGE",
        width: 11,
        align: Align::Left,
        doc: "what refused the segment: `time-wait`, `fin-wait-2`, `syn-recv`, `established`, `syn-sent`; `recycle` is for kernels up to 4.11. Of a conflict, the last SYN, or the substate in which the mini-socket ended",
        of: Of::REFUSAL.and(Of::CONFLICT),
        shown: Shown::Data,
        get: |report| known(stage(report), |stage| Value::Word(stage.name())),
    }
    rule {
        header: "RULE",
        width: 13,
        align: Align::Left,
        doc: "why; see the list of rules",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| known(refusal(report), |one| Value::Word(one.refusal.rule.name())),
    }
    syn {
        header: "SYN",
        width: 3,
        align: Align::Left,
        doc: "a SYN that opens a connection (no ACK)",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| known(refusal(report), |one| Value::Flag(one.refusal.is_syn())),
    }
    flags {
        header: "FLAGS",
        width: 11,
        align: Align::Left,
        doc: "of the TCP header: `FIN`, `SYN`, `RST`, `PSH`, `ACK`, `URG`, `ECE`, `CWR`, joined by vertical bars: a SYN-ACK has `SYN` and `ACK`",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| known(refusal(report), |one| Value::TcpFlags(one.refusal.tcp_flags)),
    }
    call {
        header: "CALL",
        width: 7,
        align: Align::Left,
        doc: "the call that got no port: `connect`, or `bind` (may also be a listen())",
        of: Of::PORT_FAILURE,
        shown: Shown::Data,
        get: |report| known(port_failure(report), |one| Value::Word(one.call.name())),
    }
    family {
        header: "FAMILY",
        width: 11,
        align: Align::Left,
        doc: "`ipv4`, `ipv6`, or `ipv4-mapped` for IPv4 on the wire and an IPv6 socket",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Word(family(report)),
    }
    laddr {
        header: "LADDR",
        width: 15,
        align: Align::Left,
        doc: "local address, as on the wire",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::Address(flow(report).laddr),
    }
    lport {
        header: "LPORT",
        width: 5,
        align: Align::Right,
        doc: "local port; of a port failure, the port asked for, null if any would have done",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| known(lport(report), Value::number),
    }
    raddr {
        header: "RADDR",
        width: 15,
        align: Align::Left,
        doc: "remote address, as on the wire; null for a bind()",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| known(connected(report), |flow| Value::Address(flow.raddr)),
    }
    rport {
        header: "RPORT",
        width: 5,
        align: Align::Right,
        doc: "remote port; null for a bind()",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| known(connected(report), |flow| Value::number(flow.rport)),
    }
    netns {
        header: "NETNS",
        width: 10,
        align: Align::Left,
        doc: "network namespace: its inode number",
        of: Of::ALL,
        shown: Shown::Data,
        get: |report| Value::number(flow(report).netns),
    }
    uid {
        header: "UID",
        width: 6,
        align: Align::Right,
        doc: "owner of the full socket",
        of: Of::END.and(Of::OVERFLOW).and(Of::PORT_FAILURE),
        shown: Shown::Data,
        get: |report| known(flow(report).uid, Value::number),
    }
    cgroup {
        header: "CGROUP",
        width: 8,
        align: Align::Right,
        doc: "cgroup id of the full socket",
        of: Of::END.and(Of::OVERFLOW).and(Of::PORT_FAILURE),
        shown: Shown::Data,
        get: |report| known(flow(report).cgroup, Value::Number),
    }
    born_as {
        header: "BORN AS",
        width: 10,
        align: Align::Left,
        doc: "substate at birth: `fin-wait-2` or `time-wait`",
        of: Of::END,
        shown: Shown::Data,
        get: |report| {
            known(end(report).and_then(|life| life.end.born_as), |substate| {
                Value::Word(match substate {
                    BornAs::FinWait2 => "fin-wait-2",
                    BornAs::TimeWait => "time-wait",
                })
            })
        },
    }
    born_ns {
        header: "BORN",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "birth, CLOCK_MONOTONIC",
        of: Of::END,
        shown: Shown::Data,
        get: |report| known(end(report).and_then(|life| life.end.born_ns), Value::Number),
    }
    time_wait_ns {
        header: "PROMOTED",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "entry into TIME_WAIT, CLOCK_MONOTONIC",
        of: Of::END,
        shown: Shown::Data,
        get: |report| known(end(report).and_then(|life| life.end.time_wait_ns), Value::Number),
    }
    ended_ns {
        header: "ENDED",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "end, CLOCK_MONOTONIC",
        of: Of::END,
        shown: Shown::Data,
        get: |report| known(end(report), |life| Value::Number(life.end.ended_ns)),
    }
    at_ns {
        header: "AT",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "when it happened (of an end: `ended_ns`), CLOCK_MONOTONIC",
        of: Of::OVERFLOW.and(Of::REFUSAL).and(Of::REOPEN).and(Of::PORT_FAILURE),
        shown: Shown::Data,
        get: |report| match report {
            Report::End(_) => Value::Unknown,
            other => Value::Number(at_ns(other)),
        },
    }
    first_ns {
        header: "FIRST",
        width: 16,
        align: Align::Right,
        unit: "ns",
        doc: "when the first SYN of the conflict was refused, CLOCK_MONOTONIC",
        of: Of::CONFLICT,
        shown: Shown::Data,
        get: |report| known(conflict(report), |one| Value::Number(one.first_ns)),
    }
    fin_wait_2_ms {
        header: "FW2",
        width: 8,
        align: Align::Right,
        unit: "ms",
        doc: "time in substate FIN_WAIT2; null also if the mini-socket was born in TIME_WAIT",
        of: Of::END,
        shown: Shown::Everywhere,
        get: |report| known(end(report).and_then(|life| life.fin_wait_2_ns), Value::Duration),
    }
    time_wait_ms {
        header: "TIME_WAIT",
        width: 9,
        align: Align::Right,
        unit: "ms",
        doc: "time in substate TIME_WAIT; null also if the mini-socket ended in FIN_WAIT2; for a refusal, in text and CSV, the time so far",
        of: Of::END.and(Of::REOPEN),
        shown: Shown::Everywhere,
        get: |report| known(time_wait_ns(report), Value::Duration),
    }
    rearms {
        header: "REARMS",
        width: 6,
        align: Align::Right,
        doc: "timer restarts seen in TIME_WAIT",
        of: Of::END,
        shown: Shown::Data,
        get: |report| known(end(report), |life| Value::number(life.end.rearms)),
    }
    preexisting {
        header: "PREEXISTING",
        width: 11,
        align: Align::Left,
        doc: "older than the trace; null if its birth may also have been lost",
        of: Of::END,
        shown: Shown::Data,
        get: |report| known(end(report).and_then(|life| life.preexisting), Value::Flag),
    }
    tsval {
        header: "TSVAL",
        width: 10,
        align: Align::Right,
        unit: "ticks",
        doc: "timestamp of the segment; null if it had none. A tick is 1 ms on Linux, on others mostly 1 to 10 ms",
        of: Of::REFUSAL.and(Of::REOPEN),
        shown: Shown::Data,
        get: |report| known(numbers(report).and_then(|one| one.tsval), Value::number),
    }
    ts_recent {
        header: "TS_RECENT",
        width: 10,
        align: Align::Right,
        unit: "ticks",
        doc: "last timestamp of the connection; null if it had none",
        of: Of::REFUSAL.and(Of::REOPEN),
        shown: Shown::Data,
        get: |report| known(numbers(report).and_then(|one| one.ts_recent), Value::number),
    }
    gap {
        header: "GAP",
        width: 11,
        align: Align::Right,
        unit: "ticks",
        doc: "`tsval` minus `ts_recent` on a circle of 2^32, so from -2147483648 to 2147483647: negative is behind",
        of: Of::REFUSAL.and(Of::REOPEN),
        shown: Shown::Data,
        get: |report| known(gap(report), Value::Signed),
    }
    ts_recent_age_ms {
        header: "TS_RECENT AGE",
        width: 13,
        align: Align::Right,
        unit: "ms",
        doc: "age of `ts_recent` in whole seconds, as the kernel keeps it; null where it keeps none",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| {
            known(refusal(report).and_then(|one| one.ts_recent_age_ms), Value::Number)
        },
    }
    seq_gap {
        header: "SEQ GAP",
        width: 11,
        align: Align::Right,
        unit: "bytes",
        doc: "sequence number (of a SYN: its ISN) minus the one expected, on a circle of 2^32: negative is before it; null in `syn-sent`",
        of: Of::REFUSAL.and(Of::REOPEN),
        shown: Shown::Data,
        get: |report| known(seq_gap(report), Value::Signed),
    }
    ttl {
        header: "TTL",
        width: 3,
        align: Align::Right,
        doc: "TTL or hop limit of the segment, 1 to 255; null if not known",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| known(refusal(report).and_then(|one| one.refusal.ttl), Value::number),
    }
    window {
        header: "WINDOW",
        width: 6,
        align: Align::Right,
        doc: "window in the TCP header, 0 to 65535: bytes in a SYN, unscaled otherwise",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| known(refusal(report), |one| Value::number(one.refusal.window)),
    }
    reply {
        header: "REPLY",
        width: 12,
        align: Align::Left,
        doc: "what was sent back: `ack`, `rst`, `none`, or `rate-limited` (nothing, because an ACK was sent less than tcp_invalid_ratelimit ago); null if not known",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| {
            known(refusal(report).and_then(|one| one.refusal.reply), |reply| {
                Value::Word(reply.name())
            })
        },
    }
    rearmed {
        header: "REARMED",
        width: 7,
        align: Align::Left,
        doc: "the segment restarted the timer of the TIME_WAIT",
        of: Of::REFUSAL,
        shown: Shown::Data,
        get: |report| known(refusal(report), |one| Value::Flag(one.refusal.rearmed)),
    }
    refused_before {
        header: "REFUSED BEFORE",
        width: 14,
        align: Align::Right,
        doc: "SYNs that the mini-socket had refused before it accepted this one",
        of: Of::REOPEN,
        shown: Shown::Data,
        get: |report| match report {
            Report::Reopen(reopen) => Value::number(reopen.life.end.refused),
            _ => Value::Unknown,
        },
    }
    syns {
        header: "SYNS",
        width: 5,
        align: Align::Right,
        doc: "SYNs refused, including those without a record",
        of: Of::CONFLICT,
        shown: Shown::Data,
        get: |report| known(conflict(report), |one| Value::number(one.syns)),
    }
    outcome {
        header: "OUTCOME",
        width: 9,
        align: Align::Left,
        doc: "outcome for the client: `recovered`, `reopened`, `stuck`, `gave-up`, `unknown`; see below. A `stuck` conflict is reported again if it ends as something else",
        of: Of::CONFLICT,
        shown: Shown::Data,
        get: |report| known(conflict(report), |one| Value::Word(one.outcome.name())),
    }
    delay_ms {
        header: "DELAY",
        width: 9,
        align: Align::Right,
        unit: "ms",
        doc: "from the first refused SYN to the accepted one, or to the RST that ended the mini-socket; null if none was refused, or nothing ended it",
        of: Of::REOPEN.and(Of::CONFLICT),
        shown: Shown::Data,
        get: |report| known(delay_ns(report), Value::Duration),
    }
    gaps {
        header: "GAPS",
        width: 11,
        align: Align::Left,
        unit: "ticks",
        doc: "`gap` of the first 16 refused SYNs that have one",
        of: Of::CONFLICT,
        shown: Shown::Data,
        get: |report| known(conflict(report), |one| Value::Gaps(&one.gaps)),
    }
    causes {
        header: "CAUSES",
        width: 18,
        align: Align::Left,
        doc: "possible explanations from what was known of the remote address by then, the best first: `cause` and sentences `for` and `against` it; in CSV the names of those with more for than against them",
        of: Of::CONFLICT,
        shown: Shown::Data,
        get: |report| known(conflict(report), |one| Value::Causes(&one.causes)),
    }
    stuck_by {
        header: "STUCK BY",
        width: 9,
        align: Align::Left,
        doc: "what keeps a client stuck: `rfc1337` (its RST is ignored because of tcp_rfc1337), `wrong-rst` (its RST has the wrong numbers), `no-rst` (no RST answered the ACK: a firewall or NAT drops one of them); null if not known or not stuck",
        of: Of::CONFLICT,
        shown: Shown::Data,
        get: |report| {
            known(conflict(report).and_then(|one| one.stuck_by), |by| Value::Word(by.name()))
        },
    }
    alive {
        header: "ALIVE",
        width: 9,
        align: Align::Right,
        doc: "mini-sockets in the network namespace at that moment, FIN_WAIT2 included; fewer than `limit` if memory was short, or one ended meanwhile",
        of: Of::OVERFLOW,
        shown: Shown::Data,
        get: |report| known(room(report), |one| Value::number(one.alive)),
    }
    limit {
        header: "LIMIT",
        width: 9,
        align: Align::Right,
        doc: "`tcp_max_tw_buckets` of the network namespace",
        of: Of::OVERFLOW,
        shown: Shown::Data,
        get: |report| known(room(report), |one| Value::number(one.limit)),
    }
    pid {
        header: "PID",
        width: 7,
        align: Align::Right,
        doc: "process that called, as the host numbers it",
        of: Of::PORT_FAILURE,
        shown: Shown::Data,
        get: |report| known(port_failure(report), |one| Value::number(one.pid)),
    }
    command {
        header: "COMMAND",
        width: 15,
        align: Align::Left,
        doc: "name of the task that called, at most 15 bytes (`/proc/PID/task/TID/comm`)",
        of: Of::PORT_FAILURE,
        shown: Shown::Data,
        get: |report| known(port_failure(report), |one| Value::Command(&one.command)),
    }
    errno {
        header: "ERRNO",
        width: 13,
        align: Align::Left,
        doc: "what the caller was told: `EADDRNOTAVAIL` or `EADDRINUSE`",
        of: Of::PORT_FAILURE,
        shown: Shown::Data,
        get: |report| known(port_failure(report), errno),
    }
    port_given {
        header: "PORT GIVEN",
        width: 10,
        align: Align::Left,
        doc: "the caller had chosen or bound the port, so no other was tried",
        of: Of::PORT_FAILURE,
        shown: Shown::Data,
        get: |report| known(port_failure(report), |one| Value::Flag(one.port_given)),
    }
    time_wait_candidates {
        header: "TW",
        width: 5,
        align: Align::Right,
        doc: "ports that were tried and held only by a mini-socket (TIME_WAIT or FIN_WAIT2); the rest of the range had other users. Null for a bind(), where the kernel does not look",
        of: Of::PORT_FAILURE,
        shown: Shown::Data,
        get: |report| match port_failure(report) {
            Some(failure) if failure.call == Call::Connect => Value::number(failure.time_wait),
            _ => Value::Unknown,
        },
    }
    time {
        header: "TIME",
        width: 12,
        align: Align::Left,
        doc: "wall-clock time of the event; with date and zone in JSON and CSV",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Moment(at_ns(report)),
    }
    local {
        header: "LADDR:LPORT",
        width: 21,
        align: Align::Left,
        doc: "local address and port; the port is `*` for a call that found none",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Endpoint(flow(report).laddr, flow(report).lport),
    }
    remote {
        header: "RADDR:RPORT",
        width: 21,
        align: Align::Left,
        doc: "remote address and port; none for a bind()",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| known(connected(report), |flow| Value::Endpoint(flow.raddr, flow.rport)),
    }
    netns_name {
        header: "NETNS",
        width: 10,
        align: Align::Left,
        doc: "network namespace: `host` for that of pid 1, else its name in /run/netns, or its inode number",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Netns(flow(report).netns),
    }
    owner {
        header: "OWNER",
        width: 15,
        align: Align::Left,
        doc: "owner of the full socket, the most telling of: Kubernetes pod (`pod-` and the first 8 digits of its uid), container (12 digits of its id, or its name), systemd service or scope, user name, uid",
        of: Of::ALL,
        shown: Shown::Text,
        get: owner,
    }
    user {
        header: "USER",
        width: 10,
        align: Align::Left,
        doc: "name of the user with this `uid`; null if it has none",
        of: Of::ALL,
        shown: Shown::Asked,
        get: |report| known(flow(report).uid, Value::UserName),
    }
    cgroup_path {
        header: "CGROUP PATH",
        width: 36,
        align: Align::Left,
        doc: "path of the cgroup below the mount of cgroup2; null if it was gone before twtrace looked it up",
        of: Of::ALL,
        shown: Shown::Asked,
        get: |report| cgroup(report, CgroupFact::Path),
    }
    unit {
        header: "UNIT",
        width: 20,
        align: Align::Left,
        doc: "systemd unit, the innermost in `cgroup_path`",
        of: Of::ALL,
        shown: Shown::Asked,
        get: |report| cgroup(report, CgroupFact::Unit),
    }
    container {
        header: "CONTAINER",
        width: 12,
        align: Align::Left,
        doc: "container, the innermost in `cgroup_path`: the first 12 digits of its id, or its name",
        of: Of::ALL,
        shown: Shown::Asked,
        get: |report| cgroup(report, CgroupFact::Container),
    }
    pod {
        header: "POD",
        width: 36,
        align: Align::Left,
        doc: "uid of the Kubernetes pod in `cgroup_path`",
        of: Of::ALL,
        shown: Shown::Asked,
        get: |report| cgroup(report, CgroupFact::Pod),
    }
    what {
        header: "WHAT",
        width: 15,
        align: Align::Left,
        doc: "`reason`, as `conflicts` shows it",
        of: Of::REFUSAL.and(Of::REOPEN).and(Of::CONFLICT),
        shown: Shown::Text,
        get: what,
    }
    note {
        header: "NOTE",
        width: 4,
        align: Align::Left,
        doc: "what else is worth knowing, in words: re-arms, an unseen birth, an overflow, the numbers of a refusal, who got no port and why",
        of: Of::ALL,
        shown: Shown::Text,
        get: |report| Value::Note(report),
    }
}
