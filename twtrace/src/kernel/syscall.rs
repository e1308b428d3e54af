//! The few `bpf(2)` commands and other calls that no library offers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya::maps::MapData;

use crate::event::facts::Answer;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_BTF_GET_FD_BY_ID: libc::c_int = 19;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_FENTRY: u32 = 24;
const BPF_TRACE_FEXIT: u32 = 25;
/// `return 0`.
const NOTHING: [u64; 2] = [instruction(0xb7, 0, 0, 0), instruction(0x95, 0, 0, 0)];

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

/// The key behind another in a hash map, or the first; `None` behind the last. Behind one that was
/// removed meanwhile comes the first.
pub(super) fn next_key(map: BorrowedFd<'_>, after: Option<u64>) -> Option<u64> {
    #[repr(C)]
    struct Attribute {
        map_fd: u32,
        padding: u32,
        key: u64,
        next_key: u64,
        flags: u64,
    }
    let mut next = 0_u64;
    let mut attribute = Attribute {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: after
            .as_ref()
            .map_or(0, |key| std::ptr::from_ref(key) as u64),
        next_key: (&raw mut next) as u64,
        flags: 0,
    };
    bpf(BPF_MAP_GET_NEXT_KEY, &mut attribute).ok().map(|_| next)
}

/// The values of an array map that is made for it (`BPF_F_MMAPABLE`), in this process's memory.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    values: *mut T,
    length: usize,
}

impl<T> Mapped<T> {
    /// Maps `length` values. The kernel refuses more than the map has.
    pub(super) fn new(map: MapData, length: usize) -> crate::error::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        // SAFETY: a new mapping, which takes the place of none.
        let values = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if values == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return Err(crate::error::Error::new(format!(
                "cannot map an eBPF map into memory: {error}"
            )));
        }
        Ok(Self {
            values: values.cast(),
            length,
        })
    }

    /// A value; its memory is there as long as `self`.
    pub(super) fn at(&self, index: usize) -> *mut T {
        assert!(index < self.length, "no such value");
        // SAFETY: in range.
        unsafe { self.values.add(index) }
    }
}

// SAFETY: memory of the whole process; whoever reads or writes says why that is sound.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, with this length.
        unsafe { libc::munmap(self.values.cast(), self.length * size_of::<T>()) };
    }
}

/// CPUs that may ever exist.
pub(super) fn possible_cpus() -> u32 {
    aya::util::nr_cpus().map_or(1, |cpus| cpus as u32)
}

/// Waits until every eBPF program that runs now is over. False if the kernel cannot (with
/// nohz_full).
pub(super) fn wait_for_programs() -> bool {
    /// Programs run within RCU, and this waits for a grace period of it.
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes integers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0 }
}

