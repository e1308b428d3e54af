//! What this kernel preempts.

use std::fs;

/// Why fentry is not the first choice there.
pub(super) const WHY_KPROBE: &str = "fentry: this kernel (PREEMPT_RT) may preempt such a program, and skips it for others on that CPU meanwhile";

/// What may go wrong with fentry there.
pub(super) const BY_FENTRY: &str = "programs of fentry may be preempted here (PREEMPT_RT): ends may be missed, which is counted, and a refusal may have the numbers of another segment, which is not; --attach kprobe has neither";

/// Whether the kernel preempts what runs with bottom halves disabled, our programs of fentry and fexit
/// included: PREEMPT_RT. Those of kprobes run with preemption disabled there, too.
///
/// Until 6.17 such a kernel lets nobody else run with bottom halves disabled on that CPU meanwhile; with
/// 6.18 came PREEMPT_RT_NEEDS_BH_LOCK, without which it does.
pub(super) fn of_bottom_halves() -> bool {
    // As `uname -v`.
    fs::read_to_string("/proc/sys/kernel/version").is_ok_and(|version| is_realtime(&version))
}

fn is_realtime(version: &str) -> bool {
    version.split_whitespace().any(|word| word == "PREEMPT_RT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_how_the_kernel_preempts() {
        assert!(is_realtime("#1 SMP PREEMPT_RT Debian 7.3.4-1 (2026-11-02)"));
        assert!(!is_realtime("#1 SMP PREEMPT_DYNAMIC Debian 6.12.43-1"));
    }
}
