//! What a driver has lost is stored again from memory (the slot protocol, rule 12, SEMANTICS.md).
//!
//! A free repair, so it gives way to everything else: it takes at most half of the dirty budget, and
//! ends with the generation that it is for.

use std::time::Duration;

use hashbrown::HashMap;

use super::write::DIRTY_OVERHEAD_BYTES;
use super::{Encode, Tiers};
use crate::key::CacheId;
use crate::shelf::{Lost, Room, TierId};
use crate::sync::Arc;

/// How long it waits for others to make room.
const PAUSE: Duration = Duration::from_millis(20);
/// About how many bytes it files before it lets others run.
const TURN_BYTES: usize = 1 << 20;

impl Tiers {
    /// Files what memory has and a driver that was emptied has not, for as long as `goes_on` says so.
    /// Entries that no cache of their type is open for are left out. How many, and whether that is all.
    pub(crate) async fn refile(&self, tier: TierId, goes_on: impl Fn() -> bool) -> (usize, bool) {
        let encoders = self.encoders(tier);
        let (mut filed, mut turn_bytes) = (0, 0);
        for stripe in 0..self.shelf.stripes() {
            let stores = |cache| encoders.contains_key(&cache);
            for lost in self.shelf.lost(stripe, tier, stores, self.now_ms()) {
                if !goes_on() || self.takes_no_more() {
                    return (filed, false);
                }
                let Some(encode) = encoders.get(&lost.cache()) else {
                    continue;
                };
                let Some(bytes) = self.refile_one(tier, &lost, encode, &goes_on).await else {
                    continue;
                };
                filed += 1;
                turn_bytes += bytes;
                if turn_bytes >= TURN_BYTES {
                    turn_bytes = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        (filed, true)
    }

    /// How many bytes were filed, if any.
    async fn refile_one(
        &self,
        tier: TierId,
        lost: &Lost,
        encode: &Encode,
        goes_on: &impl Fn() -> bool,
    ) -> Option<usize> {
        let (encoded, bytes) = self.shelf.bytes_of(lost, |slot| encode(slot))?;
        let bytes_max = self.config.limits.dirty_bytes_max;
        let bytes = (bytes + DIRTY_OVERHEAD_BYTES).min(bytes_max);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        while goes_on() {
            let budget = self.rooms.get(usize::from(tier.0))?;
            let is_half_free = budget.available_permits() >= bytes_max / 2;
            if is_half_free && let Ok(permit) = Arc::clone(budget).try_acquire_many_owned(permits) {
                let mut room = Room::default();
                room.add(tier, permit);
                let filed = self.shelf.refile(tier, lost, encoded, room);
                return filed.then_some(bytes);
            }
            if self.takes_no_more() {
                return None;
            }
            self.sleep(PAUSE).await;
        }
        None
    }

    /// How to make bytes of what a tier stores, by cache.
    fn encoders(&self, tier: TierId) -> HashMap<CacheId, Encode> {
        let definitions = self.definitions.read();
        let stored = definitions.values().filter(|d| d.place.tiers.has(tier));
        stored
            .map(|d| (d.place.scope.id, Arc::clone(&d.encode)))
            .collect()
    }
}
