//! What tracing needs, what refuses it, and giving up what is not needed any more.

use std::fs;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;

use super::Options;
use crate::event::facts::Privileges;
use crate::text::Text;

/// What a trace still does once everything is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    /// Finds and enters network namespaces: for their counters, sockets and sysctls.
    pub namespaces: bool,
    /// Looks up the names of cgroups.
    pub owners: bool,
    /// Ends a command that runs as another user.
    pub kills: bool,
}

impl Later {
    /// With a filter, the kernel's own counters are not compared, and without ports, what is there
    /// is listed only when tracing begins.
    #[must_use]
    pub(crate) fn of(options: &Options, kills: bool) -> Self {
        Self {
            namespaces: (options.births && options.ports) || options.filter.flags == 0,
            owners: options.owners,
            kills,
        }
    }

    /// The capabilities that it takes, of those that there are.
    #[must_use]
    pub(crate) fn needs(self, permitted: &CapsHashSet) -> CapsHashSet {
        let mut needed = CapsHashSet::new();
        // Before 6.5, bpf(2) reads maps only with CAP_BPF or all of CAP_SYS_ADMIN.
        needed.insert(match permitted.contains(&Capability::CAP_BPF) {
            true => Capability::CAP_BPF,
            false => Capability::CAP_SYS_ADMIN,
        });
        if self.namespaces {
            // setns(2); /proc/PID/ns of others; mounts of namespaces below closed directories.
            needed.extend([
                Capability::CAP_SYS_ADMIN,
                Capability::CAP_SYS_PTRACE,
                Capability::CAP_DAC_READ_SEARCH,
            ]);
        }
        if self.owners {
            // open_by_handle_at(2).
            needed.insert(Capability::CAP_DAC_READ_SEARCH);
        }
        if self.kills {
            needed.insert(Capability::CAP_KILL);
        }
        needed.intersection(permitted).copied().collect()
    }
}

/// Gives up, for this thread and those that it starts from now on, every capability that is not
/// needed, and all ways to get one back. A command must have been started before: what it
/// executes could gain nothing either, and sudo would not work in it.
pub(crate) fn keep(later: Later) {
    // This takes CAP_SETPCAP. Where it fails, the next line closes the same door.
    let _ = caps::clear(None, CapSet::Bounding);
    let _ = set_no_new_privs();
    let _ = caps::clear(None, CapSet::Ambient);
    if let Ok(permitted) = caps::read(None, CapSet::Permitted) {
        hold(&later.needs(&permitted));
    }
}

/// Gives up all capabilities, for this thread and those that it starts.
pub(crate) fn give_up_all() {
    let _ = set_no_new_privs();
    hold(&CapsHashSet::new());
}

fn hold(rest: &CapsHashSet) {
    // The effective set first: it must stay within the permitted one.
    if caps::set(None, CapSet::Effective, rest).is_ok() {
        let _ = caps::set(None, CapSet::Permitted, rest);
    }
    let _ = caps::clear(None, CapSet::Inheritable);
}

/// What an EPERM comes down to.
pub(super) fn cause() -> &'static str {
    match look().missing.is_empty() {
        true => "tracing is refused here",
        false => "tracing needs root (or CAP_BPF and CAP_PERFMON)",
    }
}

/// What to do about an EPERM: names the first thing found that refuses.
pub(super) fn advice() -> String {
    let admin = has(Capability::CAP_SYS_ADMIN);
    if !(admin || has(Capability::CAP_BPF) && has(Capability::CAP_PERFMON)) {
        return "try sudo, or grant CAP_BPF and CAP_PERFMON (before Linux 5.11 also CAP_SYS_RESOURCE)".into();
    }
    if let Some(level) = lockdown().filter(|level| level == "confidentiality") {
        return format!(
            "the kernel is locked down ({level}: /sys/kernel/security/lockdown); tracing is allowed only in a machine booted without Secure Boot lockdown"
        );
    }
    if !admin && number("perf_event_paranoid").unwrap_or(0) > 2 {
        return "kernel.perf_event_paranoid is over 2, which keeps kprobes for CAP_SYS_ADMIN; lower it or use --attach fentry".into();
    }
    "the capabilities are there, so a security module, a seccomp filter or a container refuses bpf(2); run twtrace on the host, or allow bpf(2) there".into()
}

