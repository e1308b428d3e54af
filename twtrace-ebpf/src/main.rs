//! The eyes of twtrace: one file per lifecycle point under `hooks`, each with one inlined body
//! and the thin programs (fentry/fexit, kprobe/kretprobe) that call it.
//!
//! The bodies never write to the kernel's memory and never decide what a figure means; they
//! read fields, remember times and marks per mini-socket, count, and emit records. All unsafe
//! code here dereferences either map values, which the verifier proves, or kernel pointers
//! through [`read`], which cannot fault.
#![no_std]
#![no_main]
// `lock add` and compare-and-exchange, which the target lacks in core::sync::atomic.
#![feature(asm_experimental_arch)]

mod clock;
mod emit;
mod evidence;
mod filter;
mod hooks;
mod layout;
mod maps;
mod netns;
mod read;
mod settings;
mod state;
mod tally;
mod task;

/// Its name is the ABI number: user space sets it by name before loading, so an object of
/// another ABI is refused with a message that says so.
#[unsafe(no_mangle)]
static TWTRACE_ABI_5: u32 = twtrace_common::ABI;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked in: `cargo xtask ebpf` refuses an object with panicking code.
    loop {}
}
