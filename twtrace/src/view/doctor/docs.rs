//! What docs/output.md says of `doctor`.

use crate::view::docs::{Field, fields, line};

/// The object, its findings and their codes.
pub(in crate::view) fn md(page: &mut String) {
    page.push_str(
        "\n## The object of `doctor`\n\n\
         One object. `answer` is `yes`, `no` or `unknown`, the last two with `why`; something that is\n\
         not allowed is `unknown`, never `no`. The exit code is 1 if a finding is a `danger`.\n\
         `--facts` prints what was read instead, in a form that only `--read` of the same version\n\
         understands.\n\n",
    );
    fields(page, &FIELDS);
    page.push_str(
        "\nA finding has `code`, `severity` (`danger`, `warning`, `note`, `ok`: checked and fine),\n\
         `netns` (null: the whole machine), and for people `subject`, `evidence`, `advice`, `command`,\n\
         `side_effect` (null where there is none). Codes are stable, sentences may change.\n\n\
         | `code` | found when |\n|---|---|\n",
    );
    for (code, doc) in CODES {
        line(page, &[&format!("`{code}`"), doc]);
    }
}

/// The object's fields.
const FIELDS: [Field; 17] = [
    ("v", "", "version of the schema"),
    ("event", "", "`doctor`"),
    ("verdict", "", "the worst severity among the findings"),
    ("kernel", "", "release of the kernel, as `uname -r`"),
    ("uptime_s", "s", "since the boot"),
    (
        "findings",
        "",
        "the worst first, then those with the best evidence; see below",
    ),
    (
        "hooks",
        "",
        "what twtrace would attach, in the order of attaching: `name` of the point, `function`, `answer`, `way` (`fentry`, `kprobe`, `tracepoint`; null: none), `programs`, `refused` (ways, and why), `without` (what is lost without it; null: nothing works without it)",
    ),
    (
        "features",
        "",
        "what not every kernel has: `name`, `answer`, `gives` (what it is for)",
    ),
    (
        "ts_offset",
        "",
        "what this kernel hashes into its timestamps: `addresses`, or `ports` as well; null: BTF does not tell",
    ),
    (
        "btf",
        "",
        "`answer`: there is usable type information of the kernel",
    ),
    ("allowed", "", "`answer`: this process may load programs"),
    (
        "privileges",
        "",
        "`missing` capabilities; `lockdown`, `unprivileged_bpf_disabled` and `perf_event_paranoid` of the kernel, null where it has none",
    ),
    (
        "sysctls",
        "",
        "`netns`, `name`, `value` (a number, or pairs of first and last port; null: not on this kernel), `default` (null: not known), `unit`, `takes_effect`, `effect` in words. Of other namespaces only those whose value differs from our own",
    ),
    (
        "counters",
        "",
        "of the kernel, since the namespace was made: `netns`, `name`, `value`, `per_hour` of uptime (a younger namespace was faster), `counts` in words. Of other namespaces only those that moved",
    ),
    (
        "namespaces",
        "",
        "those that were checked, our own first: `netns`, `population` (mini-sockets; null: not known), `watched_ms` (how long the counters of refused segments were watched; null: they were read once), `refused_meanwhile` (those that moved, by name, and by how much), `fin_wait_2` (full sockets in FIN_WAIT2: `held` by a process that did not close them, `orphans`, `holders` with `pid`, `command` and `sockets`, and how many of those held are `named` by all holders that were found; null: not known), `destinations` (how many have a local port of the ephemeral range), `top` (up to five of them with `laddr`, `raddr`, `rport`, `ports` taken, of them `time_wait`), `unknown` (why there are none)",
    ),
    (
        "unread",
        "",
        "namespaces that were not checked: `count`, `why`, `more` (there may be some that this process cannot even see)",
    ),
    (
        "myths",
        "",
        "common beliefs that are wrong and that no finding corrects: `fin-timeout`, `buckets`, `reuse`, `linger`, `recycle`",
    ),
];

/// Each code, and when it is found.
pub(super) const CODES: [(&str, &str); 27] = [
    (
        "tw-buckets",
        "always in our own namespace: mini-sockets against `tcp_max_tw_buckets`; a `warning` from 80 % on, a `danger` at 100 %",
    ),
    (
        "ports",
        "local ports taken towards one destination; a `warning` from 70 % of the usable ones on, a `danger` from 95 %, not counting those in TIME_WAIT that connect() may take over. `ok` for the fullest of our own namespace",
    ),
    ("recycle-on", "`tcp_tw_recycle` is 1: a `danger`"),
    ("recycle-there", "this kernel has `tcp_tw_recycle`, 0"),
    (
        "recycle-gone",
        "a file sets `tcp_tw_recycle` at boot, and this kernel has none",
    ),
    (
        "tw-overflowed",
        "connections ended without TIME_WAIT; now there is room",
    ),
    (
        "tw-buckets-lowered",
        "`tcp_max_tw_buckets` is below half the socket hash table, where the kernel shows its size",
    ),
    ("small-port-range", "connect() has fewer than 8,000 ports"),
    (
        "reuse-without-timestamps",
        "`tcp_tw_reuse` is 1 and `tcp_timestamps` 0: a `warning`",
    ),
    ("reuse-only-outgoing", "`tcp_tw_reuse` is 1"),
    ("timestamps-off", "`tcp_timestamps` is 0"),
    (
        "rfc1337",
        "`tcp_rfc1337` is 1; a `warning` if segments were refused by timestamp",
    ),
    ("fin-timeout", "`tcp_fin_timeout` is not 60"),
    ("autobind-reuse", "`ip_autobind_reuse` is 1"),
    (
        "refused-by-timestamp",
        "PAWSTimewait moved, or on kernels without it PAWSEstab; a `warning` from 60/h or 600/h on",
    ),
    (
        "fin-wait-2-held",
        "processes called shutdown() and not close() on sockets that are in FIN_WAIT2; a `warning` from 100 on",
    ),
    (
        "refused-now",
        "a counter of refused segments moved while doctor looked: a `warning`",
    ),
    (
        "refused-elsewhere",
        "TCPSYNChallenge or TCPACKSkippedFinWait2 moved since boot, or TCPACKSkippedTimeWait without a refusal by timestamp",
    ),
    (
        "listen-drops",
        "ListenDrops moved; a `warning` from 60/h on",
    ),
    (
        "syns-again",
        "TCPSynRetrans is 2 % of the connections opened; a `warning` from 20 % on",
    ),
    (
        "closed-by-reset",
        "TCPAbortOnData is 2 % of the connections opened",
    ),
    ("no-btf", "no usable type information: a `warning`"),
    (
        "point-missing",
        "a point that cannot be traced; a `warning` if nothing works without it",
    ),
    (
        "needs-privileges",
        "capabilities are missing, so tracing was not tried",
    ),
    (
        "tracing-refused",
        "capabilities are there, but loading programs is refused: a `warning`",
    ),
    ("tracing-works", "`ok`"),
    (
        "namespaces-unread",
        "some network namespaces were not checked",
    ),
];
