//! What a segment says, and what its mini-socket said before it.

use core::{
    ffi::c_void,
    mem::offset_of,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use twtrace_common::{
    histogram::over,
    record::{FLAG_TS_RECENT, FLAG_TSVAL},
    settings::FEATURE_PREEMPTED,
    tcp::{ACK, RST, SYN},
};

use crate::{
    layout::Sample,
    maps::{SAMPLE, SAMPLES},
    read::{Access, Probed, forget, opaque},
    settings::{enabled, offset},
    tally::{self, bump},
    task::task,
};

/// Byte 13 of the TCP header.
pub const FLAGS: usize = 13;

/// Length of the TCP header without options, and of the options at most.
const HEADER: u32 = 20;
const OPTIONS: u32 = 40;
/// How many options and NOPs are looked at before the timestamp; real stacks send at most five.
const STEPS: u64 = 8;

/// Entries of SAMPLE. That of [`mini_socket`] is 0; the others may be used in a task that a softirq
/// interrupts, so each has its own, and is [`exclusive`].
const MINI_SOCKET: u32 = 0;
pub const LIMITED: u32 = 1;
pub const DROPPED: u32 = 2;

/// In [`Sample::skipped`]: not suppressed.
pub const NOT_SKIPPED: u8 = 255;

/// In [`Sample::class`]: nothing was refused, and nothing is reported.
pub const NOT_REFUSED: u8 = 255;

/// Reads a field as something new, of which neither compiler nor verifier knows anything.
macro_rules! fresh {
    ($sample:ident.$field:ident) => {
        // SAFETY: a field of a map value.
        unsafe { core::ptr::read_volatile(&raw const $sample.$field) }
    };
}
/// Writes a field where the compiler must not keep it in a register.
macro_rules! keep {
    ($sample:ident.$field:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: a field of a map value.
        unsafe { core::ptr::write_volatile(&raw mut $sample.$field, value) }
    }};
}
pub(crate) use {fresh, keep};

/// Forgets the previous segment, in two stores.
#[inline(always)]
pub fn begin(sample: &mut Sample, header_flags: u8, segment: u8) {
    const {
        assert!(offset_of!(Sample, flags).is_multiple_of(8));
        assert!(offset_of!(Sample, options).is_multiple_of(8));
        assert!(offset_of!(Sample, rearmed) == offset_of!(Sample, flags) + 8);
    }
    let first = u64::from_le_bytes([0, 0, header_flags, segment, 0, 0, UNDECIDED, 0]);
    let sample = &raw mut *sample;
    // SAFETY: eight bytes from `flags` to `paws`, and the four behind them.
    unsafe {
        write_volatile((&raw mut (*sample).flags).cast::<u64>(), first);
        write_volatile((&raw mut (*sample).rearmed).cast::<u32>(), 0);
    }
}

/// Whether there is something to count: `rearmed`, `differs`, `promoted`, `judged`.
#[inline(always)]
pub fn counts(sample: &Sample) -> bool {
    const { assert!(offset_of!(Sample, judged) == offset_of!(Sample, rearmed) + 3) };
    let sample = &raw const *sample;
    // SAFETY: four bytes of a map value.
    unsafe { read_volatile((&raw const (*sample).rearmed).cast::<u32>()) != 0 }
}

/// In [`Sample::verdict`]: `tcp_timewait_state_process` has not returned.
const UNDECIDED: u8 = 255;

/// The sample of the segment that a mini-socket is at. `tcp_timewait_state_process` runs with bottom
/// halves disabled, and so does what follows until the mini-socket that it was called for is gone: so
/// one for each CPU is enough. Where the kernel preempts that, too, it is the task's, which is
/// recalled here and must be [`remember`]ed when it was changed.
#[inline(always)]
pub fn mini_socket() -> Option<&'static mut Sample> {
    let sample = of_cpu(MINI_SOCKET)?;
    if enabled(FEATURE_PREEMPTED) {
        recall(sample);
    }
    Some(sample)
}

/// A copy, not the task's own: with two places where it may be, the verifier would walk what follows
/// half as long again.
#[inline(always)]
fn recall(sample: &mut Sample) {
    let Some(of_task) = SAMPLES.get_ptr(task()) else {
        keep!(sample.tw = 0);
        return;
    };
    // SAFETY: two map values of that size.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut *sample).cast(),
            size_of::<Sample>() as u32,
            of_task.cast(),
        );
    }
}

/// Keeps the sample of [`mini_socket`] for the next program that runs for the same segment.
#[inline(always)]
pub fn remember(sample: &Sample) {
    if enabled(FEATURE_PREEMPTED) && SAMPLES.insert(task(), sample, 0).is_err() {
        tally::count_unassigned(|counters| bump(&mut counters.missed));
    }
}

