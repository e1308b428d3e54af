//! Loading the object: settings in, maps sized, errors in words.

use std::io;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{Ebpf, EbpfError, EbpfLoader, Pod};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;
use twtrace_common::counters::OWNERS_TOGETHER;
use twtrace_common::settings::{
    FEATURE_AGAIN, FEATURE_BIRTHS, FEATURE_OWNERS, FEATURE_PORTS, FEATURE_PREEMPTED,
    FEATURE_QUIET_ENDS, FEATURE_REARMS, FEATURE_RECORDS, FEATURE_REFUSALS, FEATURE_REOPENS,
    Offsets, PORT_FAILURE_RATE, REFUSAL_WINDOW_NS, Settings, Values,
};
use twtrace_common::{ABI, names};

use super::Options;
use super::size::Sizes;
use super::threads::beside;
use crate::error::{Error, Result, why};

/// The eBPF object, built by `cargo xtask ebpf`.
#[cfg(not(feature = "log"))]
pub const OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/twtrace.bpf.o");
/// The one that logs, built by `cargo xtask ebpf --log`.
#[cfg(feature = "log")]
pub const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../target/twtrace-log.bpf.o");

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(Settings);
// SAFETY: repr(C) integers without hidden padding (asserted in twtrace-common).
unsafe impl Pod for Plain {}

/// What of the kernel decides which programs there are, and what they do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    /// Programs may compare and exchange.
    pub slots: bool,
    /// Births may be interrupted, so they have a second program.
    pub again: bool,
    /// It preempts bottom halves, so what is kept for the next program is kept by task.
    pub preempts: bool,
}

/// Creates the maps and prepares the programs; none is loaded yet.
pub(super) fn load(
    loader: EbpfLoader<'static>,
    options: &Options,
    offsets: Offsets,
    values: Values,
    sizes: Sizes,
    kernel: Kernel,
) -> Result<Ebpf> {
    let settings = Plain(settings(options, offsets, values, sizes, kernel));
    // Its lifetime shrinks to that of the settings.
    let mut loader: EbpfLoader<'_> = loader;
    loader
        .override_global(names::SETTINGS, &settings, true)
        .override_global(names::ABI_GLOBAL, &ABI, true)
        .map_max_entries(names::RING, ring_bytes(options))
        .map_max_entries(names::SLOTS, sizes.slots)
        .map_max_entries(names::SPILL, sizes.spill)
        .map_max_entries(names::OWNERS, sizes.namespaces / OWNERS_TOGETHER as u32)
        .map_max_entries(names::COUNTERS, (sizes.namespaces + 1) * sizes.stripes)
        .map_max_entries(names::CLAIMS, sizes.namespaces)
        .map_max_entries(names::FRAMES, FRAMES)
        .map_max_entries(names::SAMPLES, if kernel.preempts { FRAMES } else { 1 })
        .map_max_entries(names::PORT_CALLS, port_calls(options))
        .load(OBJECT)
        .map_err(explain)
}

/// A loader without the kernel's BTF. aya parses all of it when a loader is made (20 ms, 12 MB),
/// wanted or not, and continues if there is none; so this one is made by a thread that sees no
/// /sys. Where /sys cannot be hidden, everything works the same, only more slowly.
///
/// aya's questions to the kernel before it loads anything are asked here.
pub(super) fn loader() -> Result<EbpfLoader<'static>> {
    let make = || {
        if unshare(CloneFlags::CLONE_FS).is_ok() {
            let _ = chroot("/proc/self/fd");
        }
        EbpfLoader::new()
    };
    Ok(beside("loader", make, aya::features)?.0)
}

fn settings(
    options: &Options,
    offsets: Offsets,
    values: Values,
    sizes: Sizes,
    kernel: Kernel,
) -> Settings {
    let feature = |on: bool, bit: u32| if on { bit } else { 0 };
    let ring = ring_bytes(options);
    Settings {
        offsets,
        values,
        reserved: 0,
        filter: options.filter,
        features: feature(options.records, FEATURE_RECORDS)
            | feature(options.owners, FEATURE_OWNERS)
            | feature(options.rearms, FEATURE_REARMS)
            | feature(options.refusals, FEATURE_REFUSALS)
            | feature(options.reopens, FEATURE_REOPENS)
            | feature(options.quiet_ends, FEATURE_QUIET_ENDS)
            | feature(options.births, FEATURE_BIRTHS)
            | feature(options.ports, FEATURE_PORTS)
            | feature(kernel.again, FEATURE_AGAIN)
            | feature(kernel.preempts, FEATURE_PREEMPTED),
        slots_mask: sizes.slots - 1,
        owners_mask: sizes.namespaces / OWNERS_TOGETHER as u32 - 1,
        stripes_mask: sizes.stripes - 1,
        wake_bytes: ring / 4,
        refusal_bytes: ring / 2,
        refusal_budget: per_window(options.refusal_rate),
        port_failure_budget: per_window(PORT_FAILURE_RATE),
    }
}

/// A rate per second as a budget for each of the programs' windows, at least one.
fn per_window(rate: u32) -> u32 {
    let windows = (1_000_000_000 / REFUSAL_WINDOW_NS) as u32;
    (rate / windows).max(1)
}

/// More than the calls that may be between two programs at the same time where a task may be
/// preempted there.
const FRAMES: u32 = 4 * 1024;

/// More than the tasks that may look for a port at the same time: a task is forgotten once this many
/// others have looked for one since, and one that searches the whole range is preempted meanwhile.
fn port_calls(options: &Options) -> u32 {
    if options.ports { 8 * 1024 } else { 1 }
}

/// The kernel wants a power of two of pages.
fn ring_bytes(options: &Options) -> u32 {
    if options.records {
        options.ring_bytes.clamp(4096, 1 << 30).next_power_of_two()
    } else {
        4096
    }
}

fn explain(error: EbpfError) -> Error {
    match &error {
        EbpfError::MapError(MapError::CreateError { name, io_error }) => {
            refused(&format!("create the eBPF map {name}"), io_error)
        }
        EbpfError::ParseError(why) if why.to_string().contains(names::ABI_GLOBAL) => stale(),
        _ => Error::new(format!("cannot load the eBPF object: {}", chain(&error))),
    }
}

fn stale() -> Error {
    Error::new(format!(
        "the eBPF object is stale: it has no {}, the mark of the ABI that this twtrace speaks",
        names::ABI_GLOBAL
    ))
    .hint("in a checkout, rebuild it with: cargo xtask ebpf; else install twtrace again")
}

/// What a failed `bpf(2)` means, by its errno.
pub(super) fn refused(what: &str, error: &io::Error) -> Error {
    let reason = why(error);
    let line = Error::new(format!("cannot {what}: {reason}"));
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::new(format!(
            "{}: cannot {what}: {reason}",
            super::privileges::cause()
        ))
        .hint(super::privileges::advice()),
        Some(libc::ENOMEM) => line.hint("try a smaller --max-sockets or --ring-bytes"),
        _ => line,
    }
}

/// How the last lines of every verifier log begin.
const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    // The verifier's log has many lines; its last one says what it objects to.
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.rfind(|line| !STATISTICS.iter().any(|start| line.starts_with(start))) {
        Some(last) => format!("{first} … {last}"),
        None => first,
    }
}

/// The errno behind a failed load or attach, if there is one.
pub(super) fn errno(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if let Some(io_error) = cause.downcast_ref::<io::Error>() {
            return io_error.raw_os_error();
        }
        source = cause.source();
    }
    None
}
