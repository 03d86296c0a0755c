//! Storage drivers: passive stores that know bytes, blocking calls and nothing else.
//!
//! A driver never sees an actor, a runtime or a value. larder calls it from threads of its own:
//! reads from several at once, everything that writes from exactly one (the commit lane).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Millis;
use crate::version::Version;

mod answers;
#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(feature = "disk")]
pub mod disk;
#[cfg(feature = "test-util")]
pub mod faults;
pub mod lanes;
pub mod map;
pub mod pulse;
mod queue;
#[cfg(feature = "secure")]
pub mod sealed;

pub use answers::{Reclaimed, Upkeep, Usage, Walked};

/// A store that larder can use as a tier. See `examples/custom_driver.rs` for a whole one, and
/// `drivers::conformance` (feature `test-util`) for what it must pass.
///
/// Calls block; larder never makes them on a host's thread. [`commit`](Driver::commit),
/// [`reclaim`](Driver::reclaim) and [`reserve`](Driver::reserve) are called from one thread only, one
/// at a time; the reading calls come from other threads meanwhile and must not wait for a commit.
/// A panic in any of them is caught and treated as [`Failure::Reopen`].
pub trait Driver: Send + Sync + 'static {
    /// The record filed under `key`.
    ///
    /// # Errors
    ///
    /// [`Failure`], which tells larder whether to try again, reopen or give up.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure>;

    /// The records filed under `keys`, in their order, as they stood at one moment.
    ///
    /// Left as it is, it gets one after the other: a batch that is committed meanwhile may be seen in
    /// part. larder promises nothing across the keys of one call, so that is slower and not wrong.
    ///
    /// # Errors
    ///
    /// As [`get`](Driver::get); one failure fails the call.
    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Applies all of `batch`, in order, or none of it.
    ///
    /// With `durability` [`Written`](StoreDurability::Written) it must survive the death of the
    /// process, with [`Synced`](StoreDurability::Synced) the loss of power; so must every commit
    /// before it.
    ///
    /// # Errors
    ///
    /// A failure means *unknown*: larder commits the same keys again, with the newest values.
    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure>;

    /// Records in the order of their keys, as they stood at one moment: those that begin with
    /// `prefix` and are strictly greater than `after` (an empty `after` starts at the beginning),
    /// until `count_max` records or about `bytes_max` bytes (but at least one).
    ///
    /// # Errors
    ///
    /// As [`get`](Driver::get).
    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure>;

    /// Records in an order of the store's own, as [`scan`](Driver::scan) gives them: for whoever wants all
    /// of them once, at whatever price is lowest. An empty `from` begins; then it is where the last call ended.
    ///
    /// Left as it is, it scans.
    ///
    /// # Errors
    ///
    /// As [`get`](Driver::get).
    fn walk(&self, from: &[u8], page: PageLimit) -> Result<Walked, Failure> {
        let records = self.scan(b"", from, page)?;
        let next = records.last().map(|(key, _)| key.clone());
        Ok(Walked { records, next })
    }

    /// Deletes records whose `keep_ms` (as it was given with [`Write::Put`]) is at or before
    /// `now_ms`, at most `count_max` of them, without reading every record, and says which.
    ///
    /// A store without an index of expiry may leave this as it is: larder then answers misses for
    /// expired records all the same, and their space returns when they are overwritten.
    ///
    /// # Errors
    ///
    /// As [`commit`](Driver::commit).
    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        let _ = (now_ms, count_max);
        Ok(Reclaimed::default())
    }

    /// How much is stored.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Remembers `mark` beside the data, durably: a version that no version of this process will
    /// exceed before the next call, and the time. Called about twice a minute.
    ///
    /// # Errors
    ///
    /// As [`commit`](Driver::commit); larder goes on and tries again.
    fn reserve(&self, mark: Watermark) -> Result<(), Failure>;

    /// The mark that was remembered last, by this process or an earlier one.
    fn reserved(&self) -> Watermark;

    /// Does a part of what the store has to do for itself, if there is anything, by the thread that commits.
    /// It is called again while it says that there is more, with room for others in between.
    ///
    /// # Errors
    ///
    /// As [`commit`](Driver::commit).
    fn upkeep(&self, page: PageLimit) -> Result<Upkeep, Failure> {
        let _ = page;
        Ok(Upkeep::default())
    }

    /// Rewrites what is stored so that nothing that was deleted or replaced is left in its files. May take
    /// minutes; called on a thread of its own, while others go on.
    ///
    /// # Errors
    ///
    /// [`Failure`]; it is tried again 15 seconds after [`Failure::Full`], and after any other twice as long as the last
    /// time, up to an hour. [`Failure::Reopen`] has the store opened anew, as from any call.
    fn scrub(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// What became, when this instance was opened, of what had been stored before. A driver that
    /// wraps another one must hand this on.
    fn opened(&self) -> Opening {
        Opening::default()
    }
}

