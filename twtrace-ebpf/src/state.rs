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

use twtrace_common::slot::{PROBES, Slot};

use crate::{
    maps::{SLOTS, SPILL},
    read::opaque,
    settings::setting,
};

/// A new slot's content.
pub struct Birth {
    pub key: u64,
    pub born_ns: u64,
    pub time_wait_ns: u64,
    pub cgroup: u64,
    pub uid: u32,
    pub flags: u8,
}

/// Claims a slot in SLOTS. False if all neighbours are taken.
#[inline(always)]
pub fn claim(hash: u32, birth: &Birth) -> bool {
    let mask = setting!(slots_mask);
    let mut probe = 0;
    while probe < PROBES {
        let Some(slot) = SLOTS.get_ptr_mut(hash.wrapping_add(probe) & mask) else {
            return false;
        };
        // SAFETY: a map value; `key` is its first field.
        let owner = unsafe { exchange_if_zero(slot.cast::<u64>(), birth.key) };
        // The same address again means that an end was not seen; the newborn takes the slot.
        if owner == 0 || owner == birth.key {
            fill(slot, birth);
            return true;
        }
        probe = opaque(u64::from(probe) + 1) as u32;
    }
    false
}

/// Inserts into SPILL. False if it is full.
#[inline(always)]
pub fn spill(birth: &Birth) -> bool {
    let mut slot = core::mem::MaybeUninit::<Slot>::uninit();
    // SAFETY: every field is written, by `fill` and here.
    let slot = unsafe {
        let pointer = slot.as_mut_ptr();
        ptr::write_volatile(&raw mut (*pointer).key, birth.key);
        fill(pointer, birth);
        slot.assume_init_ref()
    };
    SPILL.insert(birth.key, slot, 0).is_ok()
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
        ptr::write_volatile(&raw mut (*slot).reserved, 0);
        ptr::write_volatile((&raw mut (*slot).marks).cast::<u32>(), 0);
        ptr::write_volatile(&raw mut (*slot).flags, u32::from(birth.flags));
        ptr::write_volatile(&raw mut (*slot).refused, 0);
        ptr::write_volatile(&raw mut (*slot).first_refused_ns, 0);
    }
}

/// The slot of a live mini-socket, and whether it is in SPILL.
#[inline(always)]
pub fn find(hash: u32, key: u64) -> Option<(&'static mut Slot, bool)> {
    let mask = setting!(slots_mask);
    if mask != 0 {
        let mut probe = 0;
        while probe < PROBES {
            let slot = SLOTS.get_ptr_mut(hash.wrapping_add(probe) & mask)?;
            // SAFETY: a map value. Its key changes only at birth and end of its mini-socket,
            // never while the kernel hands that mini-socket to one of our hooks.
            if unsafe { ptr::read_volatile(&raw const (*slot).key) } == key {
                // SAFETY: as above.
                return Some((unsafe { &mut *slot }, false));
            }
            probe = opaque(u64::from(probe) + 1) as u32;
        }
    }
    // SAFETY: as above.
    SPILL
        .get_ptr_mut(key)
        .map(|slot| (unsafe { &mut *slot }, true))
}

/// Frees what `find` returned.
#[inline(always)]
pub fn release(slot: *mut Slot, spilled: bool, key: u64) {
    if spilled {
        let _ = SPILL.remove(key);
    } else {
        // SAFETY: a map value.
        unsafe { ptr::write_volatile(&raw mut (*slot).key, 0) };
    }
}

/// Stores `new` if `*target` is 0; returns what was there.
#[inline(always)]
unsafe fn exchange_if_zero(target: *mut u64, new: u64) -> u64 {
    let mut old = 0_u64;
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
