//! The write path: room in the dirty set, one critical section, and the wait that was asked for.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::order::{Order, Promise, store_durability};
use super::{Counts, Place, Tiers};
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{
    Applied, Ask, Brought, Change, Condition, Room, Ticket, TierId, TierSet, Waiting,
};
use crate::sync::Arc;
use crate::version::Version;
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
    /// Carries out a mutation for which nothing is to be waited for. `None` if something is, and then
    /// nothing has happened: it is to be [`write`](Tiers::write)n.
    pub(crate) fn write_at_once(
        &self,
        place: &Place,
        order: &mut Order<'_>,
    ) -> Option<Result<Version, Error>> {
        let is_plain = order.condition == Condition::None && order.ticket.is_none();
        if !is_plain || !order.promise(place).tiers.is_empty() || self.config.disabled {
            return None;
        }
        let checked = self.check_open();
        if let Err(error) = checked.and_then(|()| self.check_durability(place, order)) {
            return Some(Err(error));
        }
        let room = self.room_at_once(place, order)?;
        let attempt = self.attempt(place, order, None, room);
        let decided = self.decided(attempt.applied);
        Some(decided.and_then(|(version, ..)| self.check_in_time(place).map(|()| version)))
    }

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
        let wait = self.wait(order.wait).standing(order.standing(place));
        self.check_durability(place, &order)?;
        let promise = order.promise(place);
        let (mut brought, mut flight) = (None, None);
        for _ in 0..LOOKS_MAX {
            let room = self.room_for(place, &order, &wait).await?;
            // What is not carried out stays in the order.
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
                _ => return self.conclude(place, promise, attempt, &wait).await,
            }
        }
        Err(self.overloaded("conditional looks at one key", LOOK_RETRY_AFTER))
    }

    /// Carries out a change without room: what tiers have of the key is not believed until it is deleted.
    pub(crate) fn without_room(&self, place: &Place, mut order: Order<'_>) -> Result<(), Error> {
        let Attempt { applied, .. } = self.attempt(place, &mut order, None, Room::default());
        self.decided(applied).map(drop)
    }

    /// Refuses a durability, asked for by name, that no tier of this call can give.
    pub(super) fn check_durability(&self, place: &Place, order: &Order<'_>) -> Result<(), Error> {
        let is_needed = order.by_name && store_durability(order.durability).is_some();
        if !is_needed || self.config.disabled {
            return Ok(());
        }
        let storing = match order.change.draft() {
            None => place.tiers,
            Some(_) => order.plan(place).put,
        };
        if !storing.is_empty() {
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

    /// The critical section of a mutation, before anything was looked for below.
    pub(super) fn first_attempt(
        &self,
        place: &Place,
        order: &mut Order<'_>,
        room: Room,
    ) -> Attempt {
        self.attempt(place, order, None, room)
    }

    /// The critical section of a mutation. What is carried out is taken from the order.
    fn attempt(
        &self,
        place: &Place,
        order: &mut Order<'_>,
        brought: Option<Brought>,
        room: Room,
    ) -> Attempt {
        let plan = order.plan(place);
        let leaves_out = plan.put.and(room.tiers()) != place.tiers;
        let moves = !place.tiers.is_empty() && leaves_out;
        // From before the change until after it, so that no scan overlooks it.
        let moving = moves.then(|| place.scope.moving());
        let awaited = order.promise(place).tiers;
        // Nobody waits for most changes.
        let durability = store_durability(order.durability).filter(|_| !awaited.is_empty());
        let (own, waiting) = match order.ticket {
            None if !awaited.is_empty() => {
                let (ticket, waiting) = Ticket::new();
                (Some(ticket), Some(waiting))
            }
            _ => (None, None),
        };
        let shared = order.ticket.or(own.as_ref());
        let waiters = match (durability, shared) {
            (Some(durability), Some(shared)) => awaited
                .iter()
                .map(|tier| (tier, durability, shared.share()))
                .collect(),
            _ => Vec::new(),
        };
        let mut ask = Ask {
            scope: &place.scope,
            hash: self.shelf.hash(place.scope.id, order.name),
            name: order.name,
            // Not from before the value was encoded: the slot that it replaces may have expired since.
            now_ms: self.now_ms(),
            change: std::mem::replace(&mut order.change, Change::Remove),
            condition: order.condition,
            brought,
            plan,
            room,
            kind: place.kind,
            waiters,
        };
        let applied = self.shelf.apply_to(&mut ask);
        order.change = ask.change;
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
        promise: Promise,
        attempt: Attempt,
        wait: &Wait<'_>,
    ) -> Result<WriteOutcome, Error> {
        let (version, replaced, unstored) = self.decided(attempt.applied)?;
        let mut outcome = WriteOutcome {
            version,
            replaced,
            durability: Durability::Queued,
            degraded: Vec::new(),
        };
        self.note_down(place, unstored, &mut outcome);
        if let Some(waiting) = attempt.waiting {
            outcome.durability = self
                .await_stored(promise, waiting, wait, &mut outcome.degraded)
                .await?;
        }
        if outcome.durability == Durability::Queued {
            self.check_in_time(place)?;
        }
        Ok(outcome)
    }

    /// What a decision comes to before anything is stored: its version, the one it replaced, and the
    /// tiers that will not store it.
    fn decided(&self, applied: Applied) -> Result<(Version, Option<Version>, TierSet), Error> {
        let (version, replaced, unstored) = match applied {
            Applied::Done {
                version,
                replaced,
                unstored,
            } => (version, replaced, unstored),
            Applied::Conflict { current } => return Err(Error::Conflict { current }),
            Applied::Below(..) => return Err(Error::Conflict { current: None }),
        };
        if !unstored.is_empty() {
            Counts::add(&self.counts.memory_only_sets);
            // It may be up again since, and have been healed before this change was in doubt.
            let mut ports = unstored.iter().filter_map(|tier| self.port(tier));
            if ports.any(|port| port.takes_values()) {
                self.shelf.bells.dirty.ring();
            }
        }
        Ok((version, replaced, unstored))
    }

    /// Refuses to say that a change will be kept which came after the last flush began.
    fn check_in_time(&self, place: &Place) -> Result<(), Error> {
        // IMPORTANT: after the change. The last flush begins when the room is closed: what it did not
        // find in the dirty set sees here that it came too late, and nobody is told that it will be kept.
        if !place.tiers.is_empty() && self.takes_no_more() {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Its part of the dirty budget of each driver. Waits for it while that driver is up; with it down
    /// there is no waiting: the others get the change, and its copy is not believed until it is deleted
    /// or overwritten (the slot protocol, rule 11).
    async fn room_for(
        &self,
        place: &Place,
        order: &Order<'_>,
        wait: &Wait<'_>,
    ) -> Result<Room, Error> {
        let bytes = self.dirty_bytes_of(order);
        let mut room = Room::default();
        // In the order of the drivers for everybody, so that no two wait for each other.
        for tier in place.tiers.iter() {
            if let Some(permit) = self.room_in(tier, bytes, wait).await? {
                room.add(tier, permit);
            }
        }
        Ok(room)
    }

    /// Its part of the budgets, if all of it is there without waiting.
    fn room_at_once(&self, place: &Place, order: &Order<'_>) -> Option<Room> {
        let mut room = Room::default();
        if place.tiers.is_empty() {
            return Some(room);
        }
        let left = order.standing(place);
        let left = left.leaves(self.config.limits.dirty_bytes_max);
        for tier in place.tiers.iter() {
            room.add(tier, self.try_room(tier, self.dirty_bytes_of(order), left)?);
        }
        Some(room)
    }

    /// What a change counts for in the dirty set.
    fn dirty_bytes_of(&self, order: &Order<'_>) -> u32 {
        let bytes = order.change.bytes() + order.name.len() + DIRTY_OVERHEAD_BYTES;
        let bytes = bytes.min(self.config.limits.dirty_bytes_max);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// So many bytes of a budget, if they are there and `left` besides.
    fn try_room(&self, tier: TierId, bytes: u32, left: usize) -> Option<OwnedSemaphorePermit> {
        let budget = self.rooms.get(usize::from(tier.0))?;
        // What is larger than the rest has its turn when nothing else is dirty.
        let wanted = left.saturating_add(bytes as usize);
        let wanted = wanted.min(self.config.limits.dirty_bytes_max);
        if left > 0 && budget.available_permits() < wanted {
            return None;
        }
        Arc::clone(budget).try_acquire_many_owned(bytes).ok()
    }

    async fn room_in(
        &self,
        tier: TierId,
        bytes: u32,
        wait: &Wait<'_>,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let budget = self.rooms.get(usize::from(tier.0)).ok_or(Error::Closed)?;
        let port = self.port(tier).ok_or(Error::Closed)?;
        let bytes_max = self.config.limits.dirty_bytes_max;
        let left = wait.stands().leaves(bytes_max);
        if let Some(permit) = self.try_room(tier, bytes, left) {
            return Ok(Some(permit));
        }
        let late = || self.overloaded("dirty_bytes_max", ROOM_RETRY_AFTER);
        if port.takes_values() {
            wait.turn(late)?;
        } else if left > 0 {
            return Ok(None);
        }
        let _waits = self.hurry.wait();
        let mut room = pin!(Arc::clone(budget).acquire_many_owned(bytes));
        let mut gone = pin!(port.gone.notified());
        // Before the look, so that it does not go unnoticed after it.
        gone.as_mut().enable();
        let either = poll_fn(|cx| {
            if let Poll::Ready(permit) = room.as_mut().poll(cx) {
                return Poll::Ready(permit.map(Some).map_err(|_| Error::Closed));
            }
            if !port.takes_values() {
                return Poll::Ready(Ok(None));
            }
            gone.as_mut().poll(cx).map(|()| Ok(None))
        });
        wait.until(either, late).await?
    }

    /// What is acknowledged and not stored, in bytes: that of the driver with most of it.
    pub(crate) fn dirty_bytes(&self) -> usize {
        let bytes_max = self.config.limits.dirty_bytes_max;
        let rooms = self.rooms.iter().map(|room| room.available_permits());
        rooms
            .min()
            .map_or(0, |least| bytes_max.saturating_sub(least))
    }
}

/// What came of a critical section, and what is left to wait for.
pub(super) struct Attempt {
    pub applied: Applied,
    waiting: Option<Waiting>,
}
