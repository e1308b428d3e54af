//! Files that the user names, opened for writing.
//!
//! twtrace runs as root, and where others may write, a name can have been planted: a symbolic link
//! or a hard link to a file that only root may write. So in such a directory no link is followed,
//! and an existing file is written to only if it is ours and has no other name.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::error::{Error, Result};

/// Makes a new file, or empties an old one. `what` is for messages: `recording`.
pub(super) fn create(path: &Path, what: &str) -> Result<File> {
    open(path).map_err(|refusal| {
        let refused = |why: &str, hint| {
            Error::new(format!("cannot create {what} {}: {why}", path.display())).hint(hint)
        };
        match refusal {
            Refusal::Planted(why) => refused(
                why,
                "others may write in its directory, so it may lead elsewhere; name a file in a directory of your own",
            ),
            Refusal::Io(error) => refused(&error.to_string(), "the directory must exist; a file that is there already is replaced"),
        }
    })
}

enum Refusal {
    /// Somebody else may have put there what is there.
    Planted(&'static str),
    Io(io::Error),
}

type Tried<T> = std::result::Result<T, Refusal>;

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn open(path: &Path) -> Tried<File> {
    let name = Path::new(path.file_name().ok_or(ErrorKind::IsADirectory)?);
    let directory = Directory::of(path)?;
    let create = OFlag::O_WRONLY | OFlag::O_CREAT;
    if !directory.shared {
        return directory.open(name, create | OFlag::O_TRUNC);
    }
    match directory.open(name, create | OFlag::O_EXCL) {
        Err(Refusal::Io(error)) if error.kind() == ErrorKind::AlreadyExists => {
            directory.existing(name)
        }
        opened => opened,
    }
}

struct Directory {
    file: File,
    owner: u32,
    /// Others may write there.
    shared: bool,
}

impl Directory {
    /// Walks to the directory of this file.
    fn of(path: &Path) -> Tried<Self> {
        let start = if path.is_absolute() { "/" } else { "." };
        let mut directory = Self::new(
            File::options()
                .read(true)
                .custom_flags(libc::O_PATH)
                .open(start)?,
        )?;
        for step in path.parent().into_iter().flatten() {
            directory = directory.step(Path::new(step))?;
        }
        Ok(directory)
    }

    fn new(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        let trusted = [0, geteuid().as_raw()].contains(&found.uid());
        Ok(Self {
            shared: found.mode() & 0o022 != 0 || !trusted,
            owner: found.uid(),
            file,
        })
    }

    fn step(&self, name: &Path) -> Tried<Self> {
        let follow = OFlag::O_PATH | OFlag::O_DIRECTORY;
        if !self.shared {
            return Ok(Self::new(self.open(name, follow)?)?);
        }
        self.look(name)?;
        Ok(Self::new(self.open(name, follow | OFlag::O_NOFOLLOW)?)?)
    }

    fn open(&self, name: &Path, flags: OFlag) -> Tried<File> {
        let mode = Mode::from_bits_truncate(0o666);
        Ok(openat(&self.file, name, flags | OFlag::O_CLOEXEC, mode)?.into())
    }

    /// What has this name, unless it is a symbolic link.
    fn look(&self, name: &Path) -> Tried<(File, Metadata)> {
        let found = self.open(name, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let metadata = found.metadata()?;
        if metadata.is_symlink() {
            return Err(Refusal::Planted("it is, or lies behind, a symbolic link"));
        }
        Ok((found, metadata))
    }

    /// Opens what is there already. Its owner may be that of the directory: who may replace a file
    /// gains nothing by having it written to.
    fn existing(&self, name: &Path) -> Tried<File> {
        let (found, metadata) = self.look(name)?;
        if metadata.uid() != geteuid().as_raw() && metadata.uid() != self.owner {
            return Err(Refusal::Planted(
                "it is there already and belongs to another user",
            ));
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            return Err(Refusal::Planted(
                "it is there already and has other names (hard links)",
            ));
        }
        // This very file, whatever has its name by now.
        let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(File::options().write(true).truncate(true).open(itself)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    use super::*;

    /// A directory below the temporary one, with this mode.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("twtrace-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // Only a test that failed leaves it.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refused(path: &Path) -> String {
        let error = create(path, "recording").unwrap_err().to_string();
        assert_eq!(error.lines().count(), 2, "{error}");
        assert!(
            error.lines().nth(1).unwrap().starts_with("hint: "),
            "{error}"
        );
        error
    }

    #[test]
    fn nothing_planted_in_a_shared_directory_is_written_through() {
        let (shared, own) = (Place::new("shared", 0o1777), Place::new("own", 0o755));
        let victim = own.file("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, shared.file("link")).unwrap();
        symlink(&own.0, shared.file("directory")).unwrap();
        symlink(own.file("new"), shared.file("dangling")).unwrap();
        fs::hard_link(&victim, shared.file("hard")).unwrap();
        for (name, why) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("directory/victim", "symbolic link"),
            ("directory/new", "symbolic link"),
            ("hard", "hard links"),
        ] {
            let said = refused(&shared.file(name));
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!own.file("new").exists());
    }

    #[test]
    fn another_users_file_in_a_shared_directory_is_refused() {
        let shared = Place::new("others", 0o1777);
        let theirs = shared.file("theirs");
        fs::write(&theirs, "").unwrap();
        let given = chown(&theirs, Some(10_007), None);
        if geteuid().is_root() {
            given.unwrap();
            assert!(refused(&theirs).contains("another user"));
        } else {
            // Only root can give files away, and only root could be abused.
            assert_eq!(given.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn own_files_are_made_and_replaced_anywhere() {
        for (name, mode) in [("all", 0o1777), ("us", 0o755)] {
            let place = Place::new(name, mode);
            let path = place.file("file");
            for text in ["longer than", "this"] {
                io::Write::write_all(&mut create(&path, "file").unwrap(), text.as_bytes()).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), text);
            }
        }
    }

    #[test]
    fn links_in_a_directory_of_our_own_are_followed_as_ever() {
        let own = Place::new("links", 0o755);
        symlink(own.file("target"), own.file("link")).unwrap();
        create(&own.file("link"), "file").unwrap();
        assert!(own.file("target").exists());
        create(Path::new("/dev/null"), "file").unwrap();
    }

    #[test]
    fn what_cannot_be_made_is_one_line_and_a_hint() {
        for path in ["/nonexistent/file", "/", "..", "/proc/self/status/x"] {
            assert!(refused(Path::new(path)).contains("cannot create recording"));
        }
    }
}
