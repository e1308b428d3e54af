//! `--version`.

use std::io::Write;

use twtrace_common::ABI;

use super::output::Output;
use crate::error::{Exit, Result};

/// sha256 of the object, as `cargo xtask ebpf` wrote it beside the object.
const OBJECT_HASH: &str = include_str!("../../bpf/twtrace.bpf.o.sha256");

pub(super) fn run(verbose: bool) -> Result<Exit> {
    let mut out = Output::stdout();
    let buffer = out.buffer();
    let _ = writeln!(buffer, "twtrace {}", env!("CARGO_PKG_VERSION"));
    if verbose {
        let hash = OBJECT_HASH.split_whitespace().next().unwrap_or("unknown");
        let _ = writeln!(buffer, "eBPF object: sha256 {hash}, ABI {ABI}");
    }
    out.flush()?;
    Ok(Exit::Done)
}
