//! A change as it is asked for, and what came of it: plain data.

use super::fence::Scope;
use super::look::Look;
use super::marks::MarkId;
use super::plain::Fresh;
use super::room::Room;
use super::slot::{Body, Encoded, Extra, Priority, Shared, Slot};
use super::ticket::Ticket;
use super::tier::{TierId, TierSet};
use crate::clock::Millis;
use crate::drivers::StoreDurability;
use crate::sync::Arc;
use crate::version::Version;

/// A value on its way in, prepared before any lock is taken.
pub struct Draft {
    /// The value.
    pub body: Body,
    /// Its bytes, where a tier is to store them.
    pub encoded: Option<Arc<Encoded>>,
    /// Bytes it counts for.
    pub weight: u32,
    /// When it was set.
    pub created_ms: Millis,
    /// Fresh until then.
    pub expires_ms: Millis,
    /// What few entries have.
    pub extra: Option<Arc<Extra>>,
    /// The cache's schema number.
    pub schema: u32,
    /// How long it should outlast others.
    pub priority: Priority,
}

/// What is to happen to a key.
pub enum Change {
    /// It gets this value.
    Put(Draft),
    /// It gets what a fetch brought, under the version that [`claim`](super::Shelf::claim) drew when
    /// the fetch began; refused if a fence has been raised since. Ask with [`Condition::Flight`].
    Fetched(Draft, Version),
    /// It gets other times under the version that it has (sliding expiry). Where no live entry is
    /// known there is nothing to renew: a conflict.
    Renew(Draft),
    /// It gets none.
    Remove,
}

impl Change {
    /// The value that it is about.
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Put(draft) | Self::Fetched(draft, _) | Self::Renew(draft) => Some(draft),
            Self::Remove => None,
        }
    }

    /// Tiers that the value was set without.
    pub fn skipped(&self) -> TierSet {
        let extra = self.draft().and_then(|draft| draft.extra.as_ref());
        extra.map_or(TierSet::NONE, |extra| extra.skipped)
    }

    /// Bytes of the value and its tags on their way down.
    pub fn bytes(&self) -> usize {
        let draft = self.draft();
        let encoded = draft.and_then(|draft| draft.encoded.as_ref());
        let extra = draft.and_then(|draft| draft.extra.as_ref());
        encoded.map_or(0, |encoded| encoded.payload.len())
            + extra.map_or(0, |extra| extra.tag_bytes())
    }
}

impl Draft {
    /// A value with nothing that few entries have, for memory alone.
    pub fn plain(value: Shared, fresh: &Fresh) -> Self {
        Self {
            body: Body::Decoded(value),
            encoded: None,
            weight: fresh.weight,
            created_ms: fresh.created_ms,
            expires_ms: fresh.expires_ms,
            extra: None,
            schema: fresh.schema,
            priority: fresh.priority,
        }
    }

    /// Leaves these tiers out, now and whenever its times change.
    pub fn skip(&mut self, tiers: TierSet) {
        if tiers.is_empty() {
            return;
        }
        let plain = || Extra {
            keep_ms: self.expires_ms,
            idle_ms: 0,
            ends_ms: self.expires_ms,
            fingerprint: 0,
            skipped: TierSet::NONE,
            tags: [].into(),
        };
        let mut extra = self.extra.as_deref().cloned().unwrap_or_else(plain);
        extra.skipped = tiers;
        self.extra = Some(Arc::new(extra));
    }
}

/// What must hold for it to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    /// Anything.
    #[default]
    None,
    /// There is no live entry.
    Absent,
    /// There is a live entry.
    Present,
    /// The live entry has this version.
    Version(Version),
    /// Nothing has happened to the key since this claim of a fetch was left.
    Flight(MarkId),
}

/// Where a change goes. A tier that is named in neither set and still has an older change of the key
/// before it is treated as if it stood in `delete`.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Memory keeps the value.
    pub memory: bool,
    /// Tiers that store it.
    pub put: TierSet,
    /// Tiers that must not keep an older one.
    pub delete: TierSet,
}

impl Plan {
    pub(super) fn tiers(self) -> TierSet {
        self.put.or(self.delete)
    }
}

