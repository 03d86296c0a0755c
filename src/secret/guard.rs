//! A counter that only goes up, kept where a restored copy of a store cannot bring back an old one. When
//! it is advanced and compared is not its business.

use std::fs::TryLockError;
use std::path::PathBuf;

use super::key::TEXT_BYTES_MAX;
use super::place::{Onto, Place, private};
use super::provider::KeyError;

/// A monotonic counter of the host's, one for each sealed store.
///
/// Sealing shows that a record was changed. It cannot show that the whole directory was replaced by an
/// older copy of itself, in which everything fits together. A counter outside of that copy's reach can: the store
/// remembers the number it has advanced the counter to, and a store that remembers less is an old one.
///
/// It is worth as much as the place where it is kept is hard to turn back: a counter of the TPM or of
/// a secure element, a server that only counts up. Like [`KeyProvider`](super::KeyProvider) it is asked
/// on a storage thread and may block.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use larder::secret::{KeyError, RollbackGuard};
///
/// /// Of a test: it forgets with the process.
/// struct InMemory(AtomicU64);
///
/// impl RollbackGuard for InMemory {
///     fn counter(&self) -> Result<u64, KeyError> {
///         Ok(self.0.load(Ordering::SeqCst))
///     }
///     fn advance(&self, to: u64) -> Result<(), KeyError> {
///         self.0.fetch_max(to, Ordering::SeqCst);
///         Ok(())
///     }
/// }
/// ```
pub trait RollbackGuard: Send + Sync + 'static {
    /// The highest number that it was ever advanced to; 0 if it never was.
    ///
    /// # Errors
    ///
    /// [`KeyError`]. A number that is not known is an error and not 0.
    fn counter(&self) -> Result<u64, KeyError>;

    /// Moves it up to `to`, durably when this returns. At the number where it stands it stays; it never
    /// goes down, whatever is asked and whoever asks at the same time.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: it stands at the old number or, if that cannot be told, at the new one.
    fn advance(&self, to: u64) -> Result<(), KeyError>;
}

/// A [`RollbackGuard`] in a file, for what it is worth: it sees that a store's directory was restored
/// while this file, in another directory, was not.
///
/// It does not stop who may write as the user that the process runs as, nor a copy of the whole disk
/// or machine that is restored: the file goes back with the rest. A file that is removed counts from 0
/// again, which is no alarm. Take a TPM or a server where this matters.
///
/// The file holds the number as text. It is replaced as a whole and is on the device when
/// [`advance`](RollbackGuard::advance) returns; it is read under the same conditions as a
/// [`FileKey`](super::FileKey). A second file beside it, `.NAME.lock`, keeps two processes from
/// advancing it at once.
///
/// ```
/// use larder::secret::{FileGuard, RollbackGuard};
///
/// # let scratch = tempfile::tempdir().expect("a directory");
/// # let elsewhere = scratch.path();
/// let guard = FileGuard::new(elsewhere.join("app.guard"));
/// assert_eq!(guard.counter()?, 0);
/// guard.advance(7)?;
/// assert_eq!(guard.counter()?, 7);
/// assert!(guard.advance(6).is_err());
/// # Ok::<(), larder::secret::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileGuard {
    path: PathBuf,
}

impl FileGuard {
    /// The counter is in the file at `path`, in a directory that is there and is not the store's.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn place(&self) -> Place<'_> {
        Place {
            what: "guard file",
            path: &self.path,
            is_systems: false,
        }
    }
}

impl RollbackGuard for FileGuard {
    fn counter(&self) -> Result<u64, KeyError> {
        let place = self.place();
        let Some(text) = place.read(TEXT_BYTES_MAX)? else {
            return Ok(0);
        };
        let text = std::str::from_utf8(&text).ok();
        let number = text.and_then(|text| text.strip_suffix('\n')?.parse().ok());
        number.ok_or_else(|| {
            KeyError::malformed(
                "it holds no number; if it was damaged, put the number there that the store last had",
            )
            .at(&place)
        })
    }

    fn advance(&self, to: u64) -> Result<(), KeyError> {
        let place = self.place();
        let lock = place.beside(".lock");
        let lock = private().create(true).truncate(false).open(lock);
        let lock = lock.map_err(|error| place.failed("cannot be locked", &error))?;
        // It is given back when `lock` is closed.
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!("{place} is being advanced by another; try again");
                return Err(KeyError::unavailable(reason));
            }
            Err(TryLockError::Error(error)) => return Err(place.failed("cannot be locked", &error)),
        }
        let at = self.counter()?;
        if to < at {
            let reason = format!("{place} stands at {at} and does not go back to {to}");
            return Err(KeyError::refused(reason));
        }
        if to > at {
            place.put(format!("{to}\n").as_bytes(), Onto::Anything)?;
        }
        Ok(())
    }
}
