//! What follows a mutation: the wait until it is as safe as was asked for, and what did not take part.

use tokio::sync::oneshot::error::TryRecvError;

use super::order::Promise;
use super::{Place, Tiers};
use crate::error::Error;
use crate::outcome::{Degraded, DegradedReason, Durability, WriteOutcome};
use crate::port::Port;
use crate::shelf::{TierSet, Waiting};
use crate::wait::Wait;

impl Tiers {
    /// Waits until what the ticket stands for, one change or a chunk of them, is as safe as was
    /// promised, and replies with what was reached. A promise that was only the default is taken back
    /// when it cannot be kept, and `degraded` says so; one made by name is an error.
    pub(crate) async fn await_stored(
        &self,
        promise: Promise,
        waiting: Waiting,
        wait: &Wait<'_>,
        degraded: &mut Vec<Degraded>,
    ) -> Result<Durability, Error> {
        match self.stored(promise, waiting, wait).await {
            Ok(()) => return Ok(promise.durability),
            Err(error) if promise.by_name => return Err(error),
            Err(_) => {}
        }
        let ports: Vec<_> = promise.tiers.iter().filter_map(|t| self.port(t)).collect();
        let is_down = ports.iter().any(|port| !promise.is_kept_by(port));
        for port in ports {
            let reason = match unfit(port) {
                Some(reason) => reason,
                // With one down nobody has waited for the others: they are not late.
                None if is_down => continue,
                None => DegradedReason::Late,
            };
            if !degraded.iter().any(|d| *d.driver == *port.name) {
                degraded.push(Degraded::new(&port.name, reason));
            }
        }
        Ok(Durability::Queued)
    }

    async fn stored(
        &self,
        promise: Promise,
        mut waiting: Waiting,
        wait: &Wait<'_>,
    ) -> Result<(), Error> {
        let first = promise.tiers.first().and_then(|tier| self.port(tier));
        let down = || {
            let mut ports = promise.tiers.iter().filter_map(|tier| self.port(tier));
            ports.find(|port| !promise.is_kept_by(port))
        };
        let unknown = || down().or(first).map_or(Error::Closed, |p| p.unavailable());
        match waiting.try_recv() {
            // While a chunk was made, all of it was stored, or there is nothing in it to store.
            Ok(stored) => return stored,
            Err(TryRecvError::Closed) => return Err(unknown()),
            Err(TryRecvError::Empty) => {}
        }
        let _waits = self.hurry.wait();
        if let Some(port) = down() {
            // While it is down there is no waiting.
            return Err(port.unavailable());
        }
        let late = || down().map_or_else(|| wait.exceeded(), |port| port.unavailable());
        match wait.until(waiting, late).await? {
            Ok(stored) => stored,
            Err(_) => Err(unknown()),
        }
    }

    pub(super) fn note_down(&self, place: &Place, unstored: TierSet, outcome: &mut WriteOutcome) {
        for port in place.tiers.iter().filter_map(|tier| self.port(tier)) {
            if unstored.has(port.id) {
                outcome
                    .degraded
                    .push(Degraded::new(&port.name, DegradedReason::MemoryOnly));
            } else if let Some(reason) = unfit(port) {
                outcome.degraded.push(Degraded::new(&port.name, reason));
            }
        }
    }
}

/// Why a driver stores nothing new at present.
fn unfit(port: &Port) -> Option<DegradedReason> {
    if !port.is_up() {
        return Some(DegradedReason::Down);
    }
    (!port.takes_values()).then_some(DegradedReason::Full)
}
