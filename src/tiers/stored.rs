//! What follows a mutation: the wait until it is as safe as was asked for, and what did not take part.

use std::time::Duration;

use super::order::{Order, store_durability};
use super::{Place, Tiers};
use crate::error::Error;
use crate::outcome::{Degraded, DegradedReason, Durability, WriteOutcome};
use crate::port::Port;
use crate::shelf::{TierSet, Waiting};
use crate::wait::Wait;

impl Tiers {
    /// Waits until the tiers have stored it. A promise that was only the default is taken back when it
    /// cannot be kept, and the outcome says so; one asked for by name is an error.
    pub(super) async fn await_stored(
        &self,
        order: &Order<'_>,
        awaited: TierSet,
        waiting: Waiting,
        wait: &Wait<'_>,
        outcome: &mut WriteOutcome,
    ) -> Result<(), Error> {
        match self.stored(awaited, order.durability, waiting, wait).await {
            Ok(durability) => outcome.durability = durability,
            Err(error) if order.by_name => return Err(error),
            Err(_) => {
                let ports: Vec<_> = awaited.iter().filter_map(|t| self.port(t)).collect();
                let is_down = ports.iter().any(|port| !port.takes_values());
                // With one down nobody has waited for the others: they are not late.
                for port in ports {
                    let reason = match unfit(port) {
                        Some(reason) => reason,
                        None if is_down => continue,
                        None => DegradedReason::Late,
                    };
                    if !outcome.degraded.iter().any(|d| *d.driver == *port.name) {
                        outcome.degraded.push(Degraded::new(&port.name, reason));
                    }
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
        let Some(tier) = place
            .durable()
            .filter(|_| store_durability(durability).is_some())
        else {
            return Ok(Durability::Queued);
        };
        self.stored(
            TierSet::NONE.with(tier),
            durability,
            waiting,
            &self.wait(wait),
        )
        .await
    }

    async fn stored(
        &self,
        awaited: TierSet,
        durability: Durability,
        waiting: Waiting,
        wait: &Wait<'_>,
    ) -> Result<Durability, Error> {
        let _waits = self.hurry.wait();
        let down = || {
            let mut ports = awaited.iter().filter_map(|tier| self.port(tier));
            ports.find(|port| !port.takes_values())
        };
        if let Some(port) = down() {
            // While it is down there is no waiting.
            return Err(port.unavailable());
        }
        let late = || down().map_or_else(|| wait.exceeded(), |port| port.unavailable());
        let first = awaited.first().and_then(|tier| self.port(tier));
        match wait.until(waiting, late).await? {
            Ok(Ok(())) => Ok(durability),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(down().or(first).map_or(Error::Closed, |p| p.unavailable())),
        }
    }

    pub(super) fn note_down(&self, place: &Place, memory_only: bool, outcome: &mut WriteOutcome) {
        for port in place.tiers.iter().filter_map(|tier| self.port(tier)) {
            if memory_only {
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
