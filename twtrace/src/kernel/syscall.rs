//! The few `bpf(2)` commands and other calls that no library offers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Answer;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// `bpf(2)` with an attribute of our own making.
fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attribute is a repr(C) struct whose size goes along; pointers in it are to
    // buffers that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attribute),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Reads one value of an array map into `value`, which must have the map's value size.
pub(super) fn lookup(map: BorrowedFd<'_>, index: u32, value: &mut [u64]) -> io::Result<()> {
    #[repr(C)]
    struct Attribute {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attribute = Attribute {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: (&raw const index) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attribute).map(drop)
}

/// What the kernel says of a loaded program (`struct bpf_prog_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// How often it was skipped because one of its kind was running; `None` before 5.12.
    pub missed: Option<u64>,
    /// Instructions that the verifier walked; `None` before 5.16.
    pub verified: Option<u32>,
}

/// Asks for them.
pub(super) fn program_facts(program: BorrowedFd<'_>) -> io::Result<ProgramFacts> {
    #[repr(C)]
    struct Attribute {
        fd: u32,
        length: u32,
        info: u64,
    }
    // recursion_misses at 208, verified_insns at 216; the kernel says how much it filled in.
    let mut info = [0_u64; 29];
    let mut attribute = Attribute {
        fd: program.as_raw_fd().cast_unsigned(),
        length: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(ProgramFacts {
        missed: (attribute.length >= 216).then_some(info[26]),
        verified: (attribute.length >= 220).then_some(info[27] as u32),
    })
}

/// Whether programs may compare and exchange (5.12 and later, where the JIT knows it too).
pub(super) fn has_compare_exchange() -> Answer {
    // r0 = 0; *(u64 *)(r10 - 8) = 0; r1 = 1; cmpxchg_64(r10 - 8, r0, r1); exit
    let instructions: [u64; 5] = [
        instruction(0xb7, 0, 0, 0),
        instruction(0x7a, 10, -8, 0),
        instruction(0xb7, 1, 0, 1),
        instruction(0xdb, 0x1a, -8, 0xf1),
        instruction(0x95, 0, 0, 0),
    ];
    match load_socket_filter(&instructions) {
        Ok(_) => Answer::Yes,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Answer::No("no compare-and-exchange in eBPF (added in 5.12)".into())
        }
        Err(error) => Answer::Unknown(error),
    }
}

/// `registers`: destination in the low half, source in the high one.
fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(registers) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(immediate.cast_unsigned()) << 32
}

fn load_socket_filter(instructions: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attribute {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 3],
    }
    let mut attribute = Attribute {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        rest: [0; 3],
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attribute)?;
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Gives freed memory back to the system; the BTF parsers leave some 20 MB behind.
pub fn trim_memory() {
    // SAFETY: takes no pointers.
    unsafe { libc::malloc_trim(0) };
}

/// Lets maps of any size be made on kernels that count them against RLIMIT_MEMLOCK (before
/// 5.11). Where it may not, the map creation says so itself.
pub(super) fn raise_memlock() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the pointer is to a local.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}

/// A clock in ns.
fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// CLOCK_MONOTONIC in ns, the clock of all events.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC in ns.
pub(super) fn wall_offset_ns() -> i64 {
    clock(libc::CLOCK_REALTIME).cast_signed() - monotonic_ns().cast_signed()
}

/// `uname -r`.
#[must_use]
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}
