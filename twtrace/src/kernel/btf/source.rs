//! Where BTF comes from.
//!
//! Sysfs hands the running kernel's out in pages: a thousand calls. So it is mapped where sysfs
//! allows it (6.16 and later), else asked for by bpf(2), which copies all at once but wants
//! CAP_SYS_ADMIN and 5.11, else read.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::{ptr, slice};

use super::VMLINUX;
use crate::kernel::syscall;

/// What is longer is cut short: kernels have 5 to 12 MB.
const MOST_BYTES: u64 = 256 << 20;

/// The running kernel's, or a file's.
pub(super) fn read(path: &Path) -> io::Result<Cow<'static, [u8]>> {
    if path != Path::new(VMLINUX) {
        let mut data = Vec::new();
        File::open(path)?.take(MOST_BYTES).read_to_end(&mut data)?;
        return Ok(Cow::Owned(data));
    }
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    if let Some(mapped) = map(&file, length) {
        return Ok(Cow::Borrowed(mapped));
    }
    match syscall::vmlinux_btf(length) {
        Ok(copy) => Ok(Cow::Owned(copy)),
        Err(_) => fs::read(path).map(Cow::Owned),
    }
}

/// Without a copy. Never unmapped: these are the kernel's own pages, and cost nobody anything.
fn map(file: &File, length: usize) -> Option<&'static [u8]> {
    // SAFETY: a new private mapping, of a file that neither changes nor shrinks while the kernel
    // runs: only sysfs is mapped.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    // SAFETY: mapped with this length, and never unmapped.
    (at != libc::MAP_FAILED).then(|| unsafe { slice::from_raw_parts(at.cast(), length) })
}