/// A copy of the running kernel's BTF, which has `length` bytes.
pub(super) fn vmlinux_btf(length: usize) -> io::Result<Vec<u8>> {
    /// The kernel's own BTF has the first number; anything else with this number is refused below.
    const FIRST: u32 = 1;
    /// `struct bpf_btf_info`
    #[repr(C)]
    struct Info {
        btf: u64,
        length: u32,
        id: u32,
        name: u64,
        name_length: u32,
        of_kernel: u32,
    }
    let fd = object(BPF_BTF_GET_FD_BY_ID, FIRST)?;
    let mut copy = vec![0; length];
    let mut name = [0_u8; 16];
    let mut info = Info {
        btf: copy.as_mut_ptr() as u64,
        length: length as u32,
        id: 0,
        name: name.as_mut_ptr() as u64,
        name_length: name.len() as u32,
        of_kernel: 0,
    };
    info_of(fd.as_fd(), &mut info)?;
    let is_vmlinux = info.of_kernel != 0 && name.starts_with(b"vmlinux\0");
    if is_vmlinux && info.length as usize == length {
        Ok(copy)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Opens the BTF object with this number.
fn object(command: libc::c_int, id: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Id {
        id: u32,
        next: u32,
        flags: u32,
    }
    let mut id = Id {
        id,
        next: 0,
        flags: 0,
    };
    let fd = bpf(command, &mut id)?;
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// BPF_OBJ_GET_INFO_BY_FD; returns how many bytes the kernel filled in.
fn info_of<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<u32> {
    #[repr(C)]
    struct Attribute {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut attribute = Attribute {
        fd: object.as_raw_fd().cast_unsigned(),
        length: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(attribute.length)
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
    // recursion_misses at 208, verified_insns at 216; the kernel says how much it filled in.
    let mut info = [0_u64; 29];
    let length = info_of(program, &mut info)?;
    Ok(ProgramFacts {
        missed: (length >= 216).then_some(info[26]),
        verified: (length >= 220).then_some(info[27] as u32),
    })
}

/// The link of this number, which stays attached while it is open.
pub(super) fn link(id: u32) -> io::Result<OwnedFd> {
    object(BPF_LINK_GET_FD_BY_ID, id)
}

/// How often the kernel skipped the kprobe of a link because another was being handled on that
/// CPU, or lost a return for want of room; `None` before 6.7, which does not tell.
pub(super) fn kprobe_missed(link: BorrowedFd<'_>) -> Option<u64> {
    /// `struct bpf_link_info` of a perf event that is a kprobe.
    #[derive(Default)]
    #[repr(C)]
    struct Info {
        link_type: u32,
        id: u32,
        program: u32,
        kind: u64,
        function: u64,
        function_length: u32,
        offset: u32,
        address: u64,
        missed: u64,
    }
    const KPROBE: u64 = 3;
    const KRETPROBE: u64 = 4;
    let mut info = Info::default();
    info_of(link, &mut info).ok()?;
    matches!(info.kind, KPROBE | KRETPROBE).then_some(info.missed)
}

/// Whether programs may compare and exchange (5.12 and later, where the JIT knows it too).
pub(super) fn has_compare_exchange() -> Answer {
    // r0 = 0; *(u64 *)(r10 - 8) = 0; r1 = 1; cmpxchg_64(r10 - 8, r0, r1); exit
    const INSTRUCTIONS: [u64; 5] = [
        instruction(0xb7, 0, 0, 0),
        instruction(0x7a, 10, -8, 0),
        instruction(0xb7, 1, 0, 1),
        instruction(0xdb, 0x1a, -8, 0xf1),
        instruction(0x95, 0, 0, 0),
    ];
    match load(&Trial::new(BPF_PROG_TYPE_SOCKET_FILTER, &INSTRUCTIONS)) {
        Ok(_) => Answer::Yes,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Answer::No("no compare-and-exchange in eBPF (added in 5.12)".into())
        }
        Err(error) => unknown(&error),
    }
}

/// Whether the kernel counts the runs of a program that it skips (5.12 and later).
pub(super) fn has_missed_counts() -> Answer {
    let facts = load(&Trial::new(BPF_PROG_TYPE_SOCKET_FILTER, &NOTHING))
        .and_then(|program| program_facts(program.as_fd()));
    match facts {
        Ok(facts) if facts.missed.is_some() => Answer::Yes,
        Ok(_) => Answer::No("bpf_prog_info has no recursion_misses (added in 5.12)".into()),
        Err(error) => unknown(&error),
    }
}

/// Whether a program that does nothing may be loaded for the kprobe family. It is attached to
/// nothing.
pub(super) fn may_load_kprobes() -> Answer {
    answer(load(&Trial::new(BPF_PROG_TYPE_KPROBE, &NOTHING)))
}

/// Whether a program that does nothing may be loaded for the entry or the exit of a function, by
/// its number in the kernel's BTF. It is attached to nothing.
pub(super) fn may_load_fentry(function: u32, exit: bool) -> Answer {
    answer(load(&Trial {
        attach_type: if exit {
            BPF_TRACE_FEXIT
        } else {
            BPF_TRACE_FENTRY
        },
        function,
        ..Trial::new(BPF_PROG_TYPE_TRACING, &NOTHING)
    }))
}

fn answer(loaded: io::Result<OwnedFd>) -> Answer {
    match loaded {
        Ok(_) => Answer::Yes,
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => {
            unknown(&error)
        }
        Err(error) => Answer::No(format!("bpf(2): {error}").into()),
    }
}

fn unknown(error: &io::Error) -> Answer {
    Answer::Unknown(format!("bpf(2): {error}").into())
}

/// `registers`: destination in the low half, source in the high one.
const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    code as u64
        | (registers as u64) << 8
        | (offset.cast_unsigned() as u64) << 16
        | (immediate.cast_unsigned() as u64) << 32
}

/// A program to be loaded, only to see whether it may.
struct Trial<'a> {
    kind: u32,
    instructions: &'a [u64],
    /// These two for BPF_PROG_TYPE_TRACING only.
    attach_type: u32,
    function: u32,
}

impl<'a> Trial<'a> {
    fn new(kind: u32, instructions: &'a [u64]) -> Self {
        Self {
            kind,
            instructions,
            attach_type: 0,
            function: 0,
        }
    }
}

fn load(trial: &Trial<'_>) -> io::Result<OwnedFd> {
    // The members of `union bpf_attr` for BPF_PROG_LOAD up to attach_btf_id.
    #[repr(C)]
    struct Attribute {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u64; 2],
        kernel_version: u32,
        flags: u32,
        name: [u64; 2],
        interface: u32,
        attach_type: u32,
        types: [u64; 4],
        line_count: u32,
        function: u32,
    }
    const { assert!(std::mem::offset_of!(Attribute, attach_type) == 68) };
    const { assert!(std::mem::offset_of!(Attribute, function) == 108) };
    let mut attribute = Attribute {
        kind: trial.kind,
        count: trial.instructions.len() as u32,
        instructions: trial.instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kernel_version: 0,
        flags: 0,
        name: [0; 2],
        interface: 0,
        attach_type: trial.attach_type,
        types: [0; 4],
        line_count: 0,
        function: trial.function,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attribute)?;
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Ends a connection now (`tcp_disconnect`), however many descriptors it has.
pub fn disconnect(socket: &impl AsFd) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    let size = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: the pointer is to a local, whose size goes along.
    let result = unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nowhere, size) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The cookie of the network namespace that a socket is in (SO_NETNS_COOKIE, 5.14 and later).
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut size = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: the pointers are to locals; the kernel writes no more than the size says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    match result {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kind of a namespace, as a flag of clone(2).
pub(super) fn namespace_type(namespace: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: takes no argument.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) } {
        -1 => Err(io::Error::last_os_error()),
        kind => Ok(kind),
    }
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

/// CPU time of the calling thread in ns, what the kernel did for it included.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC in ns. Of a few readings the quickest counts: between the
/// two clocks the thread may lose its CPU.
pub(super) fn wall_offset_ns() -> i64 {
    let read = |_| {
        let before = monotonic_ns();
        let wall = clock(libc::CLOCK_REALTIME);
        let took = monotonic_ns() - before;
        (took, wall.cast_signed() - (before + took / 2).cast_signed())
    };
    let shortest = (0..3).map(read).min_by_key(|(took, _)| *took);
    shortest.map_or(0, |(_, offset)| offset)
}

/// `uname -r`.
#[must_use]
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}
