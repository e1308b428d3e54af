//! Where the state of live mini-sockets is kept between birth and end.
//!
//! SLOTS is an array with open addressing, placed by the kernel's own `skc_hash`: an insert, find
//! and release together take some fifty instructions, a BPF hash map's about 900. What finds no
//! free slot among [`PROBES`] neighbours goes to SPILL, an ordinary hash map, so nothing is lost
//! before both are full. Kernels without compare-and-exchange (before 5.12) use SPILL alone.
//!
//! Slabs of mini-sockets are recycled within a moment, so the address is a key only from birth
//! to end; the end releases it.

use core::ptr;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use twtrace_common::{
    histogram::over,
    slot::{PROBES, STALE_NS, Slot, flags_made},
};

use crate::{
    maps::{SLOTS, SPILL},
    read::opaque,
    settings::setting,
};

/// Not 0 when the trace is over. Births, ends and all else that is counted stop at the same moment
/// then, whatever is still attached.
#[unsafe(no_mangle)]
static mut CLOSED: u32 = 0;

/// Whether the trace is over.
#[inline(always)]
pub fn closed() -> bool {
    // SAFETY: only user space writes it.
    unsafe { ptr::read_volatile(&raw const CLOSED) != 0 }
}

/// A new slot's content.
pub struct Birth {
    pub key: u64,
    pub born_ns: u64,
    pub time_wait_ns: u64,
    pub cgroup: u64,
    pub uid: u32,
    /// When the slot is made; `born_ns` may not be known.
    pub now_ns: u64,
    /// `skc_hash`.
    pub hash: u32,
    pub flags: u8,
}

/// Claims a slot in SLOTS. False if all neighbours are taken.
///
/// `stale` becomes 1 if it was taken from a mini-socket whose end must have been missed.
#[inline(always)]
pub fn claim(birth: &Birth, stale: &mut u64) -> bool {
    let mask = setting!(slots_mask);
    let Some(home) = SLOTS.get_ptr_mut(birth.hash & mask) else {
        return false;
    };
    let ripe = ripe(home, birth);
    // SAFETY: a map value; `key` is its first field.
    if unsafe { exchange(home.cast::<u64>(), ripe, birth.key) } == ripe {
        *stale = over(0, ripe >> 1);
        fill(home, birth);
        return true;
    }
    let mut probe = 1;
    while probe < PROBES {
        let Some(slot) = SLOTS.get_ptr_mut(birth.hash.wrapping_add(probe) & mask) else {
            return false;
        };
        // SAFETY: as above.
        if unsafe { exchange(slot.cast::<u64>(), 0, birth.key) } == 0 {
            fill(slot, birth);
            return true;
        }
        probe = opaque(u64::from(probe) + 1) as u32;
    }
    false
}

/// The key that a birth's home slot must hold for the birth to claim it: its present key if that
/// mini-socket must be gone, else 0.
#[inline(always)]
fn ripe(slot: *const Slot, birth: &Birth) -> u64 {
    // SAFETY: a map value.
    let key = unsafe { ptr::read_volatile(&raw const (*slot).key) };
    if key == 0 {
        return 0;
    }
    // SAFETY: as above.
    let (born_ns, time_wait_ns) = unsafe {
        (
            ptr::read_volatile(&raw const (*slot).born_ns),
            ptr::read_volatile(&raw const (*slot).time_wait_ns),
        )
    };
    // 0: whoever has just claimed it has not written its times yet.
    let old = over(0, born_ns)
        & over(STALE_NS, birth.now_ns.wrapping_sub(born_ns))
        & over(STALE_NS, birth.now_ns.wrapping_sub(time_wait_ns));
    key & old.wrapping_neg()
}

/// Whether a mini-socket has a slot in SLOTS.
#[inline(always)]
pub fn holds(hash: u32, key: u64) -> bool {
    in_slots(hash, key).is_some()
}

/// Inserts a birth into SPILL. False if it is full.
#[inline(always)]
pub fn spill(birth: &Birth) -> bool {
    // Whatever stands there is of an earlier life.
    insert(birth, BPF_ANY)
}

