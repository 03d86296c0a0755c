//! The shelf's side of the TTL manager: deadlines out, timers in, and the sweep.

use super::ask::Call;
use super::expiry::Due;
use super::{Scope, Shelf};
use crate::clock::{Millis, NEVER};
use crate::key::Key;
use crate::version::Version;

impl Shelf {
    /// The timer of a key has fired.
    pub fn due(&self, scope: &Scope, name: &str, now_ms: Millis) -> Due {
        let hash = self.hash(scope.id, name);
        let cell = self.cell(hash);
        let mut stripe = cell.stripe.write();
        let (due, mut effects) = stripe.due(&self.call(scope, hash, name, now_ms));
        drop(stripe);
        self.finish(cell, &mut effects);
        due
    }

    /// A tier says that a record has expired; `true` if that is news to memory.
    pub fn expired_below(
        &self,
        scope: &Scope,
        name: &str,
        version: Version,
        now_ms: Millis,
    ) -> bool {
        let hash = self.hash(scope.id, name);
        let cell = self.cell(hash);
        let mut stripe = cell.stripe.write();
        let call: Call<'_> = self.call(scope, hash, name, now_ms);
        if !call.watched {
            return false;
        }
        let (is_news, mut effects) = stripe.expired_below(&call, version);
        drop(stripe);
        self.finish(cell, &mut effects);
        is_news
    }

    /// Moves all noted deadlines to `into`; `true` if some were dropped, so that only a pass over
    /// everything ([`deadlines_of`](Shelf::deadlines_of)) finds them all.
    pub fn take_deadlines(&self, into: &mut Vec<(Key, Millis)>) -> bool {
        let cells = self.stripes.iter();
        cells.fold(false, |lost, cell| {
            cell.stripe.write().deadlines.take(into) | lost
        })
    }

    /// The deadlines of everything in one stripe. A key may come twice, with the same deadline.
    pub fn deadlines_of(&self, stripe: usize, into: &mut Vec<(Key, Millis)>) {
        let Some(cell) = self.stripes.get(stripe) else {
            return;
        };
        let stripe = cell.stripe.read();
        let table = stripe.table.iter().map(|(cache, name, slot)| {
            let key = Key {
                cache,
                name: name.clone(),
            };
            (key, slot.expires_ms)
        });
        // What the table let go of is known as long as it is dirty, and expires there.
        let dirty = stripe.dirty.iter();
        let dirty = dirty.filter_map(|d| {
            let (slot, _) = d.value.as_ref()?;
            Some((d.key.clone(), slot.expires_ms))
        });
        into.extend(table.chain(dirty).filter(|(_, at_ms)| *at_ms != NEVER));
    }

    /// Takes everything out of one stripe's table that no read would show. Returns how many.
    pub fn sweep(&self, stripe: usize, now_ms: Millis) -> u64 {
        let scopes = self.scopes();
        let Some(cell) = self.stripes.get(stripe) else {
            return 0;
        };
        let mut stripe = cell.stripe.write();
        let (swept, mut effects) = stripe.sweep(now_ms, |cache, slot| {
            let scope = scopes.get(cache.0 as usize);
            scope.is_none_or(|scope| scope.accepts(slot.version, slot.tags()))
        });
        drop(stripe);
        self.finish(cell, &mut effects);
        swept
    }
}
