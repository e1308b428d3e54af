//! The end: `inet_twsk_kill(tw)`, which every mini-socket passes exactly once, whatever ends it.

use core::{mem::offset_of, ptr::read_volatile};

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use twtrace_common::{
    Reason,
    histogram::{Clock, over},
    record::{
        End, FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_NUMBERS, FLAG_TS_RECENT, FLAG_TSVAL,
        FLAG_UNTRACKED, KIND_END,
    },
    settings::{FEATURE_BIRTHS, FEATURE_QUIET_ENDS, FEATURE_RECORDS, FEATURE_REOPENS},
    slot::{Marks, REASON_TABLE, Slot, TCP_TW_SYN},
};

use super::{FIN_WAIT2, TIME_WAIT, adopted, hash, substate};
use crate::{
    clock, emit,
    evidence::{self, fresh, keep},
    filter,
    layout::Sample,
    maps::SCRATCH,
    netns,
    read::{Access, Direct, Probed, forget},
    settings::{enabled, offset},
    state,
    tally::{self, bump, bump_at, bump_if},
};

#[fentry]
fn kill(ctx: FEntryContext) -> i32 {
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "inet_twsk_kill");
    ended::<Direct>(ctx.arg(0));
    0
}

#[kprobe]
fn kill_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(tw) = ctx.arg(0) {
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!(&ctx, "inet_twsk_kill");
        ended::<Probed>(tw);
    }
    0
}

/// A bit that no flags have.
const KNOWN: u8 = 1 << 7;

/// What is known of the life that ends.
struct Life {
    born_ns: u64,
    /// 0 also if it ends in FIN_WAIT2.
    time_wait_ns: u64,
    marks: Marks,
    flags: u8,
    /// Only if records are wanted, else zeros.
    told: Told,
}

/// What only a record tells.
struct Told {
    cgroup: u64,
    uid: u32,
    rearms: u32,
    refused: u32,
    first_refused_ns: u64,
}

#[inline(always)]
fn ended<A: Access>(tw: u64) {
    if state::closed() {
        return;
    }
    if filter::active() && !filter::passes_flow::<A>(tw) {
        let net: u64 = A::get(tw, offset!(skc_net));
        if is_tcp::<A>(tw, net) {
            tally::count_unassigned(|counters| bump(&mut counters.filtered));
        }
        return;
    }
    let net: u64 = A::get(tw, offset!(skc_net));
    let netns = netns::of_net::<A>(net);
    let Some(sample) = evidence::mini_socket() else {
        return;
    };
    let now = clock::now();
    // What inet_twsk_purge asks. The namespace has no sockets left, so only the purge, timers and
    // segments under way can kill there.
    let dead = 1 ^ over(0, A::get::<u32>(net, offset!(net_refs)).into());
    let substate = substate::<A>(tw);
    let Some(life) = remember::<A>(tw, substate, now) else {
        return;
    };
    if life.flags & FLAG_UNTRACKED != 0 && !ours::<A>(tw, net) {
        return;
    }
    // Which way the test went, too, or the verifier walks the rest once for each.
    let flags = forget(life.flags | KNOWN) as u8 & !KNOWN;
    let (segment, in_time_wait) = last_segment(sample, tw, &life.marks, flags);
    let reason = reason(&life.marks, segment, dead, in_time_wait);
    lifetimes(&life, flags, reason, now);
    let mut fits = true;
    let quiet = if enabled(FEATURE_QUIET_ENDS) {
        let told = life.told.refused | u32::from(is_reopened(reason));
        1 ^ over(0, told.into())
    } else {
        0
    };
    if enabled(FEATURE_RECORDS) && quiet == 0 {
        match emit::reserve::<End>() {
            Some(mut entry) => {
                // SAFETY: integers only, and every field is written.
                let record = unsafe { &mut *entry.as_mut_ptr() };
                emit::flow::<A>(&mut record.flow, tw, netns.inum);
                record.flow.kind = KIND_END;
                record.flow.reason = reason;
                record.flow.flags = flags;
                record.flow.uid = life.told.uid;
                record.flow.cgroup = life.told.cgroup;
                record.born_ns = life.born_ns;
                record.time_wait_ns = life.time_wait_ns;
                record.ended_ns = now;
                record.rearms = life.told.rearms;
                record.refused = life.told.refused;
                record.first_refused_ns = life.told.first_refused_ns;
                accepted(sample, record, reason);
                emit::submit(entry);
            }
            None => fits = false,
        }
    }
    let has = |flag: u8| over(u64::from(flag) - 1, u64::from(flags & flag));
    tally::count(netns, |counters| {
        bump_at(&mut counters.ended, reason);
        if !enabled(FEATURE_BIRTHS) {
            bump_if(
                &mut counters.promoted,
                has(FLAG_BORN_FIN_WAIT_2) & has(FLAG_IN_TIME_WAIT),
            );
        }
        if enabled(FEATURE_RECORDS) {
            bump_if(&mut counters.end_ring_full, u64::from(!fits));
        }
        if enabled(FEATURE_QUIET_ENDS) {
            bump_if(&mut counters.end_quiet, quiet);
        }
        if flags & FLAG_UNTRACKED != 0 {
            bump(&mut counters.end_untracked);
        }
    });
}

