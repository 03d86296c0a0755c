//! The desk: takes public messages and does what the handle does.
//!
//! It stands above the handle: each handler opens the cache that the message names and calls the same
//! method. It has an arbiter of its own, so that encoding a large value never holds up a supervisor,
//! and a gate, because its mailbox bounds nothing.

/// A call with those of its options that a message names.
macro_rules! options {
    ($call:expr, $message:expr; $($option:ident),+) => {{
        let mut call = $call;
        $(
            if let Some(value) = $message.$option {
                call = call.$option(value);
            }
        )+
        call
    }};
}

mod explain;
#[cfg(feature = "secure")]
mod sealed;
mod watching;
mod whole;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Weak};

use actix::prelude::*;

use super::guard::DeathGuard;
use crate::breaker::BreakerMode;
use crate::cache::{Cache, Items};
use crate::codec::Value;
use crate::error::Error;
use crate::gate::Gate;
use crate::messages::control::Stop;
use crate::messages::entry::{
    Clear, CompareAndSet, Contains, Expire, Get, GetMany, Peek, Remove, RemoveMany, Scan, Set,
    SetMany, Touch,
};
use crate::messages::hub::SubscriptionId;
use crate::messages::larder::Warmed;
use crate::outcome::Durability;
use crate::stats::{Health, Stats};
use crate::tiers::{Boxed, Home};
#[cfg(feature = "secure")]
pub(crate) use sealed::SealedLines;
use watching::Forwarding;
pub(crate) use watching::Healths;

/// Permits beyond the gate's that the mailbox holds: refusals on their way out.
const MAILBOX_SLACK: usize = 64;

type SetLine = dyn Fn(&str, BreakerMode) -> Result<(), Error> + Send + Sync;
type WarmLine = dyn Fn(Vec<String>) -> Boxed<Result<Warmed, Error>> + Send + Sync;

/// What the desk needs of larder as a whole.
pub(crate) struct DeskLines {
    pub home: Weak<Home>,
    pub flush: Box<dyn Fn(Durability) -> Boxed<Result<(), Error>> + Send + Sync>,
    pub warm: Box<WarmLine>,
    pub stats: Box<dyn Fn() -> Boxed<Result<Stats, Error>> + Send + Sync>,
    pub health: Box<dyn Fn() -> Result<Health, Error> + Send + Sync>,
    pub watch_health: Box<dyn Fn() -> Result<Healths, Error> + Send + Sync>,
    pub set_breaker: Box<SetLine>,
    #[cfg(feature = "secure")]
    pub sealed: SealedLines,
}

/// The actor that takes public messages.
pub struct Desk {
    lines: Arc<DeskLines>,
    gate: Gate,
    capacity: usize,
    forwards: HashMap<SubscriptionId, Forwarding>,
    /// So many of them are reason to look whose actors are gone.
    forwards_max: usize,
    issued: u64,
    /// Those of the forwards that are about health.
    health_watchers: HashSet<SubscriptionId>,
    // IMPORTANT: last.
    guard: DeathGuard,
}

type Reply<T> = ResponseFuture<Result<T, Error>>;

impl Desk {
    pub(crate) fn new(
        lines: Arc<DeskLines>,
        gate: Gate,
        capacity: usize,
        guard: DeathGuard,
    ) -> Self {
        Self {
            lines,
            gate,
            capacity,
            forwards: HashMap::new(),
            forwards_max: 0,
            issued: 0,
            health_watchers: HashSet::new(),
            guard,
        }
    }

    /// Opens the cache and runs `call` on it, within the gate.
    fn on<V, T, F>(&self, cache: &str, call: impl FnOnce(Cache<V>) -> F) -> Reply<T>
    where
        V: Value,
        T: 'static,
        F: Future<Output = Result<T, Error>> + 'static,
    {
        let opened = self.gate.pass_now().and_then(|permit| {
            let home = self.lines.home.upgrade().ok_or(Error::Closed)?;
            Ok((permit, Cache::<V>::named(home, cache)?))
        });
        match opened {
            Ok((permit, cache)) => {
                let done = call(cache);
                Box::pin(async move {
                    let result = done.await;
                    drop(permit);
                    result
                })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    fn whole<T: 'static>(
        &self,
        call: impl FnOnce(&DeskLines) -> Boxed<Result<T, Error>>,
    ) -> Reply<T> {
        match self.gate.pass_now() {
            Ok(permit) => {
                let done = call(&self.lines);
                Box::pin(async move {
                    let result = done.await;
                    drop(permit);
                    result
                })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

impl Actor for Desk {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.capacity + MAILBOX_SLACK);
    }
}

impl<V: Value> Handler<Get<V>> for Desk {
    type Result = Reply<Option<crate::Entry<V>>>;

    fn handle(&mut self, get: Get<V>, _: &mut Self::Context) -> Self::Result {
        let name = get.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_read(&cache, &get).await
        })
    }
}

impl<V: Value> Handler<Peek<V>> for Desk {
    type Result = Reply<Option<crate::Entry<V>>>;

    fn handle(&mut self, peek: Peek<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&peek.cache, |cache: Cache<V>| async move {
            cache.peek(&peek.key).await
        })
    }
}

impl<V: Value> Handler<Contains<V>> for Desk {
    type Result = Reply<bool>;