/// What a driver found when it was opened. By default: everything that was stored before.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Opening {
    /// It lost what it had, but for what could be proven of it.
    pub emptied: Option<Emptied>,
}

/// A store that begins anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emptied {
    /// Why what was there before is not believed, or that it is gone.
    pub reason: String,
    /// Where it is kept; `None` if there is nothing of it.
    pub kept: Option<String>,
    /// Records that could be proven and were taken over; 0 only if nothing at all is in the new store.
    pub salvaged: u64,
}

/// One change of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// File `record` under `key`, replacing what was there.
    Put {
        /// The key.
        key: Bytes,
        /// The record.
        record: Bytes,
        /// Its version, so that an index need not read the record.
        version: Version,
        /// When it may be reclaimed; `NEVER` for records that stay.
        keep_ms: Millis,
    },
    /// Delete what is filed under `key`, if anything is.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Shows lengths, never a key or a value.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key().len();
        match self {
            Self::Put {
                record, version, ..
            } => write!(
                f,
                "Put({key} bytes of key, {} of record, {version})",
                record.len()
            ),
            Self::Delete { .. } => write!(f, "Delete({key} bytes of key)"),
        }
    }
}

impl Write {
    /// The key it changes.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Bytes of key and record.
    pub fn weight(&self) -> usize {
        match self {
            Self::Put { key, record, .. } => key.len() + record.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// What a finished commit survives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StoreDurability {
    /// The death of the process.
    Written,
    /// The loss of power.
    Synced,
}

/// Bounds of one page of a scan.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    /// Most records.
    pub count_max: usize,
    /// About how many bytes of records; at least one record is returned.
    pub bytes_max: usize,
}

/// What a store remembers for its next opening.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Watermark {
    /// No version issued so far is above it. 0 for a new store.
    pub ceiling: u64,
    /// The time when it was written, in unix milliseconds.
    pub clock_ms: Millis,
}

/// Why a driver's call failed, as an instruction to its supervisor.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The same call may work on the same driver.
    #[error("{reason}")]
    Retry {
        /// What happened.
        reason: String,
        /// How long to wait first.
        after: Duration,
    },
    /// There is no room for new values. Reads and deletions may go on.
    #[error("{reason}")]
    Full {
        /// What happened and what would help.
        reason: String,
    },
    /// This instance is of no more use; a new one from the factory may be.
    #[error("{reason}")]
    Reopen {
        /// What happened.
        reason: String,
    },
    /// It will not work until somebody changes something.
    #[error("{reason}")]
    Fatal {
        /// What happened and what would help.
        reason: String,
    },
}

impl Failure {
    /// A [`Failure::Reopen`] with this reason.
    pub fn reopen(reason: impl ToString) -> Self {
        Self::Reopen {
            reason: reason.to_string(),
        }
    }

    /// A [`Failure::Full`] with this reason.
    pub fn full(reason: impl ToString) -> Self {
        Self::Full {
            reason: reason.to_string(),
        }
    }

    /// A [`Failure::Fatal`] with this reason.
    pub fn fatal(reason: impl ToString) -> Self {
        Self::Fatal {
            reason: reason.to_string(),
        }
    }
}

/// Makes a driver: opens the store. Called at start and again after each failure that asks for it,
/// on a storage thread, never while an earlier instance still exists.
pub type Factory = std::sync::Arc<dyn Fn() -> Result<Box<dyn Driver>, Failure> + Send + Sync>;
