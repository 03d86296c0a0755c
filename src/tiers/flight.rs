//! A flight: what goes down for one key under a mark, and what it may bring up.

use bytes::Bytes;

use super::read::{Found, ReadOptions};
use super::{Place, Tiers};
use crate::record::{Header, plain_len};
use crate::shelf::{Body, Encoded, Extra, MarkId, Priority, Slot};
use crate::sync::Arc;

/// The slot that a record is. Its value is decoded by the first reader that knows the type.
pub(crate) fn slot_of(header: Header, payload: Bytes) -> Slot {
    let has_extra =
        header.keep_ms > header.expires_ms || header.idle_ms > 0 || !header.tags.is_empty();
    // As when it was set: compressed or not.
    let weight = u32::try_from(plain_len(header.flags, &payload)).unwrap_or(u32::MAX);
    Slot {
        version: header.version,
        created_ms: header.created_ms,
        expires_ms: header.expires_ms,
        body: Body::Encoded(Arc::new(Encoded {
            codec: header.codec,
            type_tag: header.type_tag,
            flags: header.flags,
            is_secret: false,
            payload,
        })),
        extra: has_extra.then(|| {
            Arc::new(Extra {
                keep_ms: header.keep_ms,
                idle_ms: header.idle_ms,
                ends_ms: header.ends_ms,
                fingerprint: 0,
                skipped: crate::shelf::TierSet::NONE,
                tags: header.tags,
            })
        }),
        weight,
        schema: header.schema,
        priority: Priority::from_byte(header.priority),
        announced: false,
    }
}

/// A flight that is down for a key. Dropping it, with the caller's future or otherwise, ends it.
pub(crate) struct Flight<'a> {
    pub(super) tiers: &'a Tiers,
    pub(super) place: &'a Place,
    pub(super) hash: u64,
    pub(super) name: &'a str,
    pub(super) mark: Option<MarkId>,
}

impl Flight<'_> {
    /// Keeps what it brought up in memory, if it may, and hands it on.
    pub(super) fn land(mut self, mut found: Found, options: ReadOptions) -> Found {
        let Some((slot, ..)) = &found.slot else {
            return found;
        };
        let scope = &self.place.scope;
        if self.place.memory
            && !options.no_promote
            && let Some(mark) = self.mark.take()
        {
            let (shelf, now_ms) = (&self.tiers.shelf, self.tiers.now_ms());
            shelf.promote(scope, self.hash, self.name, mark, slot.clone(), now_ms);
        }
        // A fence that was raised meanwhile counts, whether the value was kept or not.
        if !scope.accepts(slot.version, slot.tags()) {
            found.slot = None;
        }
        found
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.tiers
                .shelf
                .release(&self.place.scope, self.hash, self.name, mark);
        }
    }
}
