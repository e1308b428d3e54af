//! A call that gets no port: `inet_hash_connect` and `inet6_hash_connect` for connect(), and
//! `inet_csk_get_port` for bind(), and for listen(), which asks for its port once more. All three
//! run in the task that called, which is preempted between candidates. A call that succeeds is
//! looked at only for what it leaves behind.

use core::ptr::read_volatile;

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_comm},
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::{
    ports::Call,
    record::{FLAG_PORT_GIVEN, Flow, KIND_PORT_FAILURE, PortFailure},
    settings::FEATURE_RECORDS,
};

use super::owner;
use crate::{
    clock::now,
    emit::{self, FITS, LIMITED, PORT_FAILURES, RING_FULL},
    filter,
    layout::PortCall,
    maps::{BLOCKED_CALLS, PORT_CALLS},
    netns,
    read::{Access, Direct, Probed},
    settings::{enabled, offset, setting},
    state,
    tally::{self, bump, bump_at, bump_if},
};

const EADDRINUSE: u32 = 98;
const EADDRNOTAVAIL: u32 = 99;

#[fexit]
fn connect(ctx: FExitContext) -> i32 {
    connected::<Direct>(ctx.arg(1), blocked_of(ctx.arg(1)), ctx.arg::<u64>(2) as u32);
    0
}

#[fexit]
fn connect_ipv6(ctx: FExitContext) -> i32 {
    connected::<Direct>(ctx.arg(1), blocked_of(ctx.arg(1)), ctx.arg::<u64>(2) as u32);
    0
}

#[fexit]
fn bind(ctx: FExitContext) -> i32 {
    bound::<Direct>(
        ctx.arg(0),
        ctx.arg::<u64>(1) as u16,
        ctx.arg::<u64>(2) as u32,
    );
    0
}

#[kprobe]
fn connect_enter(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(1) {
        enter(sk, 0);
    }
    0
}

#[kprobe]
fn connect_ipv6_enter(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(1) {
        enter(sk, 0);
    }
    0
}

#[kprobe]
fn bind_enter(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(port)) = (ctx.arg(0), ctx.arg::<u64>(1)) {
        enter(sk, port as u16);
    }
    0
}

#[kretprobe]
fn connect_return(ctx: RetProbeContext) -> u32 {
    if let Some(call) = leave() {
        connected::<Probed>(call.sk, call.time_wait, ctx.ret::<u64>() as u32);
    }
    0
}

#[kretprobe]
fn connect_ipv6_return(ctx: RetProbeContext) -> u32 {
    if let Some(call) = leave() {
        connected::<Probed>(call.sk, call.time_wait, ctx.ret::<u64>() as u32);
    }
    0
}

#[kretprobe]
fn bind_return(ctx: RetProbeContext) -> u32 {
    if let Some(call) = leave() {
        bound::<Probed>(call.sk, call.port as u16, ctx.ret::<u64>() as u32);
    }
    0
}

/// A mini-socket kept the running task's connect() from taking a port. Kernels that look at a
/// candidate twice (6.16) do so without asking `tcp_twsk_unique` the first time.
#[inline(always)]
pub fn blocked(sk: u64) {
    let Some(call) = call_of_task() else {
        return;
    };
    if call.sk == sk {
        call.time_wait += 1;
        return;
    }
    if call.sk == 0 {
        count_blocked(1);
    }
    // Otherwise it belongs to a call whose return was not seen.
    call.sk = sk;
    call.time_wait = 1;
}

#[inline(always)]
fn enter(sk: u64, port: u16) {
    let Some(call) = call_of_task() else {
        return;
    };
    if call.sk != 0 {
        // The return probe of an earlier call never came.
        tally::count_unassigned(|counters| bump(&mut counters.port_missed));
    }
    call.sk = sk;
    call.port = u32::from(port);
    call.time_wait = 0;
}

/// The running task's entry, which it keeps from its first call on. To look one up is a quarter of
/// the cost of making and removing it, and with kprobes the kernel skips what a softirq runs
/// meanwhile.
#[inline(always)]
fn call_of_task() -> Option<&'static mut PortCall> {
    let task = bpf_get_current_pid_tgid();
    if let Some(call) = PORT_CALLS.get_ptr_mut(task) {
        // SAFETY: a map value that only this task writes, and it is here.
        return Some(unsafe { &mut *call });
    }
    let none = PortCall {
        sk: 0,
        port: 0,
        time_wait: 0,
    };
    if PORT_CALLS.insert(task, none, 0).is_err() {
        tally::count_unassigned(|counters| bump(&mut counters.port_missed));
    }
    // SAFETY: as above.
    PORT_CALLS
        .get_ptr_mut(task)
        .map(|call| unsafe { &mut *call })
}

