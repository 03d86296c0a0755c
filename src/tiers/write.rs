//! The write path: room in the dirty set, one critical section, and the wait that was asked for.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::order::{Intent, Order, store_durability};
use super::{Counts, Place, Tiers};
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{Applied, Ask, Brought, Change, Ticket, Waiting};
use crate::sync::Arc;
use crate::wait::Wait;

/// How often a conditional change looks below again because somebody else changed the key.
const LOOKS_MAX: usize = 16;
/// When to try again after that.
const LOOK_RETRY_AFTER: Duration = Duration::from_millis(10);
/// When to try again where there was no room.
const ROOM_RETRY_AFTER: Duration = Duration::from_millis(100);
/// What an entry counts for in the dirty set beyond its bytes.
pub(super) const DIRTY_OVERHEAD_BYTES: usize = 256;

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
        self.check_durability(place, &order)?;
        let (mut brought, mut flight) = (None, None);
        for _ in 0..LOOKS_MAX {
            let room = self.room_for(place, &order, &wait).await?;
            let attempt = self.attempt(place, &mut order, brought.take(), room);
            drop(flight.take());
            match attempt.applied {
                Applied::Below(mark, distrusted) => {
                    let (found, down) = self
                        .bring(place, order.name, mark, distrusted, &wait)
                        .await?;
                    brought = Some(found);
                    // Held until the decision, so that the mark stands.
                    flight = Some(down);
                }
                _ => return self.conclude(place, &order, attempt, &wait).await,
            }
        }
        Err(self.overloaded("conditional looks at one key", LOOK_RETRY_AFTER))
    }

    /// Refuses a durability, asked for by name, that no tier of this call can give.
    pub(super) fn check_durability(&self, place: &Place, order: &Order<'_>) -> Result<(), Error> {
        let storing = match order.intent {
            Intent::Remove => place.tiers,
            Intent::Put(_) | Intent::Renew(_) => order.plan(place).put,
        };
        let is_needed = order.by_name && store_durability(order.durability).is_some();
        if !is_needed || !storing.is_empty() || self.config.disabled {
            return Ok(());
        }
        Err(Error::Invalid {
            field: "durability",
            reason: format!(
                "is {:?}, which needs a driver that stores the entry; cache {:?} has none for this call",
                order.durability, place.scope.name
            ),
        })
    }

    /// The critical section of a mutation.
    pub(super) fn attempt(
        &self,
        place: &Place,
        order: &mut Order<'_>,
        brought: Option<Brought>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Attempt {
        let plan = order.plan(place);
        let leaves_out = room.is_none() || plan.put != place.tiers;
        let moves = !place.tiers.is_empty() && leaves_out;
        // From before the change until after it, so that no scan overlooks it.
        let moving = moves.then(|| place.scope.moving());
        let awaited = order.promise(place).tiers;
        let (own, waiting) = match order.ticket {
            None if !awaited.is_empty() => {
                let (ticket, waiting) = Ticket::new();
                (Some(ticket), Some(waiting))
            }
            _ => (None, None),
        };
        let shared = order.ticket.or(own.as_ref());
        let waiters = awaited.iter().filter_map(|tier| {
            let durability = store_durability(order.durability)?;
            Some((tier, durability, shared?.share()))
        });
        let ask = Ask {
            scope: &place.scope,
            hash: self.shelf.hash(place.scope.id, order.name),
            name: order.name,
            now_ms: self.now_ms(),
            change: match &order.intent {
                Intent::Put(prepared) => Change::Put(prepared.draft(place.schema)),
                Intent::Renew(prepared) => Change::Renew(prepared.draft(place.schema)),
                Intent::Remove => Change::Remove,
            },
            condition: order.condition,
            brought,
            plan,
            room,
            kind: place.kind,
            waiters: waiters.collect(),
        };
        let applied = self.shelf.apply(ask);
        drop(moving);
        if let Some(own) = own {
            // Those that the tiers hold are what is left to wait for.
            own.done();
        }
        Attempt { applied, waiting }
    }

    /// What follows a critical section that came to a decision.
    pub(super) async fn conclude(
        &self,
        place: &Place,
        order: &Order<'_>,
        attempt: Attempt,
        wait: &Wait<'_>,
    ) -> Result<WriteOutcome, Error> {
        let Applied::Done {
            version,
            replaced,
            memory_only,
        } = attempt.applied
        else {
            let current = match attempt.applied {
                Applied::Conflict { current } => current,
                _ => None,
            };
            return Err(Error::Conflict { current });
        };
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
        if let Some(waiting) = attempt.waiting {
            let promise = order.promise(place);
            outcome.durability = self
                .await_stored(promise, waiting, wait, &mut outcome.degraded)
                .await?;
        }
        // IMPORTANT: after the change. The last flush begins when the room is closed: what it did not
        // find in the dirty set sees here that it came too late, and nobody is told that it will be kept.
        let is_kept = place.tiers.is_empty() || outcome.durability != Durability::Queued;
        if !is_kept && self.room.is_closed() {
            return Err(Error::Closed);
        }
        Ok(outcome)
    }

    /// Its part of the dirty budget. Waits for it while the drivers are up; with one down there is no
    /// waiting: the change is then kept in memory only (the slot protocol, rule 11).
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
        let _waits = self.hurry.wait();
        let late = || self.overloaded("dirty_bytes_max", ROOM_RETRY_AFTER);
        let mut room = pin!(Arc::clone(&self.room).acquire_many_owned(bytes));
        let mut down = pin!(self.one_down(place));
        let either = poll_fn(|cx| {
            if let Poll::Ready(permit) = room.as_mut().poll(cx) {
                return Poll::Ready(permit.map(Some).map_err(|_| Error::Closed));
            }
            down.as_mut().poll(cx).map(|()| Ok(None))
        });
        wait.until(either, late).await?
    }

    /// Waits until a tier of this cache takes no values.
    async fn one_down(&self, place: &Place) {
        let ports: Vec<_> = place.tiers.iter().filter_map(|t| self.port(t)).collect();
        let mut gone: Vec<_> = ports.iter().map(|p| Box::pin(p.gone.notified())).collect();
        for gone in &mut gone {
            // Before the look, so that none goes unnoticed after it.
            gone.as_mut().enable();
        }
        if ports.iter().any(|port| !port.takes_values()) {
            return;
        }
        poll_fn(|cx| {
            let told = gone.iter_mut().any(|g| g.as_mut().poll(cx).is_ready());
            if told { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// What came of a critical section, and what is left to wait for.
pub(super) struct Attempt {
    pub applied: Applied,
    waiting: Option<Waiting>,
}
