//! The way down: what a lane takes from the dirty set, and what becomes of it afterwards.

use super::dirty::Dirty;
use super::effects::let_go;
use super::taken::{Taken, Waiter};
use super::ticket::Ticket;
use super::tier::{TierId, TierSet};
use super::{Cell, Shelf};
use crate::clock::Millis;
use crate::drivers::StoreDurability;
use crate::error::Error;
use crate::key::CacheId;
use crate::version::Version;

/// Which caches each stripe distrusts a tier with as a whole, and since when.
pub struct Doubts(Vec<Vec<(CacheId, Version)>>);

impl Shelf {
    /// Takes up to `count_max` dirty slots of a tier, or about `bytes_max` bytes of them (at least
    /// one), each as it is now. What no read would show any more is taken as a deletion.
    ///
    /// `from` is the stripe to begin with, so that calls in turn treat all stripes alike; it is moved.
    pub fn take(
        &self,
        tier: TierId,
        count_max: usize,
        bytes_max: usize,
        now_ms: Millis,
        from: &mut usize,
    ) -> Vec<Taken> {
        self.take_those(|_| true, tier, (count_max, bytes_max), now_ms, from)
    }

    /// As [`take`](Shelf::take), but deletions alone: values keep waiting, at the end of the queue.
    pub fn take_deletions(
        &self,
        tier: TierId,
        count_max: usize,
        now_ms: Millis,
        from: &mut usize,
    ) -> Vec<Taken> {
        let is_deletion = |taken: &Taken| taken.value.is_none();
        self.take_those(is_deletion, tier, (count_max, usize::MAX), now_ms, from)
    }

    fn take_those(
        &self,
        wanted: impl Fn(&Taken) -> bool,
        tier: TierId,
        (count_max, bytes_max): (usize, usize),
        now_ms: Millis,
        from: &mut usize,
    ) -> Vec<Taken> {
        let scopes = self.scopes();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let count = self.stripes.len();
        let in_turn = self.stripes.iter().enumerate().cycle();
        for (at, cell) in in_turn.skip(*from % count).take(count) {
            let mut stripe = cell.stripe.write();
            // Once round the queue: what is not wanted goes to its end.
            let mut left = stripe.dirty.places(tier);
            while left > 0 && taken.len() < count_max && (bytes < bytes_max || taken.is_empty()) {
                left -= 1;
                let Some(mut next) = stripe.dirty.take(tier) else {
                    break;
                };
                let scope = scopes.get(next.key.cache.0 as usize);
                let shows = next.value.as_ref().is_some_and(|(slot, _)| {
                    slot.keep_ms() > now_ms
                        && scope.is_none_or(|s| s.accepts(slot.version, slot.tags()))
                });
                if !shows {
                    next.value = None;
                }
                if !wanted(&next) {
                    // Not the last reference to a value: the slot is dirty as before.
                    let (cache, name) = (next.key.cache, &next.key.name);
                    let tier = TierSet::NONE.with(tier);
                    stripe.dirty.queue(next.hash, cache, name, tier);
                    continue;
                }
                bytes += next.weight();
                taken.push(next);
            }
            drop(stripe);
            if taken.len() >= count_max || (bytes >= bytes_max && !taken.is_empty()) {
                // A stripe that fills every batch must not keep the others from theirs.
                *from = at + 1;
                break;
            }
        }
        taken
    }

    /// A tier has stored what was taken: each slot that is still the same is clean there.
    pub fn settle(&self, tier: TierId, taken: &[Taken], stored: StoreDurability) {
        self.settle_if(tier, taken, stored, || true);
    }

