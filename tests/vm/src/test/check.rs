//! `twtrace check`: every scenario passes, or is skipped only because the kernel cannot do it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::checks::Checks;
use crate::say;
use crate::tracer::TWTRACE;

/// Files in this directory go to the host.
const OUT: &str = "/out";
/// Permitted skips: start of the scenario's name, and a part of the reason.
const MAY_SKIP: &[(&str, &str)] = &[
    ("destroyed", "EOPNOTSUPP"),
    ("reuse-delay", "no tcp_tw_reuse_delay"),
];

pub(crate) fn run(attach: &str) -> Result<String> {
    // The host feeds these reports to third-party parsers, and compares the baselines.
    let file = |kind: &str| format!("{OUT}/check-{attach}.{kind}");
    let output = Command::new(TWTRACE)
        .args(["check", "-o", "json", "--attach", attach])
        .args(["--report", &format!("ktap={}", file("ktap"))])
        .args(["--report", &format!("junit={}", file("xml"))])
        .args(["--save", &file("baseline")])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start twtrace check")?;
    let mut checks = Checks::default();
    checks.equal("exit code", output.status.code(), Some(0));
    let (mut passed, mut skipped) = (0, 0);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let case: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        match case["verdict"].as_str() {
            Some("pass") => passed += 1,
            Some("skip") => {
                skipped += 1;
                checks.that(may_skip(&case), || format!("skipped: {line}"));
            }
            Some(_) => {
                say(line);
                let failures = &case["failures"];
                checks.that(false, || format!("{} failed: {failures}", case["name"]));
            }
            None => checks.equal("event", case["event"].as_str(), Some("summary")),
        }
    }
    checks.that(passed > 0, || "nothing passed".to_owned());
    checks.end(format!("{passed} cases passed, {skipped} skipped"))
}

fn may_skip(case: &Value) -> bool {
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    MAY_SKIP
        .iter()
        .any(|(name, reason)| text("name").starts_with(name) && text("reason").contains(reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_kernel_cannot_do_is_skipped() {
        let skip = |name, reason| may_skip(&json!({"name": name, "reason": reason}));
        assert!(skip(
            "destroyed-fin-wait-2",
            "the kernel answers EOPNOTSUPP"
        ));
        assert!(!skip("nat-random", "cannot start nft: no such file"));
        assert!(!skip("destroyed", "the module tcp_diag is missing"));
    }
}