/// How the segment that this CPU is at may end the mini-socket, and whether it is, or was when
/// that segment came, in TIME_WAIT.
///
/// Two CPUs may have segments for it, and the slot has room for the mark of one. The one that ends
/// it does so before its CPU turns to another, so what this CPU remembers is right, unless the
/// timer or an abort came in between.
#[inline(always)]
fn last_segment(sample: &mut Sample, tw: u64, marks: &Marks, flags: u8) -> (u8, u64) {
    let in_time_wait = over(
        u64::from(FLAG_IN_TIME_WAIT) - 1,
        u64::from(flags & FLAG_IN_TIME_WAIT),
    );
    // Through memory it is a number to the verifier, no pointer any more.
    keep!(sample.ends = tw);
    let differs = fresh!(sample.tw) ^ fresh!(sample.ends);
    keep!(sample.here = 1 ^ over(0, differs >> 1 | differs & 1) as u8);
    let here = u64::from(fresh!(sample.here))
        & over(0, marks.segment.into())
        & (1 ^ u64::from(marks.timer & 1));
    let pick = |there: u64, here_value: u64| there ^ ((there ^ here_value) & here.wrapping_neg());
    let was_time_wait = over(FIN_WAIT2.into(), fresh!(sample.substate).into());
    (
        pick(marks.segment.into(), fresh!(sample.segment).into()) as u8,
        pick(in_time_wait, was_time_wait),
    )
}

/// The numbers of the SYN that was accepted over it: `tcp_v4_rcv` kills right after
/// `tcp_timewait_state_process` has said so, on the same CPU.
///
/// In arithmetic: no branches, no walks.
#[inline(always)]
fn accepted(sample: &mut Sample, record: &mut End, reason: u8) {
    (record.tsval, record.ts_recent, record.seq, record.rcv_nxt) = (0, 0, 0, 0);
    if !enabled(FEATURE_REOPENS) {
        return;
    }
    let syn = 1 ^ over(0, u64::from(fresh!(sample.verdict) ^ TCP_TW_SYN)) as u8;
    let by_syn = is_reopened(reason) & syn & fresh!(sample.here) & fresh!(sample.read);
    let mask = u64::from(by_syn).wrapping_neg();
    record.tsval = fresh!(sample.tsval) & mask as u32;
    record.ts_recent = fresh!(sample.ts_recent) & mask as u32;
    record.seq = fresh!(sample.seq) & mask as u32;
    record.rcv_nxt = fresh!(sample.rcv_nxt) & mask as u32;
    let known = fresh!(sample.flags) & (FLAG_TSVAL | FLAG_TS_RECENT) | FLAG_NUMBERS;
    record.flow.flags |= known & mask as u8;
    keep!(sample.tw = 0);
    evidence::remember(sample);
}

/// 1 if a SYN that was accepted over it ended it.
#[inline(always)]
fn is_reopened(reason: u8) -> u8 {
    1 ^ over(0, u64::from(reason ^ Reason::SynReopened as u8)) as u8
}

/// Copies the state of a mini-socket and frees its slot.
#[inline(always)]
fn remember<A: Access>(tw: u64, substate: u8, now: u64) -> Option<Life> {
    let hash = hash::<A>(tw);
    if let Some((slot, spilled)) = state::find(hash, tw) {
        let life = copy(slot, substate);
        state::release(slot, spilled, tw);
        return Some(life);
    }
    // Through memory, although the values are at hand: to the verifier they are then as unknown
    // as those of a slot, and it walks the rest once instead of five times.
    let slot = SCRATCH.get_ptr_mut(0)?;
    state::fill(slot, &adopted(tw, hash, substate, now));
    // SAFETY: a map value of this CPU.
    Some(copy(unsafe { &*slot }, substate))
}

