//! What a watcher receives: typed events with the old and the new value.

use std::fmt;

use crate::clock::Millis;
use crate::codec::Value;
use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::shelf::{EventKind, Freshness, OldSlot, RawEvent, Slot};
use crate::typed::Form;
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
    pub(crate) fn from_raw(raw: &RawEvent, form: &Form<V>) -> Self {
        let entry = |slot: &Slot| {
            let entry = form.entry(slot, Freshness::Fresh, Source::Memory, raw.at_ms);
            entry.ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::shelf::Priority;
    use crate::typed;
    use std::sync::Arc;

    fn entry(value: &str) -> Entry<String> {
        let slot = Slot {
            version: Version::at(7),
            created_ms: 3,
            expires_ms: NEVER,
            body: typed::erase(Arc::new(value.to_owned())),
            extra: None,
            weight: 1,
            schema: 0,
            priority: Priority::Normal,
            announced: false,
        };
        let form = Form::of_schema(0);
        form.entry(&slot, Freshness::Fresh, Source::Memory, 5)
            .unwrap()
    }

    fn change(old: Old<String>, new: Option<Entry<String>>) -> EntryEvent<String> {
        EntryEvent::Changed(Change {
            key: "secret key".into(),
            kind: EventKind::Updated,
            version: Version::at(8),
            old,
            new,
            at_ms: 9,
        })
    }

    #[test]
    fn debug_says_what_happened_and_shows_neither_keys_nor_values() {
        let known = || Old::Known(entry("secret"));
        let shows: [(EntryEvent<String>, &[&str]); 6] = [
            (
                change(Old::None, None),
                &["Updated", "old: None", "at_ms: 9"],
            ),
            (change(Old::NotLoaded, None), &["old: NotLoaded"]),
            (
                change(known(), Some(entry("secret"))),
                &["old: Entry", "new: Some(Entry", "created_ms: 3"],
            ),
            (EntryEvent::Lagged { missed: 4 }, &["Lagged", "missed: 4"]),
            (
                EntryEvent::Snapshot {
                    key: "secret key".into(),
                    entry: Some(entry("secret")),
                },
                &["Snapshot", "entry: Some(Entry"],
            ),
            (
                EntryEvent::SnapshotFailed(Error::Closed),
                &["SnapshotFailed", "Closed"],
            ),
        ];
        for (event, parts) in shows {
            let shown = format!("{event:?}");
            for part in parts {
                assert!(shown.contains(part), "{shown:?} does not say {part:?}");
            }
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn only_a_known_old_value_is_one() {
        assert_eq!(Old::Known(entry("a")).known().unwrap().as_str(), "a");
        assert!(Old::<String>::None.known().is_none());
        assert!(Old::<String>::NotLoaded.known().is_none());
    }

    #[test]
    fn a_clone_of_an_entry_shares_its_value_and_says_the_same() {
        let entry = entry("a");
        let clone = entry.clone();
        assert!(Arc::ptr_eq(entry.value(), clone.value()));
        assert_eq!(format!("{clone:?}"), format!("{entry:?}"));
        assert_eq!(clone.age(), entry.age());
    }
}