#[inline(always)]
fn of_cpu(entry: u32) -> Option<&'static mut Sample> {
    let sample = SAMPLE.get_ptr_mut(entry)?;
    // SAFETY: a map value of this CPU.
    Some(unsafe { &mut *sample })
}

/// One of the samples of this CPU for a program that may be interrupted, until it [`leave`]s it.
/// Those that are kept out meanwhile are counted.
///
/// The kernel does not enter a program on top of itself, but before 5.12 it does so with those of
/// fentry and fexit.
#[inline(always)]
pub fn exclusive(entry: u32) -> Option<&'static mut Sample> {
    let sample = of_cpu(entry)?;
    if fresh!(sample.busy) != 0 {
        tally::count_unassigned(|counters| bump(&mut counters.missed));
        return None;
    }
    keep!(sample.busy = 1);
    Some(sample)
}

/// Gives up a sample that was [`exclusive`].
#[inline(always)]
pub fn leave(sample: &mut Sample) {
    keep!(sample.busy = 0);
}

/// 1 for a SYN that opens a connection, else 0.
#[inline(always)]
pub fn opens(flags: u8) -> u64 {
    1 ^ over(0, u64::from((flags & (SYN | RST | ACK)) ^ SYN))
}

/// What the segment says; `sample.stamp_s` says whether a timestamp would mean anything.
#[inline(always)]
pub fn read_segment<A: Access>(sample: &mut Sample, th: u64) {
    keep!(sample.seq = u32::from_be(A::get(th, 4)));
    keep!(sample.window = u16::from_be(A::get(th, 14)));
    keep!(sample.tcp_flags = A::get(th, FLAGS));
    let has = over(0, fresh!(sample.stamp_s).into()) as u8;
    keep!(sample.flags = FLAG_TS_RECENT & has.wrapping_neg());
    let length: u8 = A::get(th, 12);
    timestamp(
        sample,
        th,
        (u32::from(length >> 4) * 4).wrapping_sub(HEADER),
    );
}

/// Finds the timestamp option (`tcp_parse_options`); [`FLAG_TSVAL`] tells whether there is one.
#[inline(always)]
fn timestamp(sample: &mut Sample, th: u64, length: u32) {
    // A timestamp takes ten bytes, and more than forty there cannot be.
    if length.wrapping_sub(10) > OPTIONS - 10 {
        return;
    }
    let options = sample.options.as_mut_ptr();
    // SAFETY: the helper checks the source; the destination is a map value of at least 40 bytes.
    unsafe {
        bpf_probe_read_kernel(
            options.cast(),
            OPTIONS,
            th.wrapping_add(u64::from(HEADER)) as *const c_void,
        );
    }
    // The verifier would walk what follows once for each place where it may be, and may not.
    let at = forget(find(options, length).map_or(NOWHERE, |at| at as u8) + 1) - 1;
    let has = (1 ^ over(u64::from(NOWHERE) - 1, at)) as u8;
    let tsval: u64;
    // SAFETY: the offset has six bits, and BUFFER is made for that and six more. In one load, as
    // wherever the kernel does without alignment; the compiler would make four of it.
    unsafe {
        core::arch::asm!(
            "{0} = *(u32 *)({1} + 2)",
            lateout(reg) tsval,
            in(reg) options.add(six_bits(at as u32) as usize),
        );
    }
    keep!(sample.tsval = u32::from_be(tsval as u32) & u32::from(has).wrapping_neg());
    keep!(sample.flags = fresh!(sample.flags) | FLAG_TSVAL & has.wrapping_neg());
}

/// Where no option begins.
const NOWHERE: u8 = 63;

/// Where the timestamp option begins.
#[inline(always)]
fn find(options: *const u8, length: u32) -> Option<u32> {
    /// MSS, SACK permitted, timestamp: a SYN of Linux, less the two bytes of the MSS.
    const SYN_OF_LINUX: [u32; 2] = [u32::from_be_bytes([2, 4, 0, 0]), 0x0402_080a];
    /// NOP, NOP, timestamp: all else of nearly everybody.
    const ALIGNED: u32 = 0x0101_080a;
    let word = |index: usize| {
        // SAFETY: the first words of the buffer.
        u32::from_be(unsafe { options.cast::<u32>().add(index).read_unaligned() })
    };
    if word(0) == ALIGNED {
        return Some(2);
    }
    if word(0) & 0xffff_0000 == SYN_OF_LINUX[0] && word(1) == SYN_OF_LINUX[1] && length >= 16 {
        return Some(6);
    }
    walk(options, length)
}

