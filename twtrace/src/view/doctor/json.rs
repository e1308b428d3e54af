//! The same as one JSON object; docs/output.md describes each field.

use std::collections::BTreeMap;

use serde::Serialize;

use super::effects;
use super::say;
use crate::event::TsOffset;
use crate::event::facts::{
    Answer, Destination, Facts, Feature, FullFinWait2, Point, Privileges, Sysctl, Unread, Value,
};
use crate::model::doctor::{Diagnosis, Myth, Severity};
use crate::view::json::VERSION;

#[derive(Serialize)]
struct Object<'a> {
    v: u32,
    event: &'static str,
    verdict: Severity,
    kernel: &'a str,
    uptime_s: u64,
    findings: Vec<FindingObject>,
    hooks: &'a [Point],
    features: &'a [Feature],
    ts_offset: Option<TsOffset>,
    btf: &'a Answer,
    allowed: &'a Answer,
    privileges: &'a Privileges,
    sysctls: Vec<SysctlObject<'a>>,
    counters: Vec<CounterObject>,
    namespaces: Vec<NamespaceObject<'a>>,
    unread: &'a Unread,
    myths: &'a [Myth],
}

#[derive(Serialize)]
struct FindingObject {
    code: &'static str,
    severity: Severity,
    subject: String,
    netns: Option<u32>,
    evidence: String,
    advice: Option<String>,
    command: Option<String>,
    side_effect: Option<String>,
}

#[derive(Serialize)]
struct SysctlObject<'a> {
    netns: u32,
    name: Sysctl,
    value: Option<&'a Value>,
    default: Option<&'a Value>,
    unit: &'a str,
    takes_effect: bool,
    effect: String,
}

#[derive(Serialize)]
struct CounterObject {
    netns: u32,
    name: &'static str,
    value: u64,
    per_hour: f64,
    counts: &'static str,
}

#[derive(Serialize)]
struct NamespaceObject<'a> {
    netns: u32,
    population: Option<u64>,
    watched_ms: Option<u64>,
    refused_meanwhile: BTreeMap<&'static str, u64>,
    fin_wait_2: Option<&'a FullFinWait2>,
    destinations: u64,
    top: &'a [Destination],
    unknown: Option<&'a str>,
}

pub(super) fn json(facts: &Facts, diagnosis: &Diagnosis) -> String {
    let tracing = &facts.tracing;
    let object = Object {
        v: VERSION,
        event: "doctor",
        verdict: diagnosis.verdict(),
        kernel: &facts.kernel,
        uptime_s: facts.uptime_s,
        findings: findings(diagnosis),
        hooks: &tracing.points,
        features: &tracing.features,
        ts_offset: tracing.ts_offset,
        btf: &tracing.btf,
        allowed: &tracing.allowed,
        privileges: &tracing.privileges,
        sysctls: sysctls(diagnosis),
        counters: counters(diagnosis),
        namespaces: namespaces(facts, diagnosis),
        unread: &facts.unread,
        myths: &diagnosis.myths,
    };
    let mut text = serde_json::to_string(&object).unwrap_or_default();
    text.push('\n');
    text
}

fn findings(diagnosis: &Diagnosis) -> Vec<FindingObject> {
    let object = |finding| {
        let said = say::say(finding);
        FindingObject {
            code: finding.what.code(),
            severity: finding.severity,
            subject: said.subject,
            netns: finding.netns,
            evidence: said.evidence,
            advice: said.advice,
            command: said.command,
            side_effect: said.side_effect,
        }
    };
    diagnosis.findings.iter().map(object).collect()
}

fn sysctls(diagnosis: &Diagnosis) -> Vec<SysctlObject<'_>> {
    let rows = diagnosis.sysctls.iter();
    rows.map(|row| {
        let setting = row.setting.as_ref();
        SysctlObject {
            netns: row.netns,
            name: row.sysctl,
            value: setting.map(|setting| &setting.value),
            default: setting.and_then(|setting| setting.default.as_ref()),
            unit: setting.map_or("", |setting| &setting.unit),
            takes_effect: row.effect.takes_effect(),
            effect: effects::effect(row.effect),
        }
    })
    .collect()
}

fn counters(diagnosis: &Diagnosis) -> Vec<CounterObject> {
    let rows = diagnosis.counters.iter();
    rows.map(|counter| CounterObject {
        netns: counter.netns,
        name: counter.name,
        value: counter.rate.count,
        per_hour: (counter.rate.per_hour * 1000.0).round() / 1000.0,
        counts: effects::counts(counter.counts),
    })
    .collect()
}

fn namespaces<'a>(facts: &'a Facts, diagnosis: &'a Diagnosis) -> Vec<NamespaceObject<'a>> {
    let all = facts.namespaces.iter().zip(&diagnosis.watched);
    all.map(|(namespace, watched)| NamespaceObject {
        netns: namespace.netns,
        population: namespace.population,
        watched_ms: watched.as_ref().map(|moved| moved.within_ns / 1_000_000),
        refused_meanwhile: watched
            .iter()
            .flat_map(|moved| moved.counters.iter().copied())
            .collect(),
        fin_wait_2: namespace.fin_wait_2.as_ref(),
        destinations: namespace.destinations.count,
        top: &namespace.destinations.top,
        unknown: namespace.destinations.unknown.as_deref(),
    })
    .collect()
}
