//! Reading kernel memory, in the two ways that the two kinds of programs allow.

use aya_ebpf::helpers::bpf_probe_read_kernel;

/// How a field of a kernel object is read.
pub trait Access {
    /// Reads `T` at `base + offset`; zero where the memory cannot be read.
    fn get<T: Copy + Zero>(base: u64, offset: usize) -> T;
}

/// Types with an all-zero value, for reads that fault.
pub trait Zero {
    const ZERO: Self;
}
impl Zero for u8 {
    const ZERO: Self = 0;
}
impl Zero for u16 {
    const ZERO: Self = 0;
}
impl Zero for u32 {
    const ZERO: Self = 0;
}
impl Zero for u64 {
    const ZERO: Self = 0;
}

/// A plain load. The verifier allows it where `base` is a typed kernel pointer: an argument of a
/// fentry or fexit program, or a pointer loaded from one. A tenth of the cost of a probe read.
pub struct Direct;

impl Access for Direct {
    #[inline(always)]
    fn get<T: Copy + Zero>(base: u64, offset: usize) -> T {
        // SAFETY: the verifier checks type and bounds, and the kernel turns a fault into zero.
        unsafe { core::ptr::read_volatile((base as *const u8).add(offset).cast::<T>()) }
    }
}

/// `bpf_probe_read_kernel`, for programs whose arguments are untyped.
pub struct Probed;

impl Access for Probed {
    #[inline(always)]
    fn get<T: Copy + Zero>(base: u64, offset: usize) -> T {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel((base as *const u8).wrapping_add(offset).cast::<T>()) }
            .unwrap_or(T::ZERO)
    }
}
