//! Subscriptions of actors: the desk holds the stream and hands each event to the recipient.

use std::future::Future;
use std::pin::Pin;

use actix::prelude::*;

use super::Desk;
use crate::cache::Cache;
use crate::codec::Value;
use crate::error::Error;
use crate::messages::entry::{Subscribe, Unsubscribe, Watching};
use crate::messages::hub::SubscriptionId;
use crate::watch;

/// Subscriptions that one generation can number: more than it lives to see.
const ISSUED_BITS: u32 = 40;

/// Hands events to one recipient until the subscription ends.
type Forward = Pin<Box<dyn Future<Output = ()>>>;

impl Desk {
    /// A number that no other subscription has, be it of an earlier generation: whoever ends one of
    /// those must not end somebody else's.
    fn issue(&mut self) -> SubscriptionId {
        self.issued += 1;
        SubscriptionId((self.guard.generation() << ISSUED_BITS) | self.issued)
    }
}

impl<V: Value> Handler<Subscribe<V>> for Desk {
    type Result = ResponseActFuture<Self, Result<SubscriptionId, Error>>;

    fn handle(&mut self, ask: Subscribe<V>, _: &mut Self::Context) -> Self::Result {
        let recipient = ask.recipient;
        let watching = self.on(&ask.cache, |cache: Cache<V>| async move {
            let watch = match &ask.watching {
                Watching::Key(key) => cache.watch(key).await?,
                Watching::Prefix(prefix) => cache.watch_prefix(prefix).await?,
                Watching::All => cache.watch_all().await?,
                Watching::Latest(key) => {
                    let watch = cache.watch_latest(key).await?;
                    return Ok(Box::pin(watch::forward_latest(watch, recipient)) as Forward);
                }
            };
            Ok(Box::pin(watch::forward(watch, recipient)) as Forward)
        });
        Box::pin(watching.into_actor(self).map(|forward, this, ctx| {
            let forward = forward?.into_actor(this);
            let id = this.issue();
            let forward = ctx.spawn(forward.map(move |(), this, _| {
                this.forwards.remove(&id);
            }));
            this.forwards.insert(id, forward);
            Ok(id)
        }))
    }
}

impl Handler<Unsubscribe> for Desk {
    type Result = ();

    fn handle(&mut self, unsubscribe: Unsubscribe, ctx: &mut Self::Context) {
        if let Some(forward) = self.forwards.remove(&unsubscribe.0) {
            ctx.cancel_future(forward);
        }
    }
}
