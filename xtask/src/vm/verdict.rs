//! What a console says about how a VM did.

use anyhow::{Result, bail};

/// Marks of a kernel in trouble, and what each means.
const TROUBLE: &[(&str, &str)] = &[
    ("Kernel panic", "the kernel panicked"),
    ("BUG: ", "the kernel found a bug in itself"),
    ("Oops: ", "the kernel oopsed"),
    ("WARNING: CPU", "the kernel warned"),
    ("general protection fault", "the kernel faulted"),
    ("Unable to mount root fs", "the kernel found no init"),
    ("self-detected stall", STALLED),
    ("rcu_preempt detected stalls", STALLED),
    ("rcu_sched detected stalls", STALLED),
    ("blocked for more than", "a task hung"),
    ("soft lockup", "a CPU hung"),
    ("hard LOCKUP", "a CPU hung"),
    ("Out of memory: Killed", "the VM ran out of memory"),
];

/// Its own watchdog barked: nothing ran there for 21 s, as happens where the host has no time for it.
const STALLED: &str = "a CPU stalled";

/// Whether a VM failed because it stood still.
pub(crate) fn stood_still(error: &anyhow::Error) -> bool {
    error.root_cause().to_string().starts_with(STALLED)
}

/// How the command in the VM ended, by the console's verdict line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) code: i32,
}

/// The first mark of trouble on the console: its meaning and the line.
pub(super) fn trouble(console: &str) -> Option<String> {
    console.lines().find_map(|line| {
        let (_, meaning) = TROUBLE.iter().find(|(mark, _)| line.contains(mark))?;
        Some(format!("{meaning}: {}", line.trim()))
    })
}

/// Exactly one verdict line, and no trouble.
pub(super) fn read(console: &str) -> Result<Verdict> {
    if let Some(trouble) = trouble(console) {
        bail!("{trouble}");
    }
    let mut verdicts = console.lines().filter_map(verdict);
    match (verdicts.next(), verdicts.next()) {
        (Some(verdict), None) => Ok(verdict),
        (None, _) => bail!("the VM ended without a verdict"),
        (Some(_), Some(_)) => bail!("the VM gave more than one verdict"),
    }
}

fn verdict(line: &str) -> Option<Verdict> {
    let (word, code) = line.trim().strip_prefix("verdict: ")?.split_once(' ')?;
    let code: i32 = code.parse().ok()?;
    let agree = match word {
        "pass" => code == 0,
        "fail" => code != 0,
        _ => false,
    };
    agree.then_some(Verdict { code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_verdict_is_the_verdict() {
        let pass = "[    0.1] Linux\n\nverdict: pass 0\r\n";
        assert_eq!(read(pass).unwrap(), Verdict { code: 0 });
        assert_eq!(read("verdict: fail 3\n").unwrap(), Verdict { code: 3 });
    }

    #[test]
    fn only_a_stalled_cpu_is_a_vm_that_stood_still() {
        let failed = |console: &str| read(console).unwrap_err().context("Linux 6.18");
        assert!(stood_still(&failed(
            "rcu: INFO: rcu_preempt self-detected stall on CPU\n"
        )));
        assert!(!stood_still(&failed("Kernel panic - not syncing\n")));
        assert!(!stood_still(&failed("Linux\n")));
    }

    #[test]
    fn none_or_two_are_a_failure() {
        assert!(read("Linux\n").is_err());
        assert!(read("verdict: pass 0\nverdict: pass 0\n").is_err());
        assert!(
            read("verdict: pass 1\n").is_err(),
            "words and code disagree"
        );
    }

    #[test]
    fn trouble_outweighs_a_verdict() {
        let console = "[ 3.1] WARNING: CPU: 0 PID: 1 at net/ipv4\nverdict: pass 0\n";
        let error = read(console).unwrap_err().to_string();
        assert!(error.starts_with("the kernel warned: "), "{error}");
    }
}
