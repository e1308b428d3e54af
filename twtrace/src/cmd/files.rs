//! Files that the user names, opened for writing.
//!
//! twtrace runs as root, and where others may write, a name can have been planted: a symbolic link
//! or a hard link to a file that only root may write. So in such a directory no link is followed,
//! and an existing file is written to only if it is ours and has no other name.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, UnlinkatFlags, access, geteuid, unlinkat};

use crate::error::{Error, Result, why};

/// Makes a new file, or empties an old one.
pub(super) fn create(path: &Path) -> Result<File> {
    open(path)?.empty()
}

/// A file that can be written. Until [`Opened::empty`], an old one is as it was, and a new one
/// goes when this is dropped.
pub(super) struct Opened {
    file: File,
    path: PathBuf,
    /// Where it was made, if it was.
    made_in: Option<Directory>,
}

/// Opens a file before it is certain that there will be something to write.
pub(super) fn open(path: &Path) -> Result<Opened> {
    opened(path).map_err(|refusal| refusal.of(path))
}

/// Whether a file could be made that must not be there yet.
pub(super) fn check(path: &Path) -> Result<()> {
    let checked = || -> Tried<()> {
        name_of(path)?;
        let directory = Directory::of(path)?;
        let itself = format!("/proc/self/fd/{}", directory.file.as_raw_fd());
        Ok(access(
            itself.as_str(),
            AccessFlags::W_OK | AccessFlags::X_OK,
        )?)
    };
    checked().map_err(|refusal| refusal.of(path))
}

impl Opened {
    /// What it is called, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, with nothing in it.
    pub(super) fn empty(mut self) -> Result<File> {
        self.made_in = None;
        // A pipe or a device has no length.
        let emptied = self
            .file
            .metadata()
            .and_then(|found| match found.is_file() {
                true => self.file.set_len(0),
                false => Ok(()),
            });
        let file = emptied.and_then(|()| self.file.try_clone());
        file.map_err(|error| Refusal::Io(error).of(&self.path))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let (Some(directory), Ok(name)) = (&self.made_in, name_of(&self.path)) {
            // In vain: an empty file is left.
            let _ = unlinkat(&directory.file, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

enum Refusal {
    /// Somebody else may have put there what is there.
    Planted(&'static str),
    Io(io::Error),
}

impl Refusal {
    fn of(self, path: &Path) -> Error {
        let (why, hint) = match self {
            Self::Planted(why) => (
                why.to_owned(),
                "others may write in its directory, so it may lead elsewhere; name a file in a directory of your own",
            ),
            Self::Io(error) => (
                why(&error),
                "the directory must exist; a file that is there already is replaced",
            ),
        };
        Error::new(format!("cannot write {}: {why}", path.display())).hint(hint)
    }
}

type Tried<T> = std::result::Result<T, Refusal>;

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn name_of(path: &Path) -> io::Result<&Path> {
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
    Ok(Path::new(name))
}

fn opened(path: &Path) -> Tried<Opened> {
    let name = name_of(path)?;
    let directory = Directory::of(path)?;
    let create = OFlag::O_WRONLY | OFlag::O_CREAT;
    let (file, made_in) = match directory.open(name, create | OFlag::O_EXCL) {
        Ok(file) => (file, Some(directory)),
        Err(Refusal::Io(error)) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Refusal::Io(error));
        }
        Err(_) if directory.shared => (directory.existing(name)?, None),
        Err(_) => (directory.open(name, create)?, None),
    };
    Ok(Opened {
        file,
        path: path.to_owned(),
        made_in,
    })
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
        Ok(File::options().write(true).open(itself)?)
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
        let error = create(path).unwrap_err().to_string();
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
                io::Write::write_all(&mut create(&path).unwrap(), text.as_bytes()).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), text);
            }
        }
    }

    #[test]
    fn links_in_a_directory_of_our_own_are_followed_as_ever() {
        let own = Place::new("links", 0o755);
        symlink(own.file("target"), own.file("link")).unwrap();
        create(&own.file("link")).unwrap();
        assert!(own.file("target").exists());
        create(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn what_cannot_be_made_is_one_line_and_a_hint() {
        for path in ["/nonexistent/file", "/", "..", "/proc/self/status/x"] {
            assert!(refused(Path::new(path)).contains(&format!("cannot write {path}: ")));
            assert!(check(Path::new(path)).is_err(), "{path}");
        }
        let missing = refused(Path::new("/nonexistent/file"));
        assert!(missing.starts_with("cannot write /nonexistent/file: No such file or directory\n"));
    }

    #[test]
    fn until_it_is_certain_nothing_is_lost_and_nothing_is_left() {
        let own = Place::new("early", 0o755);
        let (old, new) = (own.file("old"), own.file("new"));
        fs::write(&old, "precious").unwrap();
        drop((open(&old).unwrap(), open(&new).unwrap()));
        assert_eq!(fs::read_to_string(&old).unwrap(), "precious");
        assert!(!new.exists());
        check(&new).unwrap();
        assert!(!new.exists());
        for path in [&old, &new] {
            open(path).unwrap().empty().unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), "");
        }
    }
}
