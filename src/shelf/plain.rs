//! Reads and sets as most are: of an entry that has nothing but a value, where nobody watches and nothing
//! is to be stored. They do what `lookup.rs` and `apply.rs` do, in few steps, and leave everything else to
//! them.
//!
//! IMPORTANT: what is held over a call in here is small and is copied field by field. A structure that is
//! written by parts and read back at once as a whole makes the processor wait longer than finding the entry
//! does (a store cannot be forwarded to a load that is wider).

use super::effects::{Effects, let_go};
use super::row::Hot;
use super::slot::{Body, Priority, Shared, Slot};
use super::{Scope, Shelf};
use crate::clock::{Millis, NEVER};
use crate::sync::Arc;
use crate::version::Version;

/// What most reads show beside the value: that of an entry without tags, sliding expiry, fallback or
/// anything else that few have.
#[derive(Clone, Copy)]
pub struct Plain {
    /// The mutation that made it.
    pub version: Version,
    /// When the value was set, in unix milliseconds.
    pub created_ms: Millis,
    /// Fresh until then; `NEVER` without a TTL.
    pub expires_ms: Millis,
    /// When it was read; 0 for an entry without a TTL, of which nobody asks the time.
    pub read_ms: Millis,
}

/// What a set says beside the value: nothing that few say.
#[derive(Clone, Copy)]
pub struct Fresh {
    /// When it is set.
    pub created_ms: Millis,
    /// Fresh until then; `NEVER` without a TTL.
    pub expires_ms: Millis,
    /// Bytes that the value counts for.
    pub weight: u32,
    /// The cache's schema number.
    pub schema: u32,
    /// How long it should outlast others.
    pub priority: Priority,
}

impl Fresh {
    /// A slot of it.
    #[inline]
    pub(super) fn slot(&self, version: Version, value: Shared) -> Slot {
        Slot {
            version,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            body: Body::Decoded(value),
            extra: None,
            weight: self.weight,
            schema: self.schema,
            priority: self.priority,
            announced: false,
        }
    }
}

/// What a glance at memory says about a key.
pub enum Glance<R> {
    /// It has a fresh value.
    Hit(R, Plain),
    /// Memory does not know it.
    Unknown,
    /// It takes a closer look.
    Unclear,
}

impl Shelf {
    /// Looks a key up as most reads find it: fresh, of this schema and with nothing that few entries
    /// have; or not at all. Everything else is [`read`](Shelf::read)'s.
    ///
    /// Allocates nothing. `now` runs under the stripe's lock: it must not call the shelf. `cast` runs after
    /// it; the shorter a lock is held, the less others who read the same stripe wait for its line.
    // What is held over the calls in here is to be small, and copied by parts: see `Plain`.
    #[inline(always)]
    pub fn glance<R>(
        &self,
        (scope, schema): (&Scope, u32),
        name: &str,
        now: impl FnOnce() -> Millis,
        cast: impl FnOnce(Shared) -> Option<R>,
    ) -> Glance<R> {
        let hash = self.hash(scope.id, name);
        let stripe = self.cell(hash).stripe.read();
        let Some(hot) = stripe.table.hot(hash, scope.id, name) else {
            if stripe.dirty.len() > 0 {
                return Glance::Unclear;
            }
            drop(stripe);
            self.reads.count(false);
            return Glance::Unknown;
        };
        let Some(mut plain) = hot.plain(schema) else {
            return Glance::Unclear;
        };
        if plain.expires_ms != NEVER {
            plain.read_ms = now();
        }
        if plain.read_ms >= plain.expires_ms || !scope.accepts(plain.version, &[]) {
            return Glance::Unclear;
        }
        let Body::Decoded(value) = hot.body() else {
            return Glance::Unclear;
        };
        let value = Arc::clone(value);
        hot.touch();
        drop(stripe);
        let Some(value) = cast(value) else {
            return Glance::Unclear;
        };
        self.reads.count(true);
        Glance::Hit(value, plain)
    }

    /// Sets a value in memory alone; gives it back if there is more to it than that, to be
    /// [`apply`](Shelf::apply)d. Returns its version.
    pub fn set(
        &self,
        scope: &Scope,
        name: &str,
        value: Shared,
        fresh: &Fresh,
    ) -> Result<Version, Shared> {
        let hash = self.hash(scope.id, name);
        let cell = self.cell(hash);
        let mut guard = cell.stripe.write();
        let stripe = &mut *guard;
        // Under the lock, as in `Shelf::call`.
        if self.watches(scope) || stripe.dirty.len() > 0 {
            return Err(value);
        }
        // No timer has to be set: there is none to be, or one stands that fires no later.
        let may = |hot: Option<&Hot>| {
            let timer_ms = || {
                let hot = hot.filter(|hot| hot.expires_ms() > fresh.created_ms)?;
                scope.accepts(hot.version(), &[]).then(|| hot.expires_ms())
            };
            fresh.expires_ms == NEVER || timer_ms().is_some_and(|at| at <= fresh.expires_ms)
        };
        let draw = |hot: Option<&Hot>| may(hot).then(|| self.versions.next(fresh.created_ms));
        let key = (scope.id, name);
        let (version, old) = stripe.table.set(hash, key, value, fresh, draw)?;
        stripe.marks.strike(hash, scope.id, name);
        stripe.claims.strike(hash, scope.id, name);
        if stripe.table.is_over() {
            let mut effects = Effects::default();
            let watched = self.is_watched();
            stripe.shrink(watched, fresh.created_ms, &self.bounds, &mut effects);
            drop(guard);
            self.finish(cell, &mut effects);
        } else {
            drop(guard);
        }
        old.into_iter().for_each(let_go);
        Ok(version)
    }
}
