//! The write path: room in the dirty set, one critical section, and the wait that was asked for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::{Counts, Place, Tiers};
use crate::clock::Millis;
use crate::drivers::StoreDurability;
use crate::error::Error;
use crate::outcome::{Degraded, DegradedReason, Durability, WriteOutcome};
use crate::port::Wait;
use crate::shelf::{
    Applied, Ask, Body, Brought, Change, Condition, Draft, Encoded, Extra, Plan, Priority, Ticket,
    TierSet, Waiting,
};
use crate::sync::Arc;

/// How often a conditional change looks below again because somebody else changed the key.
const LOOKS_MAX: usize = 16;
/// What an entry counts for in the dirty set beyond its bytes.
const DIRTY_OVERHEAD_BYTES: usize = 256;

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

impl Tiers {
    /// Carries out a mutation and waits as long as its durability asks for.
    pub(crate) async fn write(
        &self,
        place: &Place,
        mut order: Order<'_>,
    ) -> Result<WriteOutcome, Error> {
        self.check_open()?;
        if self.config.disabled {
            return Ok(WriteOutcome {
                version: self.shelf.versions().next(self.now_ms()),
                replaced: None,
                durability: order.durability,
                degraded: Vec::new(),
            });
        }
        let wait = self.wait(order.wait);
        let needed = store_durability(order.durability);
        if needed.is_some() && order.by_name && place.durable().is_none() {
            return Err(Error::Invalid {
                field: "durability",
                reason: format!("{:?} needs a cache with a durable driver", order.durability),
            });
        }
        let (mut brought, mut flight) = (None, None);
        for _ in 0..LOOKS_MAX {
            let room = self.room_for(place, &order, &wait).await?;
            let whole = order.targets.is_none_or(|t| t.tiers == place.tiers);
            if !place.tiers.is_empty() && (room.is_none() || !whole) {
                // Before the change, so that no scan that begins after it overlooks it.
                self.unstored.store(true, Ordering::SeqCst);
            }
            let (ticket, waiting) = match (order.ticket, needed) {
                (Some(shared), Some(_)) => (Some(shared.share()), None),
                (None, Some(_)) => {
                    let (ticket, waiting) = Ticket::new();
                    (Some(ticket), Some(waiting))
                }
                _ => (None, None),
            };
            let durable = place.durable().zip(needed).zip(ticket);
            let ask = self.ask_for(
                place,
                &mut order,
                brought.take(),
                room,
                durable.map(|((tier, d), t)| (tier, d, t)),
            );
            let applied = self.shelf.apply(ask);
            drop(flight.take());
            match applied {
                Applied::Done {
                    version,
                    replaced,
                    memory_only,
                } => {
                    let mut outcome = WriteOutcome {
                        version,
                        replaced,
                        durability: Durability::Queued,
                        degraded: Vec::new(),
                    };
                    if memory_only {
                        Counts::add(&self.counts.memory_only_sets);
                    }
                    self.note_down(place, memory_only, &mut outcome);
                    if let Some(waiting) = waiting {
                        self.await_stored(place, &order, waiting, &wait, &mut outcome)
                            .await?;
                    }
                    return Ok(outcome);
                }
                Applied::Conflict { current } => return Err(Error::Conflict { current }),
                Applied::Below(mark, distrusted) => {
                    let (found, down) = self
                        .bring(place, order.name, mark, distrusted, &wait)
                        .await?;
                    brought = Some(found);
                    // Held until the decision, so that the mark stands.
                    flight = Some(down);
                }
            }
        }
        Err(Error::Overloaded {
            limit: "conditional looks at one key",
            retry_after: Duration::from_millis(10),
        })
    }

