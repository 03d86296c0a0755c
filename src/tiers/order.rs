//! What a call wants to happen, prepared before any lock is taken.

use std::time::Duration;

use super::Place;
use crate::clock::Millis;
use crate::drivers::StoreDurability;
use crate::gate::Standing;
use crate::outcome::Durability;
use crate::port::Port;
use crate::shelf::{
    Body, Change, Condition, Draft, Encoded, Extra, Plan, Priority, Ticket, TierSet,
};
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
    /// Where it goes. What a call skips must not keep an older copy.
    pub(super) fn plan(&self, place: &Place) -> Plan {
        self.plan_of(place, &self.intent)
    }

    /// As [`plan`](Order::plan), of an intent that was taken out of it.
    pub(super) fn plan_of(&self, place: &Place, intent: &Intent) -> Plan {
        let targets = self.targets.unwrap_or(Targets {
            memory: place.memory,
            tiers: place.tiers,
        });
        let tiers = targets.tiers.minus(intent.skipped());
        Plan {
            memory: targets.memory,
            put: place.tiers.and(tiers),
            delete: place.tiers.minus(tiers),
        }
    }

    /// How it stands when there is too much work. A removal is never shed first: it makes room.
    pub(super) fn standing(&self, place: &Place) -> Standing {
        let is_low = match &self.intent {
            Intent::Put(prepared) | Intent::Renew(prepared) => prepared.priority == Priority::Low,
            Intent::Remove => false,
        };
        Standing {
            is_low,
            ..place.standing
        }
    }

    /// What its caller waits for.
    pub(super) fn promise(&self, place: &Place) -> Promise {
        let promise = Promise::new(place, self.durability, self.by_name);
        Promise {
            needs_room: !matches!(self.intent, Intent::Remove),
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

impl Intent {
    /// What the shelf is to do.
    pub(super) fn change(self, schema: u32) -> Change {
        match self {
            Self::Put(prepared) => Change::Put(prepared.draft(schema)),
            Self::Renew(prepared) => Change::Renew(prepared.draft(schema)),
            Self::Remove => Change::Remove,
        }
    }

    /// Tiers that the value was set without.
    fn skipped(&self) -> TierSet {
        match self {
            Self::Put(p) | Self::Renew(p) => p
                .extra
                .as_ref()
                .map_or(TierSet::NONE, |extra| extra.skipped),
            Self::Remove => TierSet::NONE,
        }
    }

    /// Bytes of the value and its tags on their way down.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Put(p) | Self::Renew(p) => {
                let tags = p.extra.as_ref().map_or(0, |extra| extra.tag_bytes());
                p.encoded.as_ref().map_or(0, |e| e.payload.len()) + tags
            }
            Self::Remove => 0,
        }
    }
}

impl Prepared {
    /// Leaves these tiers out, now and whenever its times change.
    pub(crate) fn skip(&mut self, tiers: TierSet) {
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

    fn draft(self, schema: u32) -> Draft {
        Draft {
            body: self.body,
            encoded: self.encoded,
            weight: self.weight,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            extra: self.extra,
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