    /// As [`settle`](Shelf::settle), of what the tier `holds` still; the rest stays dirty.
    ///
    /// `holds` is asked under the lock of each slot: either whoever looks for what the tier has lost finds
    /// the slot clean, or it is seen here that the tier was emptied.
    pub fn settle_if(
        &self,
        tier: TierId,
        taken: &[Taken],
        stored: StoreDurability,
        holds: impl Fn() -> bool,
    ) {
        let mut again = false;
        for one in taken {
            let mut stripe = self.cell(one.hash).stripe.write();
            if !holds() {
                let (cache, name) = (one.key.cache, &one.key.name);
                again |= stripe
                    .dirty
                    .queue(one.hash, cache, name, TierSet::NONE.with(tier));
                continue;
            }
            stripe.distrusts.end(one.hash, &one.key, tier, one.stamp);
            let settled = stripe.dirty.settle(tier, one, stored);
            drop(stripe);
            again |= settled.again;
            // Each is told only after its slot has left and its room is free, so that who is told finds it so.
            let_go(settled.freed);
            settled.gone.into_iter().for_each(let_go);
            settled.done.into_iter().for_each(Ticket::done);
        }
        if again {
            self.bells.dirty.ring();
        }
    }

    /// A commit failed or its outcome is unknown: what was taken stays dirty and is queued again
    /// (the slot protocol, rule 7, SEMANTICS.md).
    pub fn unsettle(&self, taken: &[Taken]) {
        for one in taken {
            let mut stripe = self.cell(one.hash).stripe.write();
            let (cache, name) = (one.key.cache, &one.key.name);
            stripe.dirty.queue(one.hash, cache, name, TierSet(u16::MAX));
        }
    }

    /// Gives up storing what was taken, unless it has changed since: it stays in memory only, and the
    /// stored copy of the key is distrusted before its slot goes (the slot protocol, rule 11). Whoever
    /// waits for it is told `error`. `false` if it has changed.
    pub fn refuse(&self, tier: TierId, taken: &Taken, error: &Error) -> bool {
        let scope = self.scope_by_id(taken.key.cache);
        // From before it is until after, as for any change that a tier does not get.
        let _moving = scope.as_ref().map(|scope| scope.moving());
        let cell = self.cell(taken.hash);
        let mut stripe = cell.stripe.write();
        let Some(given_up) = stripe.dirty.give_up(tier, taken) else {
            return false;
        };
        // Under the same lock: nobody finds the slot gone and the copy believed.
        let as_of = self.versions.newest(taken.version);
        stripe.distrust_taken(tier, taken, as_of, self.bounds.distrusted_max);
        drop(stripe);
        let_go(given_up.freed);
        given_up.gone.into_iter().for_each(let_go);
        for ticket in given_up.done {
            ticket.fail(error.clone());
        }
        true
    }

    /// Queues everything that is dirty again: a batch writer that died may have taken slots that it
    /// never settled.
    pub fn requeue(&self) {
        for cell in &self.stripes {
            cell.stripe.write().dirty.queue_all();
        }
    }

    /// Tells everybody who waits for a tier that it cannot be.
    pub fn fail_waiters(&self, tier: TierId, error: &Error) {
        self.fail_those(tier, error, |_| true);
    }

    /// As [`fail_waiters`](Shelf::fail_waiters), but for those who wait for a deletion.
    pub fn fail_waiters_of_values(&self, tier: TierId, error: &Error) {
        self.fail_those(tier, error, |dirty| dirty.put.has(tier));
    }

    fn fail_those(&self, tier: TierId, error: &Error, of: impl Fn(&Dirty) -> bool) {
        for cell in &self.stripes {
            let waiters = cell.stripe.write().dirty.take_waiters(tier, &of);
            for waiter in waiters {
                waiter.ticket.fail(error.clone());
            }
        }
    }

    /// Attaches a ticket to everything that is dirty for `tier` now.
    pub fn wait_for_all(&self, tier: TierId, durability: StoreDurability, ticket: &Ticket) {
        for cell in &self.stripes {
            let mut stripe = cell.stripe.write();
            for dirty in stripe.dirty.iter_mut() {
                if dirty.tiers().has(tier) {
                    dirty.wait(Waiter {
                        tier,
                        stamp: dirty.stamp,
                        durability,
                        ticket: ticket.share(),
                    });
                }
            }
        }
        self.bells.dirty.ring();
    }

