//! How larder is, and the drivers' breakers by hand: what handle and desk share.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::watch;

use super::Parts;
use crate::breaker::BreakerMode;
use crate::error::Error;
use crate::port::Port;
use crate::stats::{Condition, DriverHealth, Health, LoadsHealth};
use crate::sync::Ordering;

impl Parts {
    /// How everything is.
    pub fn health(&self) -> Health {
        let ports = self.tiers.ports.iter();
        let drivers = ports.map(|port| self.driver_health(port)).collect();
        let closed = self.tiers.closed.load(Ordering::Acquire);
        let loads = LoadsHealth::of(&self.tiers.fetches);
        Health::of(drivers, self.book.health(), loads, closed)
    }

    /// How one driver is.
    pub fn driver_health(&self, port: &Port) -> DriverHealth {
        let actors = self.book.health();
        let actor = actors.iter().find(|actor| *actor.name == *port.name);
        let owed = self.tiers.shelf.owed(port.id);
        let clock = &self.tiers.clock;
        DriverHealth::of(port, actor, &owed, clock.now_ms(), clock.awake_ms())
    }

    /// A driver below memory.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none of this name.
    pub fn port_named(&self, name: &str) -> Result<Arc<Port>, Error> {
        let ports = &self.tiers.ports;
        let found = ports.iter().find(|port| &*port.name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = ports.iter().map(|port| &*port.name).collect();
            Error::Invalid {
                field: "driver",
                reason: format!("is {name:?}, there are {names:?}"),
            }
        })
    }

    /// Takes the decision from a driver's breaker, or gives it back.
    pub fn set_breaker(&self, port: &Port, mode: BreakerMode) {
        tracing::info!(driver = %port.name, ?mode, "breaker set by hand");
        port.force(mode);
        // What could not be stored meanwhile, or whoever waits for what cannot be stored now.
        self.tiers.shelf.bells.dirty.ring();
        self.changes.note();
    }
}

/// How larder is, whenever that changes. See [`Larder::watch_health`](crate::Larder::watch_health).
#[must_use = "changes are seen by those who poll it"]
pub struct HealthWatch {
    parts: Weak<Parts>,
    changes: Changes,
}

type Changes = Pin<Box<dyn Future<Output = Option<watch::Receiver<u64>>> + Send>>;

impl HealthWatch {
    pub(crate) fn new(parts: &Arc<Parts>) -> Self {
        Self {
            parts: Arc::downgrade(parts),
            changes: changes(parts.changes.subscribe()),
        }
    }

    /// How larder is, now or after the next change; `None` after its end was told.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no change.
    pub async fn next(&mut self) -> Option<Health> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for HealthWatch {
    type Item = Health;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Health>> {
        let Some(receiver) = ready!(self.changes.as_mut().poll(cx)) else {
            self.changes = Box::pin(std::future::ready(None));
            return Poll::Ready(None);
        };
        let health = self.parts.upgrade().map(|parts| parts.health());
        let is_over = health
            .as_ref()
            .is_none_or(|h| h.condition == Condition::Down);
        self.changes = if is_over {
            Box::pin(std::future::ready(None))
        } else {
            Box::pin(next_change(receiver))
        };
        Poll::Ready(health)
    }
}

/// The first answer comes at once.
fn changes(receiver: watch::Receiver<u64>) -> Changes {
    Box::pin(std::future::ready(Some(receiver)))
}

async fn next_change(mut receiver: watch::Receiver<u64>) -> Option<watch::Receiver<u64>> {
    receiver.changed().await.ok().map(|()| receiver)
}
