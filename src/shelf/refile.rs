//! Storing again what a tier has lost and memory still has (the slot protocol, rule 12, SEMANTICS.md).
//!
//! Bytes are made outside of the lock, so a slot is looked at twice; what has changed between the looks
//! is stored by its own change.

use super::Shelf;
use super::dirty::Dirty;
use super::effects::let_go;
use super::fence::Scope;
use super::look::Look;
use super::room::Room;
use super::slot::{Encoded, Slot};
use super::stripe::Stripe;
use super::taken::NewDirty;
use super::tier::{TierId, TierSet};
use crate::clock::Millis;
use crate::key::{CacheId, Key};
use crate::sync::Arc;
use crate::version::Version;

/// A slot that memory has and a tier has not. Its version stands for its value; its times are looked at
/// again when it is filed.
pub struct Lost {
    hash: u64,
    key: Key,
    version: Version,
}

impl Lost {
    /// The cache that it belongs to.
    pub fn cache(&self) -> CacheId {
        self.key.cache
    }
}

impl Shelf {
    /// What one stripe holds and a tier that was emptied does not: entries that are shown, of the
    /// caches that `stores` names, and that are not on their way there already.
    pub fn lost(
        &self,
        stripe: usize,
        tier: TierId,
        stores: impl Fn(CacheId) -> bool,
        now_ms: Millis,
    ) -> Vec<Lost> {
        let scopes = self.scopes();
        let Some(cell) = self.stripes.get(stripe) else {
            return Vec::new();
        };
        let stripe = cell.stripe.read();
        let residents = stripe.table.iter().filter(|(cache, _, slot)| {
            let scope = scopes.get(cache.0 as usize);
            stores(*cache) && scope.is_some_and(|scope| belongs(scope, *slot, tier, now_ms))
        });
        let lost = residents.map(|(cache, name, slot)| Lost {
            hash: self.hash(cache, name),
            key: Key {
                cache,
                name: name.clone(),
            },
            version: slot.version,
        });
        lost.filter(|lost| !stripe.is_filed(lost.hash, &lost.key, tier))
            .collect()
    }

    /// What `encode` makes of a lost slot, and how many bytes it counts for on its way down. `None` if
    /// it has changed or cannot be encoded.
    pub fn bytes_of(
        &self,
        lost: &Lost,
        encode: impl Fn(&Slot) -> Option<Arc<Encoded>>,
    ) -> Option<(Arc<Encoded>, usize)> {
        let stripe = self.cell(lost.hash).stripe.read();
        let slot = stripe.resident(lost)?.to_slot();
        drop(stripe);
        let tags = slot.extra.as_ref().map_or(0, |extra| extra.tag_bytes());
        let encoded = encode(&slot);
        // It may be the last reference by now.
        let_go(slot);
        let encoded = encoded?;
        let bytes = encoded.payload.len() + tags + lost.key.name.len();
        Some((encoded, bytes))
    }

    /// Files a lost slot for a tier, with its part of the dirty budget. `false` if it has changed.
    pub fn refile(&self, tier: TierId, lost: &Lost, encoded: Arc<Encoded>, room: Room) -> bool {
        let mut stripe = self.cell(lost.hash).stripe.write();
        let filed = stripe.refile(tier, lost, encoded, room);
        drop(stripe);
        let is_filed = filed.is_ok();
        match filed {
            Ok(superseded) => let_go(superseded),
            Err(unused) => let_go(unused),
        }
        if is_filed {
            self.bells.dirty.ring();
        }
        is_filed
    }
}

fn belongs(scope: &Scope, slot: Look<'_>, tier: TierId, now_ms: Millis) -> bool {
    slot.keep_ms() > now_ms && !slot.skipped().has(tier) && scope.accepts(slot.version, slot.tags())
}

impl Stripe {
    fn resident(&self, lost: &Lost) -> Option<Look<'_>> {
        let key = &lost.key;
        let slot = self.table.peek(lost.hash, key.cache, &key.name)?;
        (slot.version == lost.version).then_some(slot)
    }

    /// Whether the tier is to be told of the key anyway; a deletion that others wait for stands in the
    /// way of a value.
    fn is_filed(&self, hash: u64, key: &Key, tier: TierId) -> bool {
        let dirty = self.dirty.get(hash, key.cache, &key.name);
        dirty.is_some_and(|d| d.tiers().has(tier) || d.value.is_none())
    }

    /// Returns what it replaces, or all that it was given if the slot has changed: the bytes may be a driver's.
    fn refile(
        &mut self,
        tier: TierId,
        lost: &Lost,
        encoded: Arc<Encoded>,
        mut room: Room,
    ) -> Result<Option<Dirty>, (Arc<Encoded>, Room)> {
        let (hash, cache, name) = (lost.hash, lost.key.cache, lost.key.name.as_str());
        let is_filed = self.is_filed(hash, &lost.key, tier);
        // A new one: what was taken of this slot before may still be settled.
        let stamp = self.stamp();
        let slot = match self.table.peek(hash, cache, name) {
            Some(slot) if slot.version == lost.version && !is_filed => slot.to_slot(),
            _ => return Err((encoded, room)),
        };
        // It may be on its way to other tiers.
        let (mut put, mut delete) = (TierSet::NONE, TierSet::NONE);
        if let Some(others) = self.dirty.get_mut(hash, cache, name) {
            (put, delete) = (others.put, others.delete);
            room.join(std::mem::take(&mut others.room));
        }
        let new = NewDirty {
            key: lost.key.clone(),
            version: slot.version,
            stamp,
            value: Some((slot, encoded)),
            put: put.with(tier),
            delete,
            heals: false,
            waiters: Vec::new(),
            room,
        };
        Ok(self.dirty.put(hash, new))
    }
}
