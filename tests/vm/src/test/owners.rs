//! `hist --by` names every owner with exactly its connections, both live and from a recording that
//! is read after the owners are gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::checks::Checks;
use crate::tenants::{TENANTS, Tenant, Tenants};
use crate::tracer::{TWTRACE, Tracer, Written};

/// The second round ends what the first left.
const ROUNDS: u16 = 2;

/// A way to group, and the name of a tenant's group in it.
pub(super) type By = (&'static str, fn(&Tenant) -> &'static str);

pub(super) const BY: [By; 3] = [
    ("cgroup", |tenant| tenant.cgroup_name),
    ("uid", |tenant| tenant.user),
    ("netns", |tenant| tenant.netns),
];

pub(crate) fn live(attach: &str) -> Result<String> {
    let mut checks = Checks::default();
    for by in BY {
        let stdout = Path::new("/tmp/owners.json");
        let tenants = Tenants::settle()?;
        let args = ["hist", "--by", by.0, "-o", "json", "--attach", attach];
        let tracer = Tracer::start(&args, stdout)?;
        tenants.connect(ROUNDS)?;
        checks.equal("exit code", tracer.stop()?, 0);
        let written = Written::read(stdout)?;
        checks.equal("agree", written.summary["agree"].as_bool(), Some(true));
        groups(&mut checks, &written, by);
        if by.0 == "cgroup" {
            ids(&mut checks, &written)?;
        }
    }
    checks.end(format!("{} owners each", TENANTS.len()))
}

pub(crate) fn recorded(attach: &str) -> Result<String> {
    let file = "/tmp/owners.twt";
    let tenants = Tenants::settle()?;
    let args = ["record", file, "--attach", attach];
    let tracer = Tracer::start(&args, Path::new("/tmp/record.out"))?;
    tenants.connect(ROUNDS)?;
    let mut checks = Checks::default();
    checks.equal("exit code of record", tracer.stop()?, 0);
    drop(tenants);
    for by in BY {
        let stdout = Path::new("/tmp/owners.json");
        let report = Command::new(TWTRACE)
            .args(["report", file, "--hist", "--by", by.0, "-o", "json"])
            .stdout(File::create(stdout)?)
            .status()
            .context("cannot start twtrace report")?;
        checks.equal("exit code of report", report.code(), Some(0));
        groups(&mut checks, &Written::read(stdout)?, by);
    }
    checks.end(format!("{} owners each", TENANTS.len()))
}

/// There is exactly one group per owner, with that owner's ends.
fn groups(checks: &mut Checks, written: &Written, (by, name): By) {
    let mut expected = BTreeMap::new();
    for tenant in &TENANTS {
        *expected.entry(name(tenant).to_owned()).or_insert(0) += u64::from(tenant.connections);
    }
    let mut found = BTreeMap::new();
    // Other tests may have left mini-sockets; a network namespace tells them apart.
    let of_trace = |group: &&Value| group["kind"] != "before" && group["births"] != 0;
    for group in written.events.iter().filter(of_trace) {
        let count = |key: &str| group[key].as_u64().unwrap_or_default();
        let ends = count("ends");
        let called = match group["kind"].as_str() {
            Some("group") => group["name"].as_str().unwrap_or("nameless"),
            other => other.unwrap_or("no group"),
        };
        found.insert(called.to_owned(), ends);
        let reasons = group["reasons"].as_object().into_iter().flatten();
        let seen = reasons.filter_map(|(name, ends)| Some((name.as_str(), ends.as_u64()?)));
        let seen: BTreeMap<_, _> = seen.filter(|(_, ends)| *ends > 0).collect();
        checks.equal("ends by reason", seen, [("bound-reused", ends)].into());
        // The last round's are there.
        checks.equal("births", count("births"), u64::from(ROUNDS) * ends);
        checks.equal("alive", group["alive"].as_u64(), Some(ends));
        checks.that(count("time_wait_n") == ends, || {
            format!("of {ends} lifetimes these are known: {group}")
        });
    }
    checks.equal(&format!("ends by {by}"), found, expected);
}

/// Each cgroup's group has the ID and path that the file system shows.
fn ids(checks: &mut Checks, written: &Written) -> Result<()> {
    for tenant in &TENANTS {
        let of = |group: &&Value| group["name"] == tenant.cgroup_name;
        let group = written.events.iter().find(of).unwrap_or(&Value::Null);
        checks.equal("id", group["key"].as_u64(), Some(tenant.cgroup_id()?));
        let path = format!("/{}", tenant.cgroup);
        checks.equal("path", group["cgroup_path"].as_str(), Some(&path[..]));
    }
    Ok(())
}
