//! What a task is inside of, for functions that may sleep between entry and return.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::maps::TASKS;

/// Inside `inet_twsk_purge`; anything else is the address that `tcp_abort` was called on.
pub const PURGE: u64 = 1;

#[inline(always)]
pub fn enter(what: u64) {
    let _ = TASKS.insert(bpf_get_current_pid_tgid(), what, 0);
}

/// Forgets and returns what the running task was inside of.
#[inline(always)]
pub fn leave() -> Option<u64> {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: only this task writes its entry, and it is here.
    let what = unsafe { TASKS.get(task) }.copied()?;
    let _ = TASKS.remove(task);
    Some(what)
}

/// Whether the running task is purging. Softirqs on top of it see the same task: the caller also
/// looks whether the mini-socket's namespace is dead.
#[inline(always)]
pub fn purging() -> bool {
    // SAFETY: as in `leave`.
    let what = unsafe { TASKS.get(bpf_get_current_pid_tgid()) };
    what == Some(&PURGE)
}
