//! Overflow: `inet_twsk_alloc(sk, dr, state)` returns NULL, because `tcp_max_tw_buckets` is reached
//! or there is no memory. The connection then has no TIME_WAIT at all.
//!
//! This function may run with bottom halves enabled on every kernel (a socket's backlog).

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use twtrace_common::{
    record::{FLAG_LIMIT, KIND_OVERFLOW, Overflow},
    settings::{FEATURE_RECORDS, NO_VALUE},
};

use super::{owner, pair};
use crate::{
    clock::now,
    emit, filter, netns,
    read::{Access, Direct, Probed, stack_pointer},
    settings::{enabled, offset, value},
    state,
    tally::{self, bump},
};

#[fexit]
fn overflow(ctx: FExitContext) -> i32 {
    if ctx.arg::<u64>(3) == 0 {
        overflowed::<Direct>(ctx.arg(0), ctx.arg(1));
    }
    0
}

#[kprobe]
fn overflow_enter(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(row)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) {
        pair::push(pair::ALLOC, stack_pointer(&ctx), [sk, row, 0, 0]);
    }
    0
}

#[kretprobe]
fn overflow_return(ctx: RetProbeContext) -> u32 {
    if let Some([sk, row, _, _]) = pair::pop(pair::ALLOC)
        && ctx.ret::<u64>() == 0
    {
        overflowed::<Probed>(sk, row);
    }
    0
}

/// `row`: the `inet_timewait_death_row` of the namespace.
#[inline(always)]
fn overflowed<A: Access>(sk: u64, row: u64) {
    if !owner::is_tcp::<A>(sk) {
        return;
    }
    if state::closed() {
        return;
    }
    if filter::active() && !owner::passes::<A>(sk) {
        tally::count_unassigned(|counters| bump(&mut counters.filtered));
        return;
    }
    let netns = netns::of_sock::<A>(sk);
    let mut fits = true;
    if enabled(FEATURE_RECORDS) {
        match emit::reserve::<Overflow>() {
            Some(mut entry) => {
                // SAFETY: integers only, and every field is written.
                let record = unsafe { &mut *entry.as_mut_ptr() };
                emit::flow::<A>(&mut record.flow, sk, netns.inum);
                record.flow.kind = KIND_OVERFLOW;
                record.flow.reason = 0;
                record.flow.flags = owner::flag() | room::<A>(record, row);
                (record.flow.uid, record.flow.cgroup) = owner::of::<A>(sk);
                record.at_ns = now();
                emit::submit(entry);
            }
            None => fits = false,
        }
    }
    tally::count(netns, |counters| {
        bump(&mut counters.overflowed);
        if !fits {
            bump(&mut counters.overflow_ring_full);
        }
    });
}

/// Writes how many mini-sockets there are and may be; returns the flag if that is known.
#[inline(always)]
fn room<A: Access>(record: &mut Overflow, row: u64) -> u8 {
    let base = value!(dr_base);
    if base == NO_VALUE || offset!(dr_limit) == 0 {
        record.alive = 0;
        record.limit = 0;
        return 0;
    }
    let count: u32 = A::get(row, offset!(dr_count));
    record.alive = count.wrapping_sub(base);
    record.limit = A::get(row, offset!(dr_limit));
    FLAG_LIMIT
}
