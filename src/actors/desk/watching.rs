//! Subscriptions of actors: the desk holds the stream and hands each event to the recipient.

use actix::prelude::*;

use super::Desk;
use crate::cache::Cache;
use crate::codec::Value;
use crate::error::Error;
use crate::messages::entry::{Subscribe, Unsubscribe, Watching};
use crate::messages::hub::SubscriptionId;
use crate::watch;

impl<V: Value> Handler<Subscribe<V>> for Desk {
    type Result = ResponseActFuture<Self, Result<SubscriptionId, Error>>;

    fn handle(&mut self, ask: Subscribe<V>, _: &mut Self::Context) -> Self::Result {
        let recipient = ask.recipient;
        let watching = self.on(&ask.cache, |cache: Cache<V>| async move {
            match &ask.watching {
                Watching::Key(key) => cache.watch(key).await,
                Watching::Prefix(prefix) => cache.watch_prefix(prefix).await,
                Watching::All => cache.watch_all().await,
            }
        });
        Box::pin(watching.into_actor(self).map(|watching, this, ctx| {
            let watch = watching?;
            this.issued += 1;
            let id = SubscriptionId(this.issued);
            let forward = watch::forward(watch, recipient).into_actor(this);
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
