//! What a flight may do with what it brought up (the slot protocol, rule 4, SEMANTICS.md).

use super::Shelf;
use super::ask::Call;
use super::effects::Effects;
use super::fence::Scope;
use super::marks::MarkId;
use super::slot::Slot;
use super::stripe::{Known, Stripe};
use crate::clock::Millis;
use crate::version::Version;

impl Stripe {
    /// Keeps what a flight brought up, if its very mark still stands. Ends the flight.
    pub fn promote(&mut self, call: &Call<'_>, mark: MarkId, slot: Slot) -> (bool, Effects) {
        let mut effects = Effects::default();
        let (hash, cache) = (call.hash, call.scope.id);
        // "The slot is empty or older" is not enough: a value that was set, stored and evicted
        // meanwhile would be undone.
        let may = self.marks.stands(hash, cache, call.name, mark)
            && matches!(self.known(hash, cache, call.name), Known::Unknown)
            && call.accepts(slot.look())
            && slot.keep_ms() > call.now_ms;
        if !may {
            self.marks.release(hash, cache, call.name, mark);
            effects.garbage.push(slot);
            return (false, effects);
        }
        self.marks.strike(hash, cache, call.name);
        self.note_deadline(call, slot.expires_ms, None, &mut effects);
        self.remember(call, Some(slot), &mut effects);
        self.shrink(
            call.evictions_watched,
            call.now_ms,
            call.bounds,
            &mut effects,
        );
        (true, effects)
    }
}

impl Shelf {
    /// A fetch begins: leaves a mark, in place of that of another one, whatever memory knows of the key,
    /// and draws the version that the result will carry. [`Change::Fetched`](super::Change::Fetched) uses both. It is to be
    /// given back if nothing comes of it.
    pub fn claim(&self, scope: &Scope, hash: u64, name: &str, now_ms: Millis) -> (MarkId, Version) {
        let mut stripe = self.cell(hash).stripe.write();
        // One that was begun before, and may have been cancelled, must not be stored over this one.
        stripe.claims.strike(hash, scope.id, name);
        // Under the lock: no mutation of the key has a version between the two.
        let claim = stripe.claims.leave(hash, scope.id, name);
        (claim, self.versions.next(now_ms))
    }

    /// Whether the claim of a fetch still stands: it may be joined only then.
    pub fn claims(&self, scope: &Scope, hash: u64, name: &str, claim: MarkId) -> bool {
        let stripe = self.cell(hash).stripe.read();
        stripe.claims.stands(hash, scope.id, name, claim)
    }

    /// Whether a mark still stands: a flight may be joined only then.
    pub fn stands(&self, scope: &Scope, hash: u64, name: &str, mark: MarkId) -> bool {
        let stripe = self.cell(hash).stripe.read();
        stripe.marks.stands(hash, scope.id, name, mark)
    }

    /// Keeps a claim beyond the fetch whose it is, if it still stands: somebody more is to give it back.
    pub fn share(&self, scope: &Scope, hash: u64, name: &str, claim: MarkId) -> bool {
        let mut stripe = self.cell(hash).stripe.write();
        let stands = stripe.claims.stands(hash, scope.id, name, claim);
        if stands {
            stripe.claims.leave(hash, scope.id, name);
        }
        stands
    }

    /// Ends the claim of whatever fetch of the key is under way, as a change of the key does: nothing that it
    /// brings is kept.
    pub fn overtake(&self, scope: &Scope, hash: u64, name: &str) {
        let mut stripe = self.cell(hash).stripe.write();
        stripe.claims.strike(hash, scope.id, name);
    }

    /// A fetch ends without having brought anything.
    pub fn unclaim(&self, scope: &Scope, hash: u64, name: &str, claim: MarkId) {
        let mut stripe = self.cell(hash).stripe.write();
        stripe.claims.release(hash, scope.id, name, claim);
    }

    /// A flight ends without having brought anything.
    pub fn release(&self, scope: &Scope, hash: u64, name: &str, mark: MarkId) {
        let mut stripe = self.cell(hash).stripe.write();
        stripe.marks.release(hash, scope.id, name, mark);
    }
}
