//! What stores hold: when it expires, that it has expired, and that it is deleted.
//!
//! Memory knows nothing of these keys, so their versions tell what was announced already.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::TtlManager;
use super::parts::LOOKUP_PAUSE_MS;
use crate::clock::Millis;
use crate::drivers::Reclaimed;
use crate::key::{Key, split_stored_key};
use crate::shelf::Scope;
use crate::sync::Ordering;
use crate::version::Version;

impl TtlManager {
    /// Asks the tiers when the record of a watched key expires.
    pub(super) fn ask(&mut self, key: Key, now_ms: Millis, ctx: &mut Context<Self>) {
        if self.asking >= self.parts.config.lookups_max {
            // Its timer waits for it.
            self.arm(key, now_ms.saturating_add(LOOKUP_PAUSE_MS));
            return;
        }
        self.asking += 1;
        let answer = (self.parts.below)(key.clone());
        let answer = answer.into_actor(self).map(move |found, act, ctx| {
            act.asking -= 1;
            let now_ms = act.parts.clock.now_ms();
            match found {
                Some((_, at_ms)) if at_ms > now_ms => act.arm(key, at_ms),
                Some((version, _)) => {
                    if let Some(scope) = act.parts.shelf.scope_by_id(key.cache) {
                        act.announce(&scope, &key.name, version, now_ms);
                    }
                }
                None => {}
            }
            act.rest(now_ms, ctx);
        });
        ctx.spawn(answer);
    }

    fn announce(&mut self, scope: &Scope, name: &str, version: Version, now_ms: Millis) {
        let shelf = &self.parts.shelf;
        let hash = shelf.hash(scope.id, name);
        let known = self.announced.covers(hash, version);
        if !known && shelf.expired_below(scope, name, version, now_ms) {
            self.announced.remember(hash, version);
            self.parts.stats.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn reclaim(&mut self, now_ms: Millis, ctx: &mut Context<Self>) {
        for (tier, reclaimer) in self.schedule.due(now_ms) {
            let run = reclaimer(now_ms, self.parts.config.reclaim_count_max);
            let run = run.into_actor(self).map(move |reclaimed, act, ctx| {
                act.reclaimed(tier, reclaimed);
                act.rest(act.parts.clock.now_ms(), ctx);
            });
            ctx.spawn(run);
        }
    }

    fn reclaimed(&mut self, tier: u8, reclaimed: Option<Reclaimed>) {
        let now_ms = self.parts.clock.now_ms();
        let next_ms = reclaimed.as_ref().and_then(|reclaimed| reclaimed.next_ms);
        self.schedule
            .done(tier, now_ms, reclaimed.is_some(), next_ms);
        let records = reclaimed.unwrap_or_default().records;
        let count = &self.parts.stats.reclaimed;
        count.fetch_add(records.len() as u64, Ordering::Relaxed);
        if !self.parts.shelf.is_watched() {
            return;
        }
        for (stored, version) in records {
            let Some((cache, name)) = split_stored_key(&stored) else {
                continue;
            };
            // Of a cache that has none nobody watches anything.
            let Some(scope) = self.parts.shelf.scope_named(cache) else {
                continue;
            };
            if (self.parts.watched)(&Key::new(scope.id, name)) {
                self.announce(&scope, name, version, now_ms);
            }
        }
    }
}
