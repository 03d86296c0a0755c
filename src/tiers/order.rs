//! What a call wants to happen, prepared before any lock is taken.

use std::time::Duration;

use super::Place;
use crate::drivers::StoreDurability;
use crate::gate::Standing;
use crate::outcome::Durability;
use crate::port::Port;
use crate::shelf::{Change, Condition, Plan, Priority, Ticket, TierSet};

/// Which of a cache's tiers a call is for.
#[derive(Clone, Copy)]
pub(crate) struct Targets {
    pub memory: bool,
    pub tiers: TierSet,
}

/// One mutation.
pub(crate) struct Order<'a> {
    pub name: &'a str,
    pub change: Change,
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
    /// Where it goes. What a call skips must not keep an older copy.
    pub(super) fn plan(&self, place: &Place) -> Plan {
        let targets = self.targets.unwrap_or(Targets {
            memory: place.memory,
            tiers: place.tiers,
        });
        let tiers = targets.tiers.minus(self.change.skipped());
        Plan {
            memory: targets.memory,
            put: place.tiers.and(tiers),
            delete: place.tiers.minus(tiers),
        }
    }

    /// How it stands when there is too much work. A removal is never shed first: it makes room.
    pub(super) fn standing(&self, place: &Place) -> Standing {
        let is_low = self
            .change
            .draft()
            .is_some_and(|draft| draft.priority == Priority::Low);
        Standing {
            is_low,
            ..place.standing
        }
    }

    /// What its caller waits for.
    pub(super) fn promise(&self, place: &Place) -> Promise {
        let promise = Promise::new(place, self.durability, self.by_name);
        Promise {
            needs_room: self.change.draft().is_some(),
            ..promise
        }
    }
}

/// How safe something is to be before its caller hears of it.
#[derive(Clone, Copy)]
pub(crate) struct Promise {
    pub durability: Durability,
    /// Whether the caller asked for that durability by name.
    pub by_name: bool,
    /// The tiers whose commits acknowledge it: for `Written` and `Synced` all of the cache's. After a
    /// crash nothing says which of two tiers is newer, so what is promised must be true of each.
    pub tiers: TierSet,
    /// Whether there is a value to be stored, which a driver that is full does not do.
    pub needs_room: bool,
}

impl Promise {
    pub(crate) fn new(place: &Place, durability: Durability, by_name: bool) -> Self {
        let tiers = match store_durability(durability) {
            Some(_) => place.tiers,
            None => TierSet::NONE,
        };
        Self {
            durability,
            by_name,
            tiers,
            needs_room: true,
        }
    }

    /// Whether a driver is in a state to keep it.
    pub(super) fn is_kept_by(&self, port: &Port) -> bool {
        if self.needs_room {
            port.takes_values()
        } else {
            port.is_up()
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