    fn handle(&mut self, asked: Contains<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&asked.cache, |cache: Cache<V>| async move {
            cache.contains(&asked.key).await
        })
    }
}

impl<V: Value> Handler<GetMany<V>> for Desk {
    type Result = Reply<Vec<(String, Option<crate::Entry<V>>)>>;

    fn handle(&mut self, get: GetMany<V>, _: &mut Self::Context) -> Self::Result {
        let name = get.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_reads(&cache, get).await
        })
    }
}

impl<V: Value> Handler<Set<V>> for Desk {
    type Result = Reply<crate::Version>;

    fn handle(&mut self, set: Set<V>, _: &mut Self::Context) -> Self::Result {
        let name = set.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_call(&cache, &set).await
        })
    }
}

impl<V: Value> Handler<CompareAndSet<V>> for Desk {
    type Result = Reply<crate::Version>;

    fn handle(&mut self, ask: CompareAndSet<V>, _: &mut Self::Context) -> Self::Result {
        let name = ask.set.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            let set = as_call(&cache, &ask.set);
            match ask.expected {
                Some(version) => set.if_version(version).await,
                None => set.if_absent().await,
            }
        })
    }
}

/// The handle's call that a message stands for.
fn as_read<'a, V: Value>(cache: &'a Cache<V>, get: &'a Get<V>) -> crate::cache::Get<'a, V> {
    let mut call = options!(cache.get(&get.key), get; deadline);
    if !get.drivers.is_empty() {
        call = call.drivers(&get.drivers);
    }
    if get.allow_stale {
        call = call.allow_stale();
    }
    call
}

type Reads<'a, V> = crate::cache::GetMany<'a, V, Items<std::vec::IntoIter<String>>>;

fn as_reads<V: Value>(cache: &Cache<V>, get: GetMany<V>) -> Reads<'_, V> {
    let call = options!(cache.get_many(get.keys), get; chunk, deadline);
    if get.allow_stale {
        return call.allow_stale();
    }
    call
}

fn as_call<'a, V: Value>(cache: &'a Cache<V>, set: &'a Set<V>) -> crate::cache::Set<'a, V> {
    let call = cache.set(&set.key, Arc::clone(&set.value)).tags(&set.tags);
    let call = options!(call, set; ttl, idle, stale_for, priority, durability, deadline);
    if set.drivers.is_empty() {
        return call;
    }
    call.drivers(&set.drivers)
}

impl<V: Value> Handler<SetMany<V>> for Desk {
    type Result = Reply<crate::cache::BatchReport>;

    fn handle(&mut self, set: SetMany<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&set.cache, |cache: Cache<V>| async move {
            let tags = set.tags.iter();
            let call = tags.fold(cache.set_many(set.items), |call, tag| call.tag(tag));
            options!(call, set; ttl, priority, chunk, durability, deadline).await
        })
    }
}

impl<V: Value> Handler<Remove<V>> for Desk {
    type Result = Reply<crate::Version>;

    fn handle(&mut self, remove: Remove<V>, _: &mut Self::Context) -> Self::Result {
        let name = remove.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_removal(&cache, &remove).await
        })
    }
}

fn as_removal<'a, V: Value>(
    cache: &'a Cache<V>,
    remove: &'a Remove<V>,
) -> crate::cache::Remove<'a, V> {
    options!(cache.remove(&remove.key), remove; if_version, durability, deadline)
}

impl<V: Value> Handler<RemoveMany<V>> for Desk {
    type Result = Reply<crate::cache::BatchReport>;

    fn handle(&mut self, remove: RemoveMany<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&remove.cache, |cache: Cache<V>| async move {
            options!(cache.remove_many(remove.keys), remove; chunk, durability, deadline).await
        })
    }
}

impl<V: Value> Handler<Touch<V>> for Desk {
    type Result = Reply<Option<crate::Version>>;

    fn handle(&mut self, touch: Touch<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&touch.cache, |cache: Cache<V>| async move {
            options!(cache.touch(&touch.key, touch.ttl), touch; durability, deadline).await
        })
    }
}

impl<V: Value> Handler<Expire<V>> for Desk {
    type Result = Reply<Option<crate::Version>>;

    fn handle(&mut self, expire: Expire<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&expire.cache, |cache: Cache<V>| async move {
            options!(cache.expire(&expire.key), expire; keep_for, durability, deadline).await
        })
    }
}

impl<V: Value> Handler<Scan<V>> for Desk {
    type Result = Reply<crate::cache::Page<V>>;

    fn handle(&mut self, scan: Scan<V>, _: &mut Self::Context) -> Self::Result {
        self.on(&scan.cache, |cache: Cache<V>| async move {
            let call = cache.scan(&scan.prefix).page_size(scan.page_size);
            options!(call, scan; after, deadline).await
        })
    }
}

impl Handler<Clear> for Desk {
    type Result = Reply<crate::Version>;

    fn handle(&mut self, clear: Clear, _: &mut Self::Context) -> Self::Result {
        // A fence knows no type; any will do.
        self.on(&clear.cache, |cache: Cache<()>| async move {
            let call = match &clear.tag {
                Some(tag) => cache.remove_tag(tag),
                None => cache.clear(),
            };
            options!(call, clear; durability, deadline).await
        })
    }
}

impl Handler<Stop> for Desk {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
