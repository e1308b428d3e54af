//! What tracing needs, what refuses it, and giving up what is not needed any more.

use std::fs;

use caps::{CapSet, Capability, CapsHashSet};

use crate::event::facts::Privileges;
use crate::text::Text;

/// Needed after attaching: reading maps (CAP_BPF, or CAP_SYS_ADMIN before 5.8), entering
/// namespaces for their counters (CAP_SYS_ADMIN) and finding them (the other two).
const KEPT: [Capability; 4] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// Gives up every capability that is not needed after attaching. A command started later by a
/// process that is root gets its own again by exec.
pub fn drop_unneeded() {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    let Ok(permitted) = caps::read(None, CapSet::Permitted) else {
        return;
    };
    let rest: CapsHashSet = permitted.intersection(&kept).copied().collect();
    // The effective set first: it must stay within the permitted one.
    if caps::set(None, CapSet::Effective, &rest).is_ok() {
        let _ = caps::set(None, CapSet::Permitted, &rest);
    }
}

/// What to do about an EPERM: names the first thing found that refuses.
pub(super) fn advice() -> String {
    let admin = has(Capability::CAP_SYS_ADMIN);
    if !(admin || has(Capability::CAP_BPF) && has(Capability::CAP_PERFMON)) {
        return "tracing needs root, or CAP_BPF and CAP_PERFMON (and CAP_SYS_RESOURCE before 5.11); try sudo".into();
    }
    if let Some(level) = lockdown().filter(|level| level == "confidentiality") {
        return format!(
            "the kernel is locked down ({level}: /sys/kernel/security/lockdown); tracing is allowed only in a machine booted without Secure Boot lockdown"
        );
    }
    if !admin && number("perf_event_paranoid").unwrap_or(0) > 2 {
        return "kernel.perf_event_paranoid is over 2, which keeps kprobes for CAP_SYS_ADMIN; lower it or use --attach fentry".into();
    }
    "the capabilities are there, so a security module, a seccomp filter or a container refuses bpf(2); `cargo xtask demo` shows twtrace in a VM".into()
}

/// What may stand in the way of tracing.
#[must_use]
pub fn look() -> Privileges {
    let lacks = |&capability: &Capability| !has(capability);
    // CAP_SYS_ADMIN has what the other two have.
    let missing: Vec<_> = if has(Capability::CAP_SYS_ADMIN) {
        Vec::new()
    } else {
        let needed = [Capability::CAP_BPF, Capability::CAP_PERFMON];
        needed.into_iter().filter(lacks).collect()
    };
    Privileges {
        missing: missing.iter().map(|one| one.to_string().into()).collect(),
        lockdown: lockdown(),
        unprivileged_bpf_disabled: number("unprivileged_bpf_disabled"),
        perf_event_paranoid: number("perf_event_paranoid"),
    }
}

/// Whether other network namespaces may be entered.
#[must_use]
pub fn may_enter_namespaces() -> bool {
    has(Capability::CAP_SYS_ADMIN)
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or_default()
}

/// The lockdown level; `None` if the kernel has none.
fn lockdown() -> Option<Text> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let level = text.split('[').nth(1)?.split(']').next()?;
    Some(level.into())
}

/// A number of /proc/sys/kernel.
fn number(name: &str) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    text.trim().parse().ok()
}
