//! Subscriptions of actors: the desk holds the stream and hands each event to the recipient.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use actix::prelude::*;
use futures_core::Stream;

use super::Desk;
use crate::cache::Cache;
use crate::codec::Value;
use crate::error::Error;
use crate::messages::entry::{Subscribe, Unsubscribe, Watching};
use crate::messages::hub::SubscriptionId;
use crate::messages::larder::{HealthChanged, WatchHealth};
use crate::stats::Health;
use crate::watch;

/// How larder is, now and after each change.
pub(crate) type Healths = Pin<Box<dyn Stream<Item = Health> + Send>>;

/// Subscriptions that one generation can number: more than it lives to see.
const ISSUED_BITS: u32 = 40;

/// Actors that watch health through one desk.
pub const HEALTH_WATCHERS_MAX: usize = 64;
/// When one who finds no place may ask again.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Subscriptions that are made before it is looked again whose actors are gone.
const LOOK_AFTER: usize = 64;

/// Hands events to one recipient until the subscription ends.
type Forward = Pin<Box<dyn Future<Output = ()>>>;

/// A subscription under way.
pub(super) struct Forwarding {
    handle: SpawnHandle,
    /// Nobody is there any more who could be told. Nothing says so before there is something to tell.
    is_gone: Box<dyn Fn() -> bool>,
}

fn is_gone<M>(recipient: &Recipient<M>) -> Box<dyn Fn() -> bool>
where
    M: Message<Result = ()> + Send + 'static,
{
    let recipient = recipient.clone();
    Box::new(move || !recipient.connected())
}

impl Desk {
    /// A number that no other subscription has, be it of an earlier generation: whoever ends one of
    /// those must not end somebody else's.
    fn issue(&mut self) -> SubscriptionId {
        self.issued += 1;
        SubscriptionId((self.guard.generation() << ISSUED_BITS) | self.issued)
    }

    fn begin(
        &mut self,
        forward: Forward,
        is_gone: Box<dyn Fn() -> bool>,
        ctx: &mut Context<Self>,
    ) -> SubscriptionId {
        let id = self.issue();
        let forward = forward.into_actor(self).map(move |(), this: &mut Self, _| {
            this.forget(id);
        });
        let handle = ctx.spawn(forward);
        self.forwards.insert(id, Forwarding { handle, is_gone });
        id
    }

    fn forget(&mut self, id: SubscriptionId) -> Option<SpawnHandle> {
        self.health_watchers.remove(&id);
        self.forwards.remove(&id).map(|forward| forward.handle)
    }

    /// Ends the subscriptions of actors that have left without a word.
    fn forget_the_gone(&mut self, ctx: &mut Context<Self>) {
        let gone = self.forwards.iter().filter(|(_, one)| (one.is_gone)());
        let gone: Vec<_> = gone.map(|(id, _)| *id).collect();
        for handle in gone.into_iter().filter_map(|id| self.forget(id)) {
            ctx.cancel_future(handle);
        }
        self.forwards_max = self.forwards.len() + LOOK_AFTER;
    }
}

impl<V: Value> Handler<Subscribe<V>> for Desk {
    type Result = ResponseActFuture<Self, Result<SubscriptionId, Error>>;

    fn handle(&mut self, ask: Subscribe<V>, ctx: &mut Self::Context) -> Self::Result {
        if self.forwards.len() >= self.forwards_max {
            self.forget_the_gone(ctx);
        }
        let recipient = ask.recipient;
        let is_gone = is_gone(&recipient);
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
            let forward = forward?;
            Ok(this.begin(forward, is_gone, ctx))
        }))
    }
}

impl Handler<WatchHealth> for Desk {
    type Result = Result<SubscriptionId, Error>;

    fn handle(&mut self, ask: WatchHealth, ctx: &mut Self::Context) -> Self::Result {
        if self.health_watchers.len() >= HEALTH_WATCHERS_MAX {
            self.forget_the_gone(ctx);
        }
        if self.health_watchers.len() >= HEALTH_WATCHERS_MAX {
            return Err(Error::Overloaded {
                limit: "health_watchers_max",
                retry_after: FULL_RETRY_AFTER,
            });
        }
        let mut healths = (self.lines.watch_health)()?;
        let is_gone = is_gone(&ask.recipient);
        let forward = async move {
            while let Some(health) = poll_fn(|cx| healths.as_mut().poll_next(cx)).await {
                // Awaiting the reply is what bounds it.
                if ask.recipient.send(HealthChanged(health)).await.is_err() {
                    return;
                }
            }
        };
        let id = self.begin(Box::pin(forward), is_gone, ctx);
        self.health_watchers.insert(id);
        Ok(id)
    }
}

impl Handler<Unsubscribe> for Desk {
    type Result = ();

    fn handle(&mut self, unsubscribe: Unsubscribe, ctx: &mut Self::Context) {
        if let Some(forward) = self.forget(unsubscribe.0) {
            ctx.cancel_future(forward);
        }
    }
}
