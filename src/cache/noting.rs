//! What is remembered of a load that has kept nothing: that the source has nothing, or that it failed.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::Cache;
use super::loading::Claimed;
use crate::clock::millis;
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::{DEADLINE_MAX, Id, Note, Noted, Proof};

impl<V: Value> Cache<V> {
    /// What the last load of a key came to, if that was lately and nothing has happened to the key since.
    pub(super) fn noted(&self, id: &Id) -> Option<Noted> {
        let (tiers, inner) = (self.tiers(), &*self.inner);
        let (what, proof) = tiers.fetches.notes.of(id, tiers.now_ms())?;
        // IMPORTANT: since the load began, or it says nothing.
        let hash = inner.shelf.hash(inner.scope.id, &id.name);
        let holds = inner.scope.accepts_load(proof.began, &proof.tags)
            && inner.shelf.claims(&inner.scope, hash, &id.name, proof.mark);
        holds.then_some(what)
    }
}

impl<V: Value> Claimed<V> {
    /// That the source has nothing: for so long, or until something happens to the key.
    pub(super) fn note_missing(&self, ttl: Duration, tags: &Arc<[SmolStr]>) {
        self.note(Noted::Missing, ttl, Arc::clone(tags));
    }

    /// That it failed: what can be shown is not loaded again for so long, or as long as the source asked for, if nobody
    /// else remembers that.
    pub(super) fn note_failure(&self, error: &Error, throttle: Duration, has_source: bool) {
        // A source that is left alone says so itself, and who was turned away did not ask.
        let is_known = matches!(
            error,
            Error::Closed | Error::SourceUnavailable { .. } | Error::Overloaded { .. }
        );
        if throttle.is_zero() || is_known {
            return;
        }
        let pace = error.retry_after().filter(|_| !has_source);
        let pause = throttle.max(pace.unwrap_or_default().min(DEADLINE_MAX));
        self.note(Noted::Failed(error.clone()), pause, Arc::new([]));
    }

    fn note(&self, what: Noted, time: Duration, tags: Arc<[SmolStr]>) {
        let (tiers, inner) = (self.cache.tiers(), &*self.cache.inner);
        let (hash, mark) = (self.hash(), self.claim.mark);
        if time.is_zero() || tiers.config.disabled {
            return;
        }
        // The note keeps the claim of the load, which ends with the next change of the key, or its next load.
        if !inner.shelf.share(&inner.scope, hash, &self.id.name, mark) {
            return;
        }
        let (now_ms, began) = (tiers.now_ms(), self.claim.began);
        let note = Note {
            what,
            proof: Proof {
                scope: Arc::clone(&inner.scope),
                mark,
                began,
                tags,
            },
            until_ms: now_ms.saturating_add(millis(time)),
        };
        // Those that have to go are other caches', too.
        for (id, note) in tiers.fetches.notes.put(self.id.clone(), note, now_ms) {
            let (hash, proof) = (inner.shelf.hash(id.cache, &id.name), note.proof);
            inner
                .shelf
                .unclaim(&proof.scope, hash, &id.name, proof.mark);
        }
    }
}
