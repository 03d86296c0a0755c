//! What a call wants to happen, prepared before any lock is taken.

use std::time::Duration;

use crate::clock::Millis;
use crate::drivers::StoreDurability;
use crate::outcome::Durability;
use crate::shelf::{Body, Condition, Draft, Encoded, Extra, Priority, Ticket, TierSet, Waiting};
use crate::sync::Arc;

/// A value prepared for the shelf.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub body: Body,
    pub encoded: Option<Arc<Encoded>>,
    pub weight: u32,
    pub created_ms: Millis,
    pub expires_ms: Millis,
    pub extra: Option<Arc<Extra>>,
    pub priority: Priority,
}

/// What a call wants to happen.
#[derive(Clone)]
pub(crate) enum Intent {
    Put(Prepared),
    Renew(Prepared),
    Remove,
}

/// Which of a cache's tiers a call is for.
#[derive(Clone, Copy)]
pub(crate) struct Targets {
    pub memory: bool,
    pub tiers: TierSet,
}

/// One mutation.
pub(crate) struct Order<'a> {
    pub name: &'a str,
    pub intent: Intent,
    pub condition: Condition,
    /// `None` for all of the cache's.
    pub targets: Option<Targets>,
    pub durability: Durability,
    /// Whether the caller asked for that durability by name.
    pub by_name: bool,
    /// Waits for more than one change at once; replaces `durability`'s own wait.
    pub ticket: Option<&'a Ticket>,
    pub wait: Option<Duration>,
}

impl Order<'_> {
    /// What the slot holds until it is as safe as `needed`, and what this call waits for: nothing if
    /// it shares the ticket of a chunk.
    pub(super) fn ticket(
        &self,
        needed: Option<StoreDurability>,
    ) -> (Option<Ticket>, Option<Waiting>) {
        match (self.ticket, needed) {
            (Some(shared), Some(_)) => (Some(shared.share()), None),
            (None, Some(_)) => {
                let (ticket, waiting) = Ticket::new();
                (Some(ticket), Some(waiting))
            }
            _ => (None, None),
        }
    }
}

impl Intent {
    /// Bytes of the value on its way down.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Put(p) | Self::Renew(p) => p.encoded.as_ref().map_or(0, |e| e.payload.len()),
            Self::Remove => 0,
        }
    }
}

impl Prepared {
    pub(super) fn draft(&self, schema: u32) -> Draft {
        Draft {
            body: self.body.clone(),
            encoded: self.encoded.clone(),
            weight: self.weight,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            extra: self.extra.clone(),
            schema,
            priority: self.priority,
        }
    }
}

/// What a commit must survive for a durability; `None` if nobody waits for one.
pub(crate) fn store_durability(durability: Durability) -> Option<StoreDurability> {
    match durability {
        Durability::Queued => None,
        Durability::Written => Some(StoreDurability::Written),
        Durability::Synced => Some(StoreDurability::Synced),
    }
}