/// What may stand in the way of tracing.
#[must_use]
pub(crate) fn look() -> Privileges {
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
pub(crate) fn may_enter_namespaces() -> bool {
    has(Capability::CAP_SYS_ADMIN)
}

/// Whether a command may be run as another user.
#[must_use]
pub(crate) fn may_change_user() -> bool {
    has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID)
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A line of the calling thread's status.
    fn status(name: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap().trim().to_owned()
    }

    /// Does it in a thread, which has capabilities of its own, and returns what is left.
    fn left_after(give_up: fn()) -> [String; 6] {
        let names = [
            "CapPrm:",
            "CapEff:",
            "CapInh:",
            "CapAmb:",
            "CapBnd:",
            "NoNewPrivs:",
        ];
        let thread = thread::spawn(move || {
            give_up();
            names.map(status)
        });
        thread.join().unwrap()
    }

    fn mask(capabilities: &CapsHashSet) -> String {
        let mask: u64 = capabilities.iter().map(Capability::bitmask).sum();
        format!("{mask:016x}")
    }

    const COUNTS_ONLY: Later = Later {
        namespaces: false,
        owners: false,
        kills: false,
    };

    #[test]
    fn what_is_not_needed_is_gone_for_good() {
        let permitted = caps::read(None, CapSet::Permitted).unwrap();
        let none = mask(&CapsHashSet::new());
        // Without CAP_SETPCAP the bounding set stays, behind no_new_privs.
        let bounding = match permitted.contains(&Capability::CAP_SETPCAP) {
            true => none.clone(),
            false => status("CapBnd:"),
        };
        let gone = |left: CapsHashSet, bounding: String| {
            let left = mask(&left);
            [
                left.clone(),
                left,
                none.clone(),
                none.clone(),
                bounding,
                "1".into(),
            ]
        };
        let all = |namespaces| Later {
            namespaces,
            ..COUNTS_ONLY
        };
        assert_eq!(
            left_after(|| keep(COUNTS_ONLY)),
            gone(COUNTS_ONLY.needs(&permitted), bounding.clone())
        );
        assert_eq!(
            left_after(|| keep(Later {
                namespaces: true,
                ..COUNTS_ONLY
            })),
            gone(all(true).needs(&permitted), bounding)
        );
        assert_eq!(
            left_after(give_up_all),
            gone(CapsHashSet::new(), status("CapBnd:"))
        );
    }

    #[test]
    fn what_was_given_up_for_a_while_can_be_given_up_further_but_not_be_had_again() {
        let twice = left_after(|| {
            keep(Later {
                namespaces: true,
                ..COUNTS_ONLY
            });
            keep(COUNTS_ONLY);
            keep(Later {
                namespaces: true,
                ..COUNTS_ONLY
            });
        });
        let permitted = caps::read(None, CapSet::Permitted).unwrap();
        assert_eq!(twice[0], mask(&COUNTS_ONLY.needs(&permitted)));
    }

    #[test]
    fn maps_are_read_with_whatever_allows_it() {
        let admin: CapsHashSet = [Capability::CAP_SYS_ADMIN, Capability::CAP_KILL].into();
        assert_eq!(
            COUNTS_ONLY.needs(&admin),
            [Capability::CAP_SYS_ADMIN].into()
        );
        assert_eq!(
            COUNTS_ONLY.needs(&caps::all()),
            [Capability::CAP_BPF].into()
        );
        assert!(COUNTS_ONLY.needs(&CapsHashSet::new()).is_empty());
    }
}