    fn ask_for<'a>(
        &self,
        place: &'a Place,
        order: &'a mut Order<'_>,
        brought: Option<Brought>,
        room: Option<OwnedSemaphorePermit>,
        waiter: Option<(crate::shelf::TierId, StoreDurability, Ticket)>,
    ) -> Ask<'a> {
        let targets = order.targets.unwrap_or(Targets {
            memory: place.memory,
            tiers: place.tiers,
        });
        let name = order.name;
        Ask {
            scope: &place.scope,
            hash: self.shelf.hash(place.scope.id, name),
            name,
            now_ms: self.now_ms(),
            change: match &order.intent {
                Intent::Put(prepared) => Change::Put(prepared.draft(place.schema)),
                Intent::Renew(prepared) => Change::Renew(prepared.draft(place.schema)),
                Intent::Remove => Change::Remove,
            },
            condition: order.condition,
            brought,
            plan: Plan {
                memory: targets.memory,
                put: TierSet(place.tiers.0 & targets.tiers.0),
                // What a call skips must not keep an older copy.
                delete: TierSet(place.tiers.0 & !targets.tiers.0),
            },
            room,
            waiter,
        }
    }

    /// Its part of the dirty budget. Waits for it while the drivers are up; with one down there is no
    /// waiting: the change is then kept in memory only (PROTOCOL rule 11).
    async fn room_for(
        &self,
        place: &Place,
        order: &Order<'_>,
        wait: &Wait<'_>,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if place.tiers.is_empty() {
            return Ok(None);
        }
        let bytes = (order.intent.weight() + order.name.len() + DIRTY_OVERHEAD_BYTES)
            .min(self.config.limits.dirty_bytes_max);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(bytes) {
            return Ok(Some(permit));
        }
        let is_down = |tier| self.port(tier).is_none_or(|port| !port.is_up());
        if place.tiers.iter().any(is_down) {
            return Ok(None);
        }
        let _waits = self.hurry.wait();
        let late = || {
            Counts::add(&self.counts.overloaded);
            Error::Overloaded {
                limit: "dirty_bytes_max",
                retry_after: Duration::from_millis(100),
            }
        };
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let permit = wait.until(room, late).await?;
        permit.map(Some).map_err(|_| Error::Closed)
    }

    /// Waits until the durable tier has stored it. A promise that was only the default is taken back
    /// when it cannot be kept, and the outcome says so; one asked for by name is an error.
    async fn await_stored(
        &self,
        place: &Place,
        order: &Order<'_>,
        waiting: Waiting,
        wait: &Wait<'_>,
        outcome: &mut WriteOutcome,
    ) -> Result<(), Error> {
        match self.stored(place, order.durability, waiting, wait).await {
            Ok(durability) => outcome.durability = durability,
            Err(error) if order.by_name => return Err(error),
            Err(_) => {
                let Some(port) = place.durable().and_then(|tier| self.port(tier)) else {
                    return Ok(());
                };
                let reason = if port.is_up() {
                    DegradedReason::Late
                } else {
                    DegradedReason::Down
                };
                if !outcome.degraded.iter().any(|d| *d.driver == *port.name) {
                    outcome.degraded.push(Degraded::new(&port.name, reason));
                }
            }
        }
        Ok(())
    }

    /// Waits for a ticket that stands for a whole chunk. The durability that was reached.
    pub(crate) async fn await_ticket(
        &self,
        place: &Place,
        durability: Durability,
        waiting: Waiting,
        wait: Option<Duration>,
    ) -> Result<Durability, Error> {
        if store_durability(durability).is_none() {
            return Ok(Durability::Queued);
        }
        self.stored(place, durability, waiting, &self.wait(wait))
            .await
    }

    async fn stored(
        &self,
        place: &Place,
        durability: Durability,
        waiting: Waiting,
        wait: &Wait<'_>,
    ) -> Result<Durability, Error> {
        let Some(port) = place.durable().and_then(|tier| self.port(tier)) else {
            return Ok(Durability::Queued);
        };
        if !port.is_up() {
            // While it is down there is no waiting.
            return Err(port.unavailable());
        }
        let _waits = self.hurry.wait();
        let late = || {
            if port.is_up() {
                wait.exceeded()
            } else {
                port.unavailable()
            }
        };
        match wait.until(waiting, late).await? {
            Ok(Ok(())) => Ok(durability),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(port.unavailable()),
        }
    }

    fn note_down(&self, place: &Place, memory_only: bool, outcome: &mut WriteOutcome) {
        for port in place.tiers.iter().filter_map(|tier| self.port(tier)) {
            if memory_only {
                outcome
                    .degraded
                    .push(Degraded::new(&port.name, DegradedReason::MemoryOnly));
            } else if !port.is_up() {
                outcome
                    .degraded
                    .push(Degraded::new(&port.name, DegradedReason::Down));
            }
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
    fn draft(&self, schema: u32) -> Draft {
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