/// Makes a slot in SPILL for a mini-socket whose birth was not seen. If another CPU does so as well,
/// its marks stay. `None` if there is no room.
#[inline(always)]
pub fn adopt(birth: &Birth) -> Option<&'static mut Slot> {
    insert(birth, BPF_NOEXIST);
    let slot = SPILL.get_ptr_mut(birth.key)?;
    // SAFETY: a map value.
    let slot = unsafe { &mut *slot };
    if slot.hash != birth.hash {
        // Made by one CPU while another was at the end of its mini-socket, it has outlived that.
        fill(slot, birth);
    }
    Some(slot)
}

#[inline(always)]
fn insert(birth: &Birth, flags: u32) -> bool {
    let mut slot = core::mem::MaybeUninit::<Slot>::uninit();
    // SAFETY: every field is written, by `fill` and here.
    let slot = unsafe {
        let pointer = slot.as_mut_ptr();
        ptr::write_volatile(&raw mut (*pointer).key, birth.key);
        fill(pointer, birth);
        slot.assume_init_ref()
    };
    SPILL.insert(birth.key, slot, u64::from(flags)).is_ok()
}

/// Writes all fields but the key. Volatile, field by field: the compiler would make a copy or a
/// `memset` of it, which are loops of byte stores here.
#[inline(always)]
pub fn fill(slot: *mut Slot, birth: &Birth) {
    // SAFETY: a map value or a local.
    unsafe {
        ptr::write_volatile(&raw mut (*slot).born_ns, birth.born_ns);
        ptr::write_volatile(&raw mut (*slot).time_wait_ns, birth.time_wait_ns);
        ptr::write_volatile(&raw mut (*slot).cgroup, birth.cgroup);
        ptr::write_volatile(&raw mut (*slot).uid, birth.uid);
        ptr::write_volatile(&raw mut (*slot).rearms, 0);
        ptr::write_volatile(&raw mut (*slot).hash, birth.hash);
        ptr::write_volatile((&raw mut (*slot).marks).cast::<u32>(), 0);
        ptr::write_volatile(
            &raw mut (*slot).flags,
            flags_made(birth.flags, birth.now_ns),
        );
        ptr::write_volatile(&raw mut (*slot).refused, 0);
        ptr::write_volatile(&raw mut (*slot).first_refused_ns, 0);
    }
}

/// The slot of a live mini-socket, and whether it is in SPILL.
#[inline(always)]
pub fn find(hash: u32, key: u64) -> Option<(&'static mut Slot, bool)> {
    if let Some(slot) = in_slots(hash, key) {
        return Some((slot, false));
    }
    spilled(hash, key).map(|slot| (slot, true))
}

/// The slot of a live mini-socket in SPILL.
#[inline(always)]
pub fn spilled(hash: u32, key: u64) -> Option<&'static mut Slot> {
    let slot = SPILL.get_ptr_mut(key)?;
    // SAFETY: a map value.
    let slot = unsafe { &mut *slot };
    (slot.hash == hash).then_some(slot)
}

#[inline(always)]
fn in_slots(hash: u32, key: u64) -> Option<&'static mut Slot> {
    let mask = setting!(slots_mask);
    if mask == 0 {
        return None;
    }
    let mut probe = 0;
    while probe < PROBES {
        let slot = SLOTS.get_ptr_mut(hash.wrapping_add(probe) & mask)?;
        // SAFETY: a map value. Its key changes only at birth and end of its mini-socket,
        // never while the kernel hands that mini-socket to one of our hooks.
        if unsafe { ptr::read_volatile(&raw const (*slot).key) } == key {
            // SAFETY: as above.
            return Some(unsafe { &mut *slot });
        }
        probe = opaque(u64::from(probe) + 1) as u32;
    }
    None
}

/// Frees what `find` returned.
#[inline(always)]
pub fn release(slot: *mut Slot, spilled: bool, key: u64) {
    if spilled {
        let _ = SPILL.remove(key);
    } else {
        // SAFETY: a map value. See [`ripe`] for the first.
        unsafe {
            ptr::write_volatile(&raw mut (*slot).born_ns, 0);
            ptr::write_volatile(&raw mut (*slot).key, 0);
        }
    }
}

/// Stores `new` if `*target` is `old`; returns what was there.
#[inline(always)]
unsafe fn exchange(target: *mut u64, mut old: u64, new: u64) -> u64 {
    // SAFETY: the caller hands over a valid target. The instruction takes and leaves r0.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({target} + 0, r0, {new})",
            target = in(reg) target,
            new = in(reg) new,
            inout("r0") old,
        );
    }
    old
}
