//! Small files that only their owner may read: opening one without being tricked, and putting one in
//! place whole or not at all. What they hold is not its business.
//!
//! Outside of Unix neither the owner nor who else may read is checked, a link that takes the file's place
//! while it is opened is followed, and the directory is not synced.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::provider::KeyError;

const NOT_PLAIN: &str = "is not a plain file";

/// A file, and what it is called in errors.
pub(super) struct Place<'a> {
    pub(super) what: &'static str,
    pub(super) path: &'a Path,
    /// The system may own it, and its group may read it.
    pub(super) is_systems: bool,
}

/// Whether a file may take the place of one that is there.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Onto {
    Nothing,
    Anything,
}

/// Why a file could not be opened.
#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "what cannot be told apart there")
)]
enum Closed {
    Link,
    /// It is something that is not opened like a file, as a socket.
    Unlike,
    Other(io::Error),
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

impl Place<'_> {
    /// All of the file, if it has at most `bytes_max` bytes; `None` if there is no file.
    pub(super) fn read(&self, bytes_max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
        let file = match open(self.path) {
            Ok(file) => file,
            Err(Closed::Link) => {
                return Err(self.refused("is a symbolic link; name the file itself"));
            }
            Err(Closed::Unlike) => return Err(self.refused(NOT_PLAIN)),
            Err(Closed::Other(error)) if is_missing(&error) => return Ok(None),
            Err(Closed::Other(error)) => return Err(self.failed("cannot be opened", &error)),
        };
        let unread = |error: io::Error| self.failed("cannot be read", &error);
        self.vet(&file.metadata().map_err(unread)?)?;
        // Room for all of it at once: what a buffer outgrows is not overwritten.
        let mut text = Zeroizing::new(Vec::with_capacity(bytes_max + 64));
        let limit = bytes_max as u64 + 1;
        file.take(limit).read_to_end(&mut text).map_err(unread)?;
        if text.len() > bytes_max {
            let reason = format!("{self}: it is too long, more than {bytes_max} bytes");
            return Err(KeyError::malformed(reason));
        }
        Ok(Some(text))
    }

    /// Writes a file with all of `text`, on the device when this returns. `false` if there is one
    /// already, which is left as it is.
    pub(super) fn put(&self, text: &[u8], onto: Onto) -> Result<bool, KeyError> {
        let unmade = |error: io::Error| self.failed("cannot be written", &error);
        let (unfinished, mut file) = self.unfinished().map_err(|error| {
            if is_missing(&error) {
                let reason = format!("{self} cannot be written: make its directory first");
                return KeyError::missing(reason);
            }
            unmade(error)
        })?;
        // Before anything secret is in it: some file systems know no owners.
        self.vet(&file.metadata().map_err(unmade)?)?;
        file.write_all(text).map_err(unmade)?;
        file.sync_all().map_err(unmade)?;
        let placed = match onto {
            Onto::Anything => fs::rename(&unfinished.0, self.path),
            Onto::Nothing => fs::hard_link(&unfinished.0, self.path),
        };
        let is_new = match placed {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(unmade(error)),
        };
        drop(unfinished);
        // Also by who was second: nothing may depend on a name that the device has not got.
        self.sync_name().map_err(unmade)?;
        Ok(is_new)
    }

    /// Has the device keep the names in the file's directory.
    #[cfg(unix)]
    pub(super) fn sync_name(&self) -> io::Result<()> {
        File::open(self.directory())?.sync_all()
    }

    /// Elsewhere a directory cannot be opened as a file.
    #[cfg(not(unix))]
    pub(super) fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }

    /// The file's name with `ending`, in the same directory.
    pub(super) fn beside(&self, ending: &str) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(ending);
        self.directory().join(name)
    }

    fn directory(&self) -> &Path {
        let parent = self.path.parent();
        let named = parent.filter(|parent| !parent.as_os_str().is_empty());
        named.unwrap_or(Path::new("."))
    }

    /// A file of another name that only its owner may read. It was not there before.
    fn unfinished(&self) -> io::Result<(Unfinished, File)> {
        let path = self.beside(&format!(".{:016x}.tmp", fastrand::u64(..)));
        let file = private().create_new(true).open(&path)?;
        let unfinished = Unfinished(path);
        // The process may be set to take even the owner's rights from new files.
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok((unfinished, file))
    }

    /// Refuses what is no plain file of this user's alone.
    fn vet(&self, found: &Metadata) -> Result<(), KeyError> {
        if !found.is_file() {
            return Err(self.refused(NOT_PLAIN));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
            if owner != user && !(self.is_systems && owner == 0) {
                return Err(self.refused(&format!(
                    "belongs to user {owner}, and this process runs as user {user}; have it belong to that one"
                )));
            }
            let mode = found.mode() & 0o777;
            let others = if self.is_systems { 0o037 } else { 0o077 };
            if mode & others != 0 {
                return Err(self.refused(&format!(
                    "may be used by others than its owner (mode {mode:04o}); run `chmod 600` on it"
                )));
            }
        }
        Ok(())
    }

    fn refused(&self, why: &str) -> KeyError {
        KeyError::refused(format!("{self} {why}"))
    }

    pub(super) fn failed(&self, what: &str, error: &io::Error) -> KeyError {
        let reason = format!("{self} {what}: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied => KeyError::refused(reason),
            _ => KeyError::unavailable(reason),
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.what, self.path)
    }
}

/// A file that is not in its place yet. What is dropped is removed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone already if it was renamed. If it stays it is its owner's alone and no one's key.
        let _ = fs::remove_file(&self.0);
    }
}

/// For writing; a file that this makes is its owner's alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

/// Opens what stands at `path` itself and no link's target, without waiting for anybody: a pipe without
/// a writer would have it wait for ever.
#[cfg(unix)]
fn open(path: &Path) -> Result<File, Closed> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::{Errno, retry_on_intr};
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(file) => Ok(file.into()),
        // FreeBSD says `MLINK`.
        Err(Errno::LOOP | Errno::MLINK) => Err(Closed::Link),
        Err(Errno::NXIO | Errno::OPNOTSUPP) => Err(Closed::Unlike),
        Err(error) => Err(Closed::Other(error.into())),
    }
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<File, Closed> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(Closed::Link);
    }
    Ok(File::open(path)?)
}
