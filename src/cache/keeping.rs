//! What becomes of a source's answer: it is kept if it may be, and if not, nothing older is left either.

use std::sync::Arc;
use std::time::Duration;

use super::fetched::Stored;
use super::loading::{Brought, Claimed, LoadSays, Looked, There};
use super::prepare::EntryOptions;
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{Loaded, What, is_reserved};
use crate::outcome::Durability;
use crate::shelf::{Change, Condition};
use crate::tiers::{Counts, Order};

/// How long those who wait for a value wait for room to store it.
pub(super) const ROOM_MAX: Duration = Duration::from_millis(100);

impl<V: Value> Claimed<V> {
    /// Keeps what a source has answered, if it may be kept, and remembers what is worth it if there is nothing to keep.
    pub(super) async fn settle(
        &self,
        says: &LoadSays,
        answer: Result<Loaded<V>, Error>,
        seen: Looked<V>,
    ) -> Result<Brought<V>, Error> {
        let has_fallback = seen.there.is_some();
        let loaded = match answer {
            Ok(loaded) => loaded,
            Err(error) => {
                if has_fallback {
                    let has_source = says.attempts.source.is_some();
                    self.note_failure(&error, says.throttle, has_source);
                }
                return Err(error);
            }
        };
        let missing_ttl = match &loaded {
            Loaded {
                what: What::Missing,
                keeps: true,
                ttl,
                ..
            } => ttl.map_or(says.missing_ttl, |ttl| ttl.unwrap_or(Duration::MAX)),
            _ => Duration::ZERO,
        };
        let is_there = has_fallback || seen.is_unsure;
        let mut brought = self.keep(says.entry.clone(), loaded, seen.there).await?;
        // IMPORTANT: what is shown and not kept must not leave something older to be shown after it.
        let leaves_older = matches!(brought.stored, Stored::No | Stored::Refused(_));
        if leaves_older && is_there {
            let removed = self.remove().await;
            if brought.entry.is_none() {
                brought.stored = removed;
            }
        }
        let counts = &self.cache.tiers().fetches.counts;
        match &brought.stored {
            Stored::Fenced => Counts::add(&counts.fenced),
            Stored::Refused(_) => Counts::add(&counts.not_stored),
            // Nothing older is left that anybody could be shown.
            Stored::Yes | Stored::No if brought.entry.is_none() => {
                self.note_missing(missing_ttl, &brought.tags);
            }
            Stored::Yes | Stored::No => {}
        }
        Ok(brought)
    }

    /// Stores what was loaded, if it may be.
    async fn keep(
        &self,
        mut entry: EntryOptions,
        loaded: Loaded<V>,
        there: Option<There<V>>,
    ) -> Result<Brought<V>, LoadError> {
        let (tiers, version) = (self.cache.tiers(), self.claim.began);
        entry.ttl = loaded.ttl.or(entry.ttl);
        entry.tags.extend(loaded.tags);
        entry.validator = loaded.validator;
        let value = match (loaded.what, there) {
            (What::Value(value), _) => value,
            (What::NotModified, Some(there)) => {
                // It is the same entry with other times.
                entry.priority = entry.priority.or(Some(there.slot.priority));
                let tags = there.slot.tags().iter();
                let (reserved, tags): (Vec<_>, Vec<_>) =
                    tags.cloned().partition(|tag| is_reserved(tag));
                entry.validator = entry.validator.or_else(|| reserved.into_iter().next());
                let own = tags.clone();
                entry.tags.extend(tags);
                entry.tags.sort_unstable();
                entry.tags.dedup();
                if entry.tags.len() > tiers.config.limits.tags_per_entry_max {
                    // What was just found right is not lost for names that it did without.
                    entry.tags = own;
                }
                there.entry.into_value()
            }
            (What::NotModified, None) => {
                let reason = "the loader says that nothing was modified, and there was nothing";
                return Err(LoadError::new(ErrorClass::Bug, reason));
            }
            (What::Missing, _) => {
                Counts::add(&tiers.fetches.counts.missing);
                return Ok(Brought {
                    entry: None,
                    attempts: 0,
                    queued: Duration::ZERO,
                    version,
                    tags: entry.tags.into(),
                    stored: Stored::No,
                });
            }
        };
        let now_ms = tiers.now_ms();
        let prepared = self.cache.prepare(Arc::clone(&value), &entry, now_ms);
        let expires_ms = match &prepared {
            Ok(draft) => draft.expires_ms,
            // Nobody keeps it: what it says of its time is the host's own to believe.
            Err(_) => now_ms,
        };
        let shown = Entry::fetched(value, version, now_ms, expires_ms);
        let stored = match prepared {
            Ok(_) if !loaded.keeps => Stored::No,
            Ok(draft) => self.store(Change::Fetched(draft, version)).await,
            Err(error) => Stored::Refused(error),
        };
        Ok(Brought {
            entry: Some(shown),
            attempts: 0,
            queued: Duration::ZERO,
            version,
            tags: entry.tags.into(),
            stored,
        })
    }

    /// Removes what is older than what was loaded.
    async fn remove(&self) -> Stored {
        // A fence leaves the claim alone.
        if !self.cache.inner.scope.accepts_load(self.claim.began, &[]) {
            return Stored::Fenced;
        }
        match self.store(Change::Remove).await {
            Stored::Refused(_) => {
                let (tiers, place) = (self.cache.tiers(), self.cache.place());
                let order = self.order(Change::Remove);
                tiers
                    .without_room(place, order)
                    .map_or_else(Stored::Refused, |()| Stored::Yes)
            }
            stored => stored,
        }
    }

    fn order(&self, change: Change) -> Order<'_> {
        Order {
            name: &self.id.name,
            change,
            condition: Condition::Flight(self.claim.mark),
            targets: None,
            durability: Durability::Queued,
            by_name: false,
            ticket: None,
            wait: Some(self.room),
        }
    }

    async fn store(&self, change: Change) -> Stored {
        let tiers = self.cache.tiers();
        if tiers.config.disabled {
            return Stored::No;
        }
        let order = self.order(change);
        match tiers.write(self.cache.place(), order).await {
            Ok(_) => Stored::Yes,
            Err(Error::Conflict { .. }) => Stored::Fenced,
            Err(error) => Stored::Refused(error),
        }
    }
}