    /// Files deletions for what a tier that is back must not keep. Returns how many keys.
    pub fn heal(&self, tier: TierId, count_max: usize, now_ms: Millis) -> usize {
        let mut healed = 0;
        for cell in &self.stripes {
            let draw = || self.versions.next(now_ms);
            let mut stripe = cell.stripe.write();
            healed += stripe.heal(tier, count_max - healed, draw);
            drop(stripe);
            if healed >= count_max {
                break;
            }
        }
        if healed > 0 {
            self.bells.dirty.ring();
        }
        healed
    }

    /// Whether anything is dirty for a tier.
    pub fn is_dirty(&self, tier: TierId) -> bool {
        let mut cells = self.stripes.iter();
        cells.any(|cell| cell.stripe.read().dirty.count(tier) > 0)
    }

    /// Tiers of which some stripe distrusts a whole cache: more keys than could be remembered. They
    /// are believed again when what is in doubt has been deleted ([`doubts`](Shelf::doubts)) or the
    /// whole store was emptied ([`trust_all`](Shelf::trust_all)).
    pub fn distrusted_tiers(&self) -> TierSet {
        let cells = self.stripes.iter();
        cells.fold(TierSet::NONE, |set, cell| {
            set.or(cell.stripe.read().distrusts.stores())
        })
    }

    /// Whether any stored copy of a tier is not to be believed.
    pub fn is_distrusted(&self, tier: TierId) -> bool {
        self.stripes.iter().any(|cell| {
            let distrusts = &cell.stripe.read().distrusts;
            let mut keys = distrusts.keys_of(TierSet::NONE.with(tier));
            keys.next().is_some() || distrusts.wholes(tier).next().is_some()
        })
    }

    /// What of a tier is in doubt as a whole just now; `None` if nothing is.
    pub fn doubts(&self, tier: TierId) -> Option<Doubts> {
        let cells = self.stripes.iter();
        let wholes = |cell: &Cell| cell.stripe.read().distrusts.wholes(tier).collect();
        let all: Vec<Vec<_>> = cells.map(wholes).collect();
        all.iter()
            .any(|wholes| !wholes.is_empty())
            .then_some(Doubts(all))
    }

    /// Whether these doubts are about a record: one of their caches, and no newer than they are.
    pub fn doubted(&self, doubts: &Doubts, cache: &str, name: &str, version: Version) -> bool {
        let Some(scope) = self.scopes.read().by_name.get(cache).cloned() else {
            return false;
        };
        let at = self.stripe_of(self.hash(scope.id, name));
        let mut wholes = doubts.0.get(at).into_iter().flatten();
        wholes.any(|(of, as_of)| *of == scope.id && version <= *as_of)
    }

    /// A tier holds nothing any more that these doubts were about.
    pub fn settle_doubts(&self, tier: TierId, doubts: &Doubts) {
        for (cell, wholes) in self.stripes.iter().zip(&doubts.0) {
            let mut stripe = cell.stripe.write();
            for (cache, as_of) in wholes {
                stripe.distrusts.end_whole(tier, *cache, *as_of);
            }
        }
    }

    /// A tier holds versions up to `ceiling` although they are older than what is distrusted in it.
    pub fn redate(&self, tier: TierId, ceiling: u64) {
        let Some(as_of) = Version::new(ceiling) else {
            return;
        };
        for cell in &self.stripes {
            cell.stripe.write().distrusts.redate(tier, as_of);
        }
    }

    /// A tier's store was empty at `as_of`, a version drawn when no write of an older generation could
    /// land in it any more and nothing had been taken for it yet: whatever was distrusted until then is
    /// not in it. What was distrusted since stays so.
    pub fn trust_all(&self, tier: TierId, as_of: Version) {
        for cell in &self.stripes {
            cell.stripe.write().distrusts.end_all(tier, as_of);
        }
    }
}
