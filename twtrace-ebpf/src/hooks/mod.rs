//! One file per lifecycle point. docs/kernels.md lists the kernel functions and what each hook
//! relies on.

mod abort;
mod birth;
mod elsewhere;
mod kill;
mod overflow;
mod owner;
mod pair;
mod ports;
mod reuse;
mod segment;
mod timer;
mod verdict;

use twtrace_common::{
    histogram::over,
    record::{FLAG_BORN_FIN_WAIT_2, FLAG_IN_TIME_WAIT, FLAG_UNTRACKED},
    slot::Slot,
};

use crate::{
    clock::{NS_PER_MS, now},
    filter,
    read::{Access, Probed},
    settings::offset,
    state::{self, Birth},
    tally::{self, bump},
};

/// `tw_substate` values; those of `enum tcp_state`.
const FIN_WAIT2: u8 = 5;
const TIME_WAIT: u8 = 6;

/// What the kernel itself remembers of a mini-socket whose birth was not seen.
///
/// `tw_entry_stamp` (ms of CLOCK_MONOTONIC) is set by `tcp_time_wait` and refreshed at the
/// promotion if the FIN had a timestamp; so with timestamps it dates the TIME_WAIT, without them
/// the birth. It is not touched by re-arms. Times are 0 where the kernel does not have it.
#[inline(always)]
fn adopted(tw: u64, hash: u32, substate: u8, now: u64) -> Birth {
    // In arithmetic: each branch would be walked to the end.
    let in_time_wait = over(FIN_WAIT2.into(), substate.into());
    let mut entered = 0;
    let mut timestamps = 0;
    if offset!(tw_entry_stamp) != 0 {
        let stamp: u32 = Probed::get(tw, offset!(tw_entry_stamp));
        let age_ms = ((now / NS_PER_MS) as u32).wrapping_sub(stamp);
        entered = now.wrapping_sub(u64::from(age_ms) * NS_PER_MS);
        let ts_recent_stamp: u32 = Probed::get(tw, offset!(tw_ts_recent_stamp));
        timestamps = over(0, ts_recent_stamp.into());
    }
    let of_time_wait = (in_time_wait & timestamps).wrapping_neg();
    let substate = in_time_wait.wrapping_neg() as u8;
    Birth {
        key: tw,
        born_ns: entered & !of_time_wait,
        time_wait_ns: entered & of_time_wait,
        cgroup: 0,
        uid: 0,
        now_ns: now,
        hash,
        flags: FLAG_UNTRACKED | FLAG_IN_TIME_WAIT & substate | FLAG_BORN_FIN_WAIT_2 & !substate,
    }
}

/// The slot of a mini-socket that is being marked; makes one if its birth was not seen. What the
/// filters leave out has none, and is not looked for.
#[inline(always)]
fn find_or_adopt<A: Access>(tw: u64) -> Option<&'static mut Slot> {
    if filter::active() && !filter::passes_flow::<A>(tw) {
        return None;
    }
    find_or_adopt_passed::<A>(tw)
}

/// As [`find_or_adopt`], for what has passed [`filter::passes_flow`].
#[inline(always)]
fn find_or_adopt_passed<A: Access>(tw: u64) -> Option<&'static mut Slot> {
    let hash = hash::<A>(tw);
    if let Some((slot, _)) = state::find(hash, tw) {
        return Some(slot);
    }
    if filter::by_owner() {
        return None;
    }
    let slot = state::adopt(&adopted(tw, hash, substate::<A>(tw), now()));
    if slot.is_none() {
        tally::count_unassigned(|counters| bump(&mut counters.mark_lost));
    }
    slot
}

/// `skc_hash` of a mini-socket.
#[inline(always)]
fn hash<A: Access>(tw: u64) -> u32 {
    A::get(tw, offset!(skc_hash))
}

/// `tw_substate`.
#[inline(always)]
fn substate<A: Access>(tw: u64) -> u8 {
    A::get(tw, offset!(tw_substate))
}
