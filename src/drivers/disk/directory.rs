//! The directory: locked, made for its owner alone, and cleared of what nobody needs.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::open::{LOCK, SEALED_HEADER, failure, path_failure};
use super::store::Verdict;
use crate::drivers::Failure;

/// Holds the lock of a directory.
///
/// Given back in so many words: a process that the host starts meanwhile has the file, too, until it runs
/// its own program, and closing it here would leave the directory locked for so long.
pub struct DirLock(pub(super) File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // What cannot be unlocked is closed all the same.
        let _ = self.0.unlock();
    }
}

/// Locks a directory, which is made if it is not there.
pub fn lock(dir: &Path) -> Result<DirLock, Failure> {
    private_dir(dir).map_err(|e| path_failure(dir, &e))?;
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(|e| path_failure(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => {
            Err(failure(dir, Verdict::Locked, "the directory is in use"))
        }
        Err(TryLockError::Error(e)) => Err(path_failure(&path, &e)),
    }
}

/// Removes a directory with what is in it, if it is there.
pub fn remove_leftovers(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(path_failure(path, &e)),
        _ => Ok(()),
    }
}

/// Refuses a directory whose store is sealed: what is not sealed must not get into it.
pub fn refuse_sealed(dir: &Path) -> Result<(), Failure> {
    let header = dir.join(SEALED_HEADER);
    match header.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::fatal(format!(
            "{}: the store here is sealed; open it with `encrypted` or `secure` and its master key, or give \
             another directory; nothing was overwritten",
            dir.display()
        ))),
        Err(e) => Err(path_failure(&header, &e)),
    }
}

/// Removes the store of a locked directory, and those that were kept aside.
#[cfg(feature = "secure")]
pub fn erase(dir: &Path) -> Result<(), Failure> {
    use super::open::{QUARANTINED, STORE};
    let entries = std::fs::read_dir(dir).map_err(|e| path_failure(dir, &e))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == STORE || name.to_string_lossy().starts_with(QUARANTINED) {
            remove_leftovers(&entry.path())?;
        }
    }
    sync_dir(dir).map_err(|e| path_failure(dir, &e))
}

/// Creates what is missing of `path`, for its owner alone; leaves alone what is there.
pub fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file.
#[cfg(not(unix))]
pub fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}