#[inline(always)]
fn walk(options: *const u8, length: u32) -> Option<u32> {
    const END: u64 = 0;
    const NOP: u64 = 1;
    const TIMESTAMP: u32 = 0x080a;
    let mut at = 0_u32;
    let mut step = 0;
    while step < STEPS {
        if at + 10 > length {
            return None;
        }
        // SAFETY: six bits of offset, and BUFFER is made for that.
        let head = unsafe {
            options
                .add(six_bits(at) as usize)
                .cast::<u16>()
                .read_unaligned()
        };
        let head = u32::from(u16::from_be(head));
        if head == TIMESTAMP {
            return Some(at);
        }
        let (kind, size) = (u64::from(head >> 8), u64::from(head & 0xff));
        // In arithmetic, so that each step leaves one state to the verifier, not two.
        let sized = over(NOP, kind);
        let broken = (1 - over(END, kind)) | (sized & (1 - over(1, size)));
        if broken != 0 {
            return None;
        }
        at += (1 + (size.wrapping_sub(1) & sized.wrapping_neg())) as u32;
        // Or the compiler would write the body down once for each step.
        step = opaque(step + 1);
    }
    None
}

/// The compiler would drop a mask that it knows to change nothing; the verifier needs it.
#[inline(always)]
fn six_bits(mut at: u32) -> u32 {
    // SAFETY: arithmetic on one register.
    unsafe { core::arch::asm!("{0} &= 63", inout(reg) at) };
    at
}

/// How far TSval may be behind: not at all (`tcp_paws_reject`), or one tick (TCP_PAWS_WINDOW, for
/// live connections: `tcp_paws_discard`).
pub const NO_WINDOW: u64 = 0;
pub const WINDOW: u64 = 1;

/// `tcp_paws_reject`: 1 if it rejects. `age_s` is the age of `ts_recent` in seconds. In
/// arithmetic, because each branch would double what comes behind it.
#[inline(always)]
pub fn paws_rejects(sample: &Sample, window: u64, age_s: u32, wrap_s: u32) -> u64 {
    /// TCP_PAWS_MSL, in seconds: a RST is refused for its timestamp only for this long.
    const MSL: u32 = 60;
    const BOTH: u8 = FLAG_TSVAL | FLAG_TS_RECENT;
    let known = over(u64::from(BOTH) - 1, u64::from(fresh!(sample.flags) & BOTH));
    let ts_recent = fresh!(sample.ts_recent);
    let behind = ts_recent.wrapping_sub(fresh!(sample.tsval));
    let positive = over(window, u64::from(behind)) & u64::from(!behind >> 31);
    let rst = u64::from(fresh!(sample.tcp_flags) & RST) >> 2;
    known
        & positive
        & over(0, u64::from(ts_recent))
        & younger(age_s, wrap_s)
        & (1 ^ (rst & (1 ^ younger(age_s, MSL))))
}

/// 1 if an age is below a limit, as `time_before32` sees it.
#[inline(always)]
fn younger(age_s: u32, limit_s: u32) -> u64 {
    u64::from(age_s.wrapping_sub(limit_s) >> 31)
}

/// TTL or hop limit of a packet; 0 if it cannot be read.
#[inline(always)]
pub fn hop_limit<A: Access>(skb: u64) -> u8 {
    let head: u64 = A::get(skb, offset!(skb_head));
    let network: u16 = A::get(skb, offset!(skb_network_header));
    let [first, second]: [u64; 2] = Probed::get(head.wrapping_add(u64::from(network)), 0);
    match first & 0xf0 {
        0x40 => second as u8,
        0x60 => (first >> 56) as u8,
        _ => 0,
    }
}

/// The TCP header of a packet (`tcp_hdr`).
#[inline(always)]
pub fn tcp_header<A: Access>(skb: u64) -> u64 {
    let head: u64 = A::get(skb, offset!(skb_head));
    head.wrapping_add(u64::from(A::get::<u16>(skb, offset!(skb_transport_header))))
}

/// Reads what a mini-socket expects.
#[inline(always)]
pub fn read_mini_socket<A: Access>(sample: &mut Sample, tw: u64) {
    keep!(sample.rcv_nxt = A::get(tw, offset!(tw_rcv_nxt)));
    // Beyond the type that the verifier knows here.
    keep!(sample.ts_recent = Probed::get(tw, offset!(tw_ts_recent)));
    keep!(sample.stamp_s = Probed::get(tw, offset!(tw_ts_recent_stamp)));
}