/// The mini-socket itself says in which substate it ends, and so what the slot's times mean.
#[inline(always)]
fn copy(slot: &Slot, substate: u8) -> Life {
    const { assert!(TIME_WAIT == FIN_WAIT2 + 1) };
    let in_time_wait = over(FIN_WAIT2.into(), substate.into());
    // SAFETY: plain fields. Volatile, so that the two copies are not merged into one that
    // depends on where it came from.
    unsafe {
        let marks = read_volatile((&raw const slot.marks).cast::<u32>()).to_ne_bytes();
        let flags = read_volatile(&raw const slot.flags) as u8 & !FLAG_IN_TIME_WAIT;
        Life {
            born_ns: read_volatile(&raw const slot.born_ns),
            time_wait_ns: read_volatile(&raw const slot.time_wait_ns) & in_time_wait.wrapping_neg(),
            marks: Marks {
                timer: marks[offset_of!(Marks, timer)],
                segment: marks[offset_of!(Marks, segment)],
                reserved: 0,
                cancel: marks[offset_of!(Marks, cancel)],
            },
            flags: flags | (FLAG_IN_TIME_WAIT & (in_time_wait as u8).wrapping_neg()),
            told: told(slot),
        }
    }
}

#[inline(always)]
fn told(slot: &Slot) -> Told {
    if !enabled(FEATURE_RECORDS) {
        return Told {
            cgroup: 0,
            uid: 0,
            rearms: 0,
            refused: 0,
            first_refused_ns: 0,
        };
    }
    // SAFETY: as in `copy`.
    unsafe {
        Told {
            cgroup: read_volatile(&raw const slot.cgroup),
            uid: read_volatile(&raw const slot.uid),
            rearms: read_volatile(&raw const slot.rearms),
            refused: read_volatile(&raw const slot.refused),
            first_refused_ns: read_volatile(&raw const slot.first_refused_ns),
        }
    }
}

/// Whether a mini-socket whose birth was not seen is TCP's and passes the filters that ask for its
/// owner. Those that were seen passed both at birth.
#[inline(always)]
fn ours<A: Access>(tw: u64, net: u64) -> bool {
    if !is_tcp::<A>(tw, net) {
        return false;
    }
    if filter::by_owner() {
        tally::count_unassigned(|counters| bump(&mut counters.filtered));
        return false;
    }
    true
}

/// Whether a mini-socket is TCP's and not DCCP's.
#[inline(always)]
fn is_tcp<A: Access>(tw: u64, net: u64) -> bool {
    if offset!(net_tcp_death_row) == 0 {
        return true;
    }
    let row: u64 = A::get(tw, offset!(skc_tw_dr));
    row == net.wrapping_add(offset!(net_tcp_death_row) as u64)
}

/// All reasons by their marks; see [`REASON_TABLE`].
static REASONS_BY_MARKS: [u8; REASON_TABLE.len()] = REASON_TABLE;

#[inline(always)]
fn reason(marks: &Marks, segment: u8, dead: u64, in_time_wait: u64) -> u8 {
    const { assert!(Marks::index(&Marks::NONE, true, true) == DEAD | IN_TIME_WAIT) };
    let marks = Marks { segment, ..*marks };
    // In arithmetic: no branches, no walks.
    let mut index = marks.index(false, false) as u64
        | (dead & 1) * DEAD as u64
        | (in_time_wait & 1) * IN_TIME_WAIT as u64;
    // The compiler knows that this changes nothing, the verifier does not.
    // SAFETY: arithmetic on one register.
    unsafe { core::arch::asm!("{0} &= 127", inout(reg) index) };
    // SAFETY: the index is below 128. Volatile, so that the compiler does not turn the table
    // back into branches.
    unsafe { read_volatile(REASONS_BY_MARKS.as_ptr().add(index as usize)) }
}

/// Bits of [`Marks::index`].
const DEAD: usize = 1 << 5;
const IN_TIME_WAIT: usize = 1 << 6;

/// Adds both clocks to the histograms, as far as they are known.
#[inline(always)]
fn lifetimes(life: &Life, flags: u8, reason: u8, now: u64) {
    if life.time_wait_ns != 0 {
        tally::record(reason, Clock::TimeWait, now.wrapping_sub(life.time_wait_ns));
    }
    let has = |flag: u8| over(u64::from(flag) - 1, u64::from(flags & flag));
    // It left FIN_WAIT2 when it entered TIME_WAIT, else now.
    let left = now ^ ((now ^ life.time_wait_ns) & has(FLAG_IN_TIME_WAIT).wrapping_neg());
    if has(FLAG_BORN_FIN_WAIT_2) & over(0, life.born_ns) & over(0, left) != 0 {
        tally::record(reason, Clock::FinWait2, left.wrapping_sub(life.born_ns));
    }
}
