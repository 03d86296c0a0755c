//! What is remembered of a load that has kept nothing: that the source has nothing, or that it failed.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::Cache;
use super::loading::Claimed;
use crate::clock::millis;
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::{Id, Missing, Note};

impl<V: Value> Cache<V> {
    /// Whether a load has found that the source has nothing, so lately that nobody need ask again.
    pub(super) fn is_missing(&self, id: &Id) -> bool {
        let (tiers, inner) = (self.tiers(), &*self.inner);
        let Some(missing) = tiers.fetches.notes.missing(id, tiers.now_ms()) else {
            return false;
        };
        // IMPORTANT: nothing has happened to the key since the load began, or it says nothing.
        let hash = inner.shelf.hash(inner.scope.id, &id.name);
        inner.scope.accepts_load(missing.began, &missing.tags)
            && inner
                .shelf
                .claims(&inner.scope, hash, &id.name, missing.mark)
    }

    fn note(&self, id: Id, note: Note) {
        let (tiers, inner) = (self.tiers(), &*self.inner);
        // Another cache's, too.
        for (id, missing) in tiers.fetches.notes.put(id, note, tiers.now_ms()) {
            let hash = inner.shelf.hash(id.cache, &id.name);
            inner
                .shelf
                .unclaim(&missing.scope, hash, &id.name, missing.mark);
        }
    }
}

impl<V: Value> Claimed<V> {
    /// For so long, or until something happens to the key.
    pub(super) fn note_missing(&self, ttl: Duration, tags: &Arc<[SmolStr]>) {
        let (tiers, inner) = (self.cache.tiers(), &*self.cache.inner);
        if ttl.is_zero() || tiers.config.disabled {
            return;
        }
        let (hash, mark) = (self.hash(), self.claim.mark);
        // The note keeps the claim of the load, which ends with the next change of the key.
        if !inner.shelf.share(&inner.scope, hash, &self.id.name, mark) {
            return;
        }
        let missing = Missing {
            scope: Arc::clone(&inner.scope),
            mark,
            began: self.claim.began,
            tags: Arc::clone(tags),
        };
        let until_ms = tiers.now_ms().saturating_add(millis(ttl));
        self.cache
            .note(self.id.clone(), Note::Missing { missing, until_ms });
    }

    /// What can be shown is not loaded again for so long, or as long as the source asked for.
    pub(super) fn note_failure(&self, error: &Error, throttle: Duration) {
        if throttle.is_zero() || matches!(error, Error::Closed) {
            return;
        }
        let pace = error.retry_after().unwrap_or_default();
        let until_ms = self
            .cache
            .tiers()
            .now_ms()
            .saturating_add(millis(throttle.max(pace)));
        let error = error.clone();
        self.cache
            .note(self.id.clone(), Note::Failed { error, until_ms });
    }
}
