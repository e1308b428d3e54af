//! Which task runs.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id};

/// Its pid and tgid; of the idle tasks, which share 0, the CPU.
#[inline(always)]
pub fn task() -> u64 {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: takes no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if task == 0 { cpu.into() } else { task }
}
