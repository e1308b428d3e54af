//! Reading kernel memory, in the two ways that the two kinds of programs allow.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_probe_read_kernel,
    programs::{FExitContext, ProbeContext},
};

/// How a field of a kernel object is read.
pub trait Access {
    /// In programs of fentry and fexit.
    const TYPED: bool;

    /// Reads `T` at `base + offset`; zero where the memory cannot be read.
    fn get<T: Copy>(base: u64, offset: usize) -> T;
}

/// A plain load. The verifier allows it where `base` is a typed kernel pointer: an argument of a
/// fentry or fexit program, or a pointer loaded from one. A tenth of the cost of a probe read.
pub struct Direct;

impl Access for Direct {
    const TYPED: bool = true;

    #[inline(always)]
    fn get<T: Copy>(base: u64, offset: usize) -> T {
        // SAFETY: the verifier checks type and bounds, and the kernel turns a fault into zero.
        unsafe { core::ptr::read_volatile((base as *const u8).add(offset).cast::<T>()) }
    }
}

/// `bpf_probe_read_kernel`, for programs whose arguments are untyped.
pub struct Probed;

impl Access for Probed {
    const TYPED: bool = false;

    #[inline(always)]
    fn get<T: Copy>(base: u64, offset: usize) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper checks the source, and zeroes the destination where it cannot read;
        // so its result need not be looked at, which would double the paths to verify.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                base.wrapping_add(offset as u64) as *const c_void,
            );
            value.assume_init()
        }
    }
}

/// An argument that the verifier does not let a program load: pointers to integers (5.10) and to
/// enums (before 7.1). The context is memory like any other.
#[inline(always)]
pub fn argument(ctx: &FExitContext, index: usize) -> u64 {
    Probed::get(ctx.as_ptr() as u64, index * size_of::<u64>())
}

/// The kernel's stack pointer where a probed function begins.
#[inline(always)]
pub fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a kprobe is a `struct pt_regs`.
    unsafe { (*ctx.regs).rsp }
}

/// The same value, but not 0, of which neither compiler nor verifier knows anything: the verifier
/// remembers what is in aligned words of the stack, and zeros.
#[inline(always)]
pub fn forget(value: u8) -> u64 {
    let mut word = MaybeUninit::<u64>::uninit();
    let forgotten;
    // SAFETY: the second of eight bytes, written first.
    unsafe {
        core::arch::asm!(
            "*(u8 *)({word} + 1) = {value}",
            "{forgotten} = *(u8 *)({word} + 1)",
            word = in(reg) word.as_mut_ptr(),
            value = in(reg) u64::from(value),
            forgotten = lateout(reg) forgotten,
        );
    }
    forgotten
}

/// The same value, of which the compiler knows nothing.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: arithmetic on one register. An empty string would upset the line information.
    unsafe { core::arch::asm!("{0} += 0", inout(reg) value) };
    value
}
