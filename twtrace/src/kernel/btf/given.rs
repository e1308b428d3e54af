//! BTF that the user names.

use std::fs;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::{VMLINUX, source, unreadable};
use crate::error::{Error, Result};

/// A file of the running kernel's BTF, as far as that can be told.
///
/// fentry programs are attached by the type numbers in it. Those of another kernel stand for other
/// functions, which would be traced without any error.
#[derive(Clone, Debug)]
pub struct GivenBtf(PathBuf);

impl GivenBtf {
    /// Refuses a file that differs from what the kernel itself shows, if it shows any.
    pub fn new(path: PathBuf) -> Result<Self> {
        let given = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        match source::read(Path::new(VMLINUX)) {
            Ok(own) if *own == *given => Ok(Self(path)),
            Ok(_) => Err(Error::new(format!(
                "{} is not the type information of the running kernel: it differs from {VMLINUX}",
                path.display()
            ))
            .hint("leave out --btf: this kernel brings its own")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self(path)),
            Err(error) => Err(Error::new(format!(
                "cannot compare {} with {VMLINUX}: {error}",
                path.display()
            ))
            .hint("leave out --btf if this kernel brings its own")),
        }
    }
}

impl Deref for GivenBtf {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_running_kernels_btf_is_taken() {
        let path = std::env::temp_dir().join(format!("twtrace-btf-{}", std::process::id()));
        let own = fs::read(VMLINUX).unwrap();
        fs::write(&path, &own).unwrap();
        assert_eq!(&*GivenBtf::new(path.clone()).unwrap(), path);
        let mut other = own.clone();
        *other.last_mut().unwrap() ^= 1;
        for wrong in [&other[..], &own[1..], b""] {
            fs::write(&path, wrong).unwrap();
            let error = GivenBtf::new(path.clone()).unwrap_err().to_string();
            assert!(error.contains("it differs from") && error.contains("hint: "));
        }
        fs::remove_file(&path).unwrap();
        let error = GivenBtf::new(path).unwrap_err();
        assert!(error.message().contains("No such file"), "{error}");
    }
}