/// Forgets and returns what the running task was looking for.
#[inline(always)]
fn leave() -> Option<PortCall> {
    let call = PORT_CALLS.get_ptr_mut(bpf_get_current_pid_tgid())?;
    // SAFETY: as in `call_of_task`.
    let call = unsafe { &mut *call };
    let left = *call;
    call.sk = 0;
    (left.sk != 0).then_some(left)
}

/// How many candidates of this call only a mini-socket blocked. Usually no call has any, and
/// knowing that costs a tenth of a look into the hash map.
#[inline(always)]
fn blocked_of(sk: u64) -> u32 {
    let Some(blocked) = BLOCKED_CALLS.get(0) else {
        return 0;
    };
    // SAFETY: a map value. This task's own entry was counted before, whatever others do.
    if unsafe { read_volatile(blocked) } == 0 {
        return 0;
    }
    let Some(call) = leave() else {
        return 0;
    };
    count_blocked(u64::MAX);
    if call.sk == sk { call.time_wait } else { 0 }
}

/// Adds to the number of entries; `u64::MAX` takes one away.
#[inline(always)]
fn count_blocked(more: u64) {
    if let Some(blocked) = BLOCKED_CALLS.get_ptr_mut(0) {
        // SAFETY: a map value.
        bump_if(unsafe { &mut *blocked }, more);
    }
}

#[inline(always)]
fn connected<A: Access>(sk: u64, time_wait: u32, ret: u32) {
    let errno = ret.wrapping_neg();
    if errno == EADDRNOTAVAIL || errno == EADDRINUSE {
        // Where none was named and none was found, it is still 0.
        let port = A::get::<u16>(sk, offset!(skc_num));
        failed::<A>(sk, Call::Connect, port, errno, time_wait);
    }
}

/// Whatever is returned, 1 before 6.1 and -EADDRINUSE since: bind() and listen() say EADDRINUSE.
#[inline(always)]
fn bound<A: Access>(sk: u64, port: u16, ret: u32) {
    if ret != 0 {
        failed::<A>(sk, Call::Bind, port, EADDRINUSE, 0);
    }
}

#[inline(always)]
fn failed<A: Access>(sk: u64, call: Call, port: u16, errno: u32, time_wait: u32) {
    if !owner::is_tcp::<A>(sk) {
        return;
    }
    if state::closed() {
        return;
    }
    let netns = netns::of_sock::<A>(sk);
    if filter::active() {
        let mut flow = core::mem::MaybeUninit::<Flow>::uninit();
        // SAFETY: the filters read only what is written here.
        let flow = unsafe { flow.assume_init_mut() };
        describe::<A>(flow, sk, call, port, netns.inum);
        if !filter::passes(flow) {
            return;
        }
    }
    let mut fits = FITS;
    if enabled(FEATURE_RECORDS) {
        fits = report::<A>(sk, call, port, netns.inum, errno, time_wait);
    }
    tally::count(netns, |counters| {
        bump_at(&mut counters.port_failures, call as u8);
        bump_if(
            &mut counters.port_failure_limited,
            u64::from(fits & LIMITED),
        );
        bump_if(&mut counters.port_failure_ring_full, u64::from(fits >> 1));
    });
}

/// Reports a failure, unless there were too many lately or the ring is needed for births and
/// ends.
#[inline(always)]
fn report<A: Access>(sk: u64, call: Call, port: u16, netns: u32, errno: u32, time_wait: u32) -> u8 {
    let at_ns = now();
    if !emit::within_budget(PORT_FAILURES, setting!(port_failure_budget), at_ns) {
        return LIMITED;
    }
    if emit::share_is_full() {
        return RING_FULL;
    }
    let Some(mut entry) = emit::reserve::<PortFailure>() else {
        return RING_FULL;
    };
    // SAFETY: integers only, and every field is written.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    describe::<A>(&mut record.flow, sk, call, port, netns);
    record.flow.kind = KIND_PORT_FAILURE;
    record.flow.reason = call as u8;
    record.flow.flags = owner::flag() | if port != 0 { FLAG_PORT_GIVEN } else { 0 };
    record.at_ns = at_ns;
    record.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    record.errno = errno;
    record.time_wait = time_wait;
    record.reserved = 0;
    // SAFETY: 16 bytes of the record, which the helper fills.
    unsafe {
        bpf_get_current_comm(
            (&raw mut record.command).cast(),
            size_of_val(&record.command) as u32,
        );
    }
    emit::submit(entry);
    FITS
}

/// Writes whose call it is and between which ends, but for kind, reason and flags.
#[inline(always)]
fn describe<A: Access>(flow: &mut Flow, sk: u64, call: Call, port: u16, netns: u32) {
    emit::flow::<A>(flow, sk, netns);
    (flow.uid, flow.cgroup) = owner::of::<A>(sk);
    flow.lport = port;
    if matches!(call, Call::Bind) {
        // No end yet; to an IPv4-mapped address, that is one of the same kind.
        flow.rport = 0;
        filter::unspecified_remote(flow);
    }
}
