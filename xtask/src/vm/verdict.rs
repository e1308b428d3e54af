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
    ("self-detected stall", "a CPU stalled"),
    ("rcu_preempt detected stalls", "a CPU stalled"),
    ("rcu_sched detected stalls", "a CPU stalled"),
    ("blocked for more than", "a task hung"),
    ("soft lockup", "a CPU hung"),
    ("hard LOCKUP", "a CPU hung"),
    ("Out of memory: Killed", "the VM ran out of memory"),
];

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
