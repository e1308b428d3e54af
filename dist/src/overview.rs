//! twtrace(1): what holds for all subcommands.

use anyhow::{Result, ensure};
use clap::Command;
use clap_mangen::Man;
use roff::{Inline, bold, roman};

use crate::documents::{OVERHEAD, REQUIREMENTS, Row, inlines, rows};
use crate::page::{Body, Page, Stamp};
use crate::subcommand::{self, named, of, own, see_also, synopsis};
use crate::{examples, exits};

pub(crate) fn page(definition: &Command, stamp: &Stamp) -> Result<String> {
    let mut page = Page::new(definition, "twtrace", stamp)?;
    page.section("NAME", &named("twtrace", definition));
    page.section("SYNOPSIS", &synopsis(definition));
    page.section("DESCRIPTION", &description());
    page.of_clap(Man::render_subcommands_section)?;
    page.of_clap(Man::render_options_section)?;
    page.section("EXAMPLES", &examples::body(&examples::of(definition)));
    page.section("EXIT STATUS", &exits::body(&exits::ALL));
    page.section("OVERHEAD", &overhead()?);
    page.section("SECURITY", &security()?);
    page.section("FILES", &entries(FILES));
    page.section("ENVIRONMENT", &entries(ENVIRONMENT));
    let mut references: Vec<_> = subcommand::shown(definition)
        .map(|command| own(command.get_name()))
        .collect();
    references.extend([
        of("nstat", "8"),
        of("ss", "8"),
        of("sysctl", "8"),
        of("capabilities", "7"),
        of("network_namespaces", "7"),
        of("tcp", "7"),
        of("bpf", "2"),
    ]);
    page.section("SEE ALSO", &see_also(&references));
    Ok(page.finish())
}

fn description() -> Body {
    let mut body = Body::default();
    body.text(inlines(
        "`twtrace` shows what happens to TCP TIME_WAIT sockets, live, with eBPF: how long each one \
         lives, why it ends, who made it, and which new connections it refuses. Use it when a service \
         runs out of local ports, when connects take 1 s or 3 s although nothing is down, or to see \
         whether a kernel still does what it did.",
    ));
    body.paragraph(
        "The reason of an end is a mark left by the kernel function that caused it, never a guess. \
         Every trace ends with a summary: what was seen, shown and lost, and whether the kernel's own \
         counters agree.",
    );
    body.paragraph(
        "Data goes to standard output, messages to standard error. Ctrl-C, SIGTERM and SIGHUP end a \
         trace with its summary, within 2 s.",
    );
    body.paragraph("Linux 5.10 or later on x86-64 is needed, with BTF (CONFIG_DEBUG_INFO_BTF).");
    body
}

fn overhead() -> Result<Body> {
    let rows = rows(OVERHEAD);
    let costs = rows.iter().filter(|row| {
        let name = row.text(0);
        name.starts_with("twtrace ") && row.text(1).contains('%')
    });
    let costs = costs.map(|row| (&row.cells[0][..], row));
    let memory = rows
        .iter()
        .filter(|row| row.text(0).starts_with("resident memory, "))
        .map(|row| (&row.cells[0][1..], row));
    let mut body = Body::default();
    body.text(inlines(
        "Instructions that tracing adds to a short connection over loopback, which has the birth and \
         the end of one TIME_WAIT socket, as counted in a virtual machine:",
    ));
    ensure!(list(&mut body, costs) > 2, "docs/overhead.md has no costs");
    body.paragraph("Resident memory of the process:");
    ensure!(
        list(&mut body, memory) > 0,
        "docs/overhead.md has no memory"
    );
    body.paragraph(
        "`--attach kprobe` costs more than fentry. A filter is asked first, in the kernel, so \
         connections that it leaves out cost less.",
    );
    Ok(body)
}

/// Each row with what was measured, and on which kernel. Says how many there are.
fn list<'a>(body: &mut Body, rows: impl Iterator<Item = (&'a [Inline], &'a Row)>) -> usize {
    let mut count = 0;
    for (term, row) in rows {
        let measured = row.heads.iter().enumerate().skip(1);
        let measured = measured.map(|(column, kernel)| {
            let kernel = kernel.trim_start_matches("Linux ");
            format!("{} on Linux {kernel}", row.text(column))
        });
        let measured = measured.collect::<Vec<_>>().join(", ");
        body.item(term.to_vec(), vec![roman(measured)]);
        count += 1;
    }
    count
}

fn security() -> Result<Body> {
    let rows = rows(REQUIREMENTS);
    let with_head = |head: &'static str| rows.iter().filter(move |row| row.heads[0] == head);
    let mut body = Body::default();
    body.text(inlines(
        "Tracing needs root, or CAP_BPF and CAP_PERFMON. `report`, `completions` and much of \
         `doctor` need no privileges. More is needed for some things:",
    ));
    let mut needed = 0;
    for row in with_head("capability") {
        body.item(row.cells[0].clone(), row.cells[1].clone());
        needed += 1;
    }
    body.paragraph(
        "Once everything is attached, `twtrace` gives up all capabilities that it does not need any \
         more, and every way to get one back (no_new_privs, an empty bounding set). These are kept:",
    );
    let mut kept = 0;
    for row in with_head("command") {
        body.item(row.cells[1].clone(), row.cells[0].clone());
        kept += 1;
    }
    ensure!(needed > 2 && kept > 2, "docs/requirements.md has no tables");
    body.paragraph(
        "The command of `-c` runs as the user who called sudo, or as `--user` says. When `twtrace` \
         ends, by any signal, nothing of it stays in the kernel, and tracing changes no sysctl. \
         Names and commands of others are cleaned before they are shown.",
    );
    Ok(body)
}

type Entries = &'static [(&'static str, &'static str)];

fn entries(entries: Entries) -> Body {
    let mut body = Body::default();
    for (name, meaning) in entries {
        body.item(vec![bold(*name)], inlines(meaning));
    }
    body
}

const FILES: Entries = &[
    (
        "/sys/kernel/btf/vmlinux",
        "Types of the running kernel, from which `twtrace` learns where each field is. `--btf` names another file.",
    ),
    (
        "/proc/net/netstat",
        "The kernel's own counters, which are compared with what was seen.",
    ),
    (
        "/proc/sys/net/ipv4/tcp_max_tw_buckets",
        "Limit of TIME_WAIT sockets, which sets how many can be tracked. `doctor` reads the other settings beside it.",
    ),
    (
        "/run/netns",
        "Names of network namespaces, as `ip netns` makes them.",
    ),
    ("/sys/fs/cgroup", "Names of cgroups."),
    ("/etc/passwd", "Names of users."),
];

/// A test looks for those that are read.
pub(crate) const ENVIRONMENT: Entries = &[
    (
        "LC_ALL, LC_CTYPE, LANG",
        "The first that is set and not empty says whether the terminal takes UTF-8. If not, text has \
         ASCII instead of \u{2013}, \u{b7} and the like. CSV and JSON are always UTF-8.",
    ),
    ("NO_COLOR", "If set and not empty, no colors are used."),
    (
        "TERM",
        "`top` needs a terminal that is not `dumb`; with `--batch` any will do.",
    ),
    (
        "TZ",
        "Time zone of the times of day, unless `--utc` is given.",
    ),
    (
        "SUDO_UID, SUDO_GID, SUDO_USER",
        "The user who called sudo; the command of `-c` runs as this user.",
    ),
];
