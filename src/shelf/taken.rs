//! What goes into the dirty set, and what passes between it and a lane: what was taken, who waits, what
//! a commit settled.

use tokio::sync::OwnedSemaphorePermit;

use super::dirty::Dirty;
use super::effects::empty;
use super::room::Room;
use super::slot::{Encoded, Slot};
use super::ticket::Ticket;
use super::tier::{TierId, TierSet};
use crate::drivers::StoreDurability;
use crate::key::Key;
use crate::sync::Arc;
use crate::version::Version;

/// Somebody waits until a tier has stored a slot.
pub struct Waiter {
    /// The tier.
    pub tier: TierId,
    /// The change they wait for: a commit of this stamp or a later one answers them.
    pub stamp: u64,
    /// What the commit must survive.
    pub durability: StoreDurability,
    /// How to tell them.
    pub ticket: Ticket,
}

/// What a lane took: one slot as it was.
pub struct Taken {
    /// The slot's hash and name.
    pub hash: u64,
    /// The entry.
    pub key: Key,
    /// The mutation.
    pub version: Version,
    /// The slot's stamp when it was taken; it is clean only if it is still this.
    pub stamp: u64,
    /// The value to store; `None` deletes.
    pub value: Option<(Slot, Arc<Encoded>)>,
    /// What the commit must survive for those who wait.
    pub durability: StoreDurability,
}

/// It may be the last to hold a value.
impl Drop for Taken {
    fn drop(&mut self) {
        empty(&mut self.value);
    }
}

impl Taken {
    /// About how many bytes it adds to a batch.
    pub fn weight(&self) -> usize {
        let value = |(slot, encoded): &(Slot, Arc<Encoded>)| {
            let tags = slot.extra.as_ref().map_or(0, |extra| extra.tag_bytes());
            encoded.payload.len() + tags
        };
        self.key.name.len() + self.value.as_ref().map_or(0, value)
    }
}

/// A dirty slot before it is filed.
pub(super) struct NewDirty {
    pub key: Key,
    pub version: Version,
    pub stamp: u64,
    pub value: Option<(Slot, Arc<Encoded>)>,
    pub put: TierSet,
    pub delete: TierSet,
    pub heals: bool,
    pub waiters: Vec<Waiter>,
    pub room: Room,
}

/// What a commit has settled.
#[derive(Default)]
pub(super) struct Settled {
    /// Who has been waiting for just that.
    pub done: Vec<Ticket>,
    /// The slot, if it is clean in every tier and has left.
    pub gone: Option<Dirty>,
    /// Its part of this tier's budget.
    pub freed: Vec<OwnedSemaphorePermit>,
    /// It has to be stored once more.
    pub again: bool,
}
