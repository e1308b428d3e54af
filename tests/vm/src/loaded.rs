//! BPF programs, maps and links loaded in the kernel.

use std::io;

use anyhow::Result;
use aya::maps::{MapInfo, loaded_maps};
use aya::programs::{ProgramInfo, loaded_links, loaded_programs};

pub(crate) fn programs() -> Result<Vec<ProgramInfo>> {
    still_there(loaded_programs())
}

pub(crate) fn maps() -> Result<Vec<MapInfo>> {
    still_there(loaded_maps())
}

/// IDs of the links.
pub(crate) fn links() -> Result<Vec<u32>> {
    still_there(loaded_links().map(|link| Ok::<_, aya::programs::links::LinkError>(link?.id())))
}

/// Iteration fetches an ID first and opens the object later. An object of an earlier test that
/// waits for its grace period may be freed in between (ENOENT) and is then left out.
fn still_there<T, E>(found: impl Iterator<Item = Result<T, E>>) -> Result<Vec<T>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    found
        .map(|item| item.map_err(anyhow::Error::new))
        .filter(|item| !item.as_ref().is_err_and(is_gone))
        .collect()
}

fn is_gone(error: &anyhow::Error) -> bool {
    let causes = error.chain();
    let kinds = causes.filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    kinds
        .into_iter()
        .any(|kind| kind == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use aya::maps::MapError;
    use aya::sys::SyscallError;

    use super::*;

    fn failed(code: i32) -> Result<u32, MapError> {
        Err(MapError::SyscallError(SyscallError {
            call: "bpf_map_get_fd_by_id",
            io_error: io::Error::from_raw_os_error(code),
        }))
    }

    #[test]
    fn what_went_meanwhile_is_left_out() {
        let found = [Ok(1), failed(libc::ENOENT), Ok(3)];
        assert_eq!(still_there(found.into_iter()).unwrap(), [1, 3]);
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let found = [Ok(1), failed(libc::EPERM)];
        assert!(still_there(found.into_iter()).is_err());
    }
}
