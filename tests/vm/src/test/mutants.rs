//! `twtrace check` on deliberately faulty kernels: the right scenarios fail, and no others.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use serde_json::Value;

use crate::checks::Checks;
use crate::mutate::Mutant;
use crate::say;
use crate::tracer::TWTRACE;

/// A faulty kernel.
struct Case {
    mutant: Mutant,
    /// Scenarios that must fail.
    caught: &'static [&'static str],
    /// Unrelated scenarios, which must pass.
    spared: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        mutant: Mutant::Rfc1337,
        caught: &["reset-rfc1337"],
        spared: &["reset", "kept-reset", "fin-wait-2-reset", "refused-rst"],
    },
    Case {
        mutant: Mutant::FinTimeout,
        caught: &["fin-wait-2-timeout", "fin-timeout-over-60", "count-short"],
        spared: &["fin-wait-2-linger2", "promotion", "count-births"],
    },
    Case {
        mutant: Mutant::Reuse,
        caught: &["reuse-off"],
        spared: &["bound-reused", "reuse-loopback", "syn-reopened"],
    },
    Case {
        mutant: Mutant::ReuseDelay,
        caught: &["reuse-delay", "reuse-delay-long", "reuse-delay-range"],
        spared: &["bound-reused", "syn-reopened", "reuse-off"],
    },
    Case {
        mutant: Mutant::MaxBuckets,
        caught: &["overflow", "overflow-none", "netns-own-limit"],
        spared: &["overflow-frees", "netns-exit", "promotion"],
    },
    Case {
        mutant: Mutant::InvalidRatelimit,
        caught: &["refused-paws", "refused-old-sequence"],
        spared: &["refused-data-unlimited", "accepted-newer", "reset"],
    },
    Case {
        mutant: Mutant::Timestamps,
        caught: &[
            "refused-no-timestamps",
            "reuse-no-timestamps",
            "bound-no-timestamps",
        ],
        spared: &["refused-paws", "accepted-no-option", "bound-reused"],
    },
    Case {
        mutant: Mutant::Linger,
        caught: &["linger-0"],
        spared: &["fin-wait-2-linger2", "linger2-negative", "reset"],
    },
    Case {
        mutant: Mutant::Linger2,
        caught: &["fin-wait-2-linger2", "linger2-negative"],
        spared: &["linger-0", "fin-wait-2-timeout", "promotion"],
    },
];

/// Mutants of sysctls that older kernels lack.
const YOUNG: &[(Mutant, &str)] = &[(Mutant::ReuseDelay, "/proc/sys/net/ipv4/tcp_tw_reuse_delay")];

/// One after another: the kernel reuses a namespace's inode number as soon as the namespace is
/// gone, so the work of a concurrent `check` could be taken for this one's.
pub(crate) fn run(attach: &str) -> Result<String> {
    let here = |case: &&Case| {
        let young = YOUNG.iter().find(|(mutant, _)| *mutant == case.mutant);
        young.is_none_or(|(_, path)| Path::new(path).exists())
    };
    let mut checks = Checks::default();
    let mut names = Vec::new();
    for case in CASES.iter().filter(here) {
        judge(case, &check(case, attach)?, &mut checks)?;
        names.push(name(case.mutant));
    }
    checks.end(format!("caught: {}", names.join(", ")))
}

fn check(case: &Case, attach: &str) -> Result<Output> {
    Command::new("/proc/self/exe")
        .args(["mutate", &name(case.mutant), "--", TWTRACE])
        .args(["check", "-o", "json", "--attach", attach])
        .args(case.caught)
        .args(case.spared)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start twtrace check")
}

fn judge(case: &Case, output: &Output, checks: &mut Checks) -> Result<()> {
    let mut failed = BTreeSet::new();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        let one: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        let scenario = one["name"].as_str().unwrap_or_default().to_owned();
        match one["verdict"].as_str() {
            Some("fail") => {
                if !case.caught.contains(&scenario.as_str()) {
                    say(line);
                }
                failed.insert(scenario);
            }
            Some("skip") => checks.that(false, || format!("skipped: {line}")),
            _ => {}
        }
    }
    let name = name(case.mutant);
    let caught: BTreeSet<String> = case.caught.iter().map(|&one| one.to_owned()).collect();
    checks.equal(&format!("{name} fails"), failed, caught);
    let code = output.status.code();
    checks.equal(&format!("{name}: exit code"), code, Some(1));
    Ok(())
}

fn name(mutant: Mutant) -> String {
    let value = mutant.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
