//! What a watcher receives: typed events with the old and the new value.

use std::fmt;

use crate::clock::Millis;
use crate::codec::Value;
use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::shelf::{EventKind, Freshness, OldSlot, RawEvent, Slot};
use crate::typed;
use crate::version::Version;

/// One thing a watcher is told. `Debug` shows neither keys nor values.
#[non_exhaustive]
pub enum EntryEvent<V> {
    /// Something happened to an entry.
    Changed(Change<V>),
    /// The watcher was too slow, or the hub was restarted: so many events are missing (0 if nobody
    /// can tell). Snapshots of what is there now follow.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// What is there now; `None` if nothing is.
    Snapshot {
        /// The key.
        key: String,
        /// Its entry.
        entry: Option<Entry<V>>,
    },
    /// The snapshots that should follow a [`Lagged`](EntryEvent::Lagged) could not be read (to the
    /// end); changes go on.
    SnapshotFailed(Error),
}

/// One change of one entry. Per key, changes arrive in the order of their versions.
pub struct Change<V> {
    /// The key; for [`EventKind::Cleared`] empty, or the tag that was invalidated.
    pub key: String,
    /// What happened.
    pub kind: EventKind,
    /// The version of the mutation, or of the entry that expired or was evicted.
    pub version: Version,
    /// The value before.
    pub old: Old<V>,
    /// The value after; `None` if there is none.
    pub new: Option<Entry<V>>,
    /// When, in unix milliseconds.
    pub at_ms: Millis,
}

/// The value before a change.
pub enum Old<V> {
    /// There was none.
    None,
    /// There may have been one in a store; it was not read for this.
    NotLoaded,
    /// It was this.
    Known(Entry<V>),
}

impl<V> Old<V> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&Entry<V>> {
        match self {
            Self::Known(entry) => Some(entry),
            _ => None,
        }
    }
}

impl<V: Value> Change<V> {
    /// The typed form of an event. Values of another type or schema are left out.
    pub(crate) fn from_raw(raw: &RawEvent, schema: u32) -> Self {
        let entry = |slot: &Slot| {
            typed::entry::<V>(slot, schema, Freshness::Fresh, Source::Memory, raw.at_ms).ok()
        };
        Self {
            key: raw.key.name.to_string(),
            kind: raw.kind,
            version: raw.version,
            old: match &raw.old {
                OldSlot::None => Old::None,
                OldSlot::NotLoaded => Old::NotLoaded,
                OldSlot::Known(slot) => entry(slot).map_or(Old::NotLoaded, Old::Known),
            },
            new: raw.new.as_ref().and_then(entry),
            at_ms: raw.at_ms,
        }
    }
}

impl<V> fmt::Debug for EntryEvent<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(change) => change.fmt(f),
            Self::Lagged { missed } => f.debug_struct("Lagged").field("missed", missed).finish(),
            Self::Snapshot { entry, .. } => f
                .debug_struct("Snapshot")
                .field("entry", entry)
                .finish_non_exhaustive(),
            Self::SnapshotFailed(error) => f.debug_tuple("SnapshotFailed").field(error).finish(),
        }
    }
}

impl<V> fmt::Debug for Change<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("old", &self.old)
            .field("new", &self.new)
            .field("at_ms", &self.at_ms)
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Old<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::NotLoaded => f.write_str("NotLoaded"),
            Self::Known(entry) => entry.fmt(f),
        }
    }
}