/// What a flight brought up: nothing, or a version with its tags and deadline.
pub struct Brought {
    /// The mark under which it went down.
    pub mark: MarkId,
    /// What it found.
    pub found: Option<Slot>,
}

/// One change, ready to be applied.
pub struct Ask<'a> {
    /// The cache.
    pub scope: &'a Scope,
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub name: &'a str,
    /// The current time.
    pub now_ms: Millis,
    /// What is to happen.
    pub change: Change,
    /// What must hold.
    pub condition: Condition,
    /// For a condition on a key that memory does not know: what the tiers say. A change that happens
    /// ends the flight; after a conflict its mark still stands, to be promoted under or released.
    pub brought: Option<Brought>,
    /// Where it goes.
    pub plan: Plan,
    /// Its part of the dirty budgets. A tier without one will not store the change, and its copy of the
    /// key is distrusted; without any the change is kept in memory only.
    pub room: Room,
    /// What counts as an entry for the condition; `None` for anything.
    pub kind: Option<Kind>,
    /// Who waits for it to be stored.
    pub waiters: Vec<(TierId, StoreDurability, Ticket)>,
}

impl Ask<'_> {
    /// What is left in it beside the change, if anything: what was brought, who waits, here or for room.
    pub(super) fn leftovers(&mut self) -> Option<impl Sized + use<>> {
        let is_empty = self.waiters.is_empty() && self.room.tiers().is_empty();
        if is_empty && self.brought.is_none() {
            return None;
        }
        let (room, waiters) = (&mut self.room, &mut self.waiters);
        Some((
            self.brought.take(),
            std::mem::take(room),
            std::mem::take(waiters),
        ))
    }
}

/// What a caller can read: a value of another schema or type is a miss to it, in a condition too.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The cache's schema number.
    pub schema: u32,
    /// The number of a codec of the caller's own; 0 for none.
    pub host_codec: u8,
    /// Whether a value is of the caller's type and written by a codec that it has.
    pub fits: fn(&Body, u8) -> bool,
    /// Whether it can make a value of one that has a lower schema number; `None` where it never does.
    pub migrates: Option<fn(&Body) -> bool>,
}

impl Kind {
    /// Whether the caller can read this slot.
    pub fn reads(&self, slot: Look<'_>) -> bool {
        if slot.schema == self.schema {
            return (self.fits)(slot.body, self.host_codec);
        }
        let migrates = self.migrates.filter(|_| slot.schema < self.schema);
        migrates.is_some_and(|migrates| migrates(slot.body))
    }
}

/// What came of an [`Ask`].
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// It happened.
    Done {
        /// The version of the change.
        version: Version,
        /// The version that it replaced, where memory knew.
        replaced: Option<Version>,
        /// Tiers that it was meant for and that will not store it.
        unstored: TierSet,
    },
    /// The condition did not hold.
    Conflict {
        /// The version of the live entry.
        current: Option<Version>,
    },
    /// Memory does not know the key: look below, but not into these tiers, and ask again under this
    /// mark.
    Below(MarkId, TierSet),
}

/// Bounds that all stripes share.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events that wait for the hub, per stripe.
    pub events_max: usize,
    /// Their bytes, of all stripes together.
    pub events_bytes_max: usize,
    /// Deadlines that wait for the TTL manager, per stripe.
    pub deadlines_max: usize,
    /// Keys whose stored copies are distrusted one by one, per stripe.
    pub distrusted_max: usize,
}

/// Which key a critical section is about, and what it has to know besides.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub scope: &'a Scope,
    pub hash: u64,
    pub name: &'a str,
    pub now_ms: Millis,
    /// Whether events are recorded. IMPORTANT: read under the stripe's lock; read before, a change
    /// could slip between a new watcher's snapshot and its first event.
    pub watched: bool,
    /// Whether those of what is evicted are, which may be any cache's.
    pub evictions_watched: bool,
    pub bounds: &'a Bounds,
}

impl Call<'_> {
    /// Whether a plain read shows this slot.
    pub fn shows(&self, slot: Look<'_>) -> bool {
        slot.is_fresh(|| self.now_ms) && self.accepts(slot)
    }

    /// Whether no fence stands above this slot.
    pub fn accepts(&self, slot: Look<'_>) -> bool {
        self.scope.accepts(slot.version, slot.tags())
    }
}
