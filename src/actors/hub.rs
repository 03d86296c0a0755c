//! The subscription hub: takes what the shelf recorded and has the registry deliver it.
//!
//! A shell: who hears of what is the registry's, which outlives it. It must not wait for anybody, and
//! a turn of it is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};

use crate::actors::guard::DeathGuard;
use crate::error::Error;
use crate::messages::control::Stop;
use crate::messages::hub::{Close, Subscribe, SubscriptionId, Unsubscribe, Wake};
use crate::shelf::{RawEvent, Shelf};
use crate::sync::{Arc, Mutex};
use crate::watch::Registry;

/// The second fence behind the permits of those who subscribe; never to be reached.
pub const HUB_MAILBOX: usize = 1_024;
/// Events delivered in one turn, before the other actors of the arbiter have theirs.
const TURN_EVENTS_MAX: usize = 1_024;
/// When those who are behind are told, if no event comes along that they are told before.
const REMIND_EVERY: Duration = Duration::from_millis(100);

/// The actor. Started by [`start`].
pub struct Hub {
    shelf: Arc<Shelf>,
    registry: Arc<Mutex<Registry>>,
    /// Taken and not delivered yet; refilled only when empty, so that the bounds of the shelf's
    /// outboxes, in count and in bytes, bound it too.
    pending: VecDeque<RawEvent>,
    /// A further turn is under way.
    is_going_on: bool,
    is_reminding: bool,
    guard: DeathGuard,
}

/// Starts a generation on the current arbiter. The registry is its predecessor's, whose subscribers
/// are told that they may have missed something.
///
/// It lives as long as somebody holds an address of it.
pub fn start(shelf: Arc<Shelf>, registry: Arc<Mutex<Registry>>, guard: DeathGuard) -> Addr<Hub> {
    Hub {
        shelf,
        registry,
        pending: VecDeque::new(),
        is_going_on: false,
        is_reminding: false,
        guard,
    }
    .start()
}

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(HUB_MAILBOX);
        // Weak, because the bell hangs in the shelf, which the hub owns a part of.
        let hub = ctx.address().downgrade();
        self.shelf.bells.events.hang(move || {
            if let Some(hub) = hub.upgrade() {
                // Bounded by the bell: one ring is under way until the hub answers.
                hub.do_send(Wake);
            }
        });
        if self.guard.generation() > 1 {
            self.registry.lock().lost(0);
        }
        self.turn(ctx);
    }
}

impl Handler<Subscribe> for Hub {
    type Result = Result<SubscriptionId, Error>;

    fn handle(&mut self, ask: Subscribe, ctx: &mut Self::Context) -> Self::Result {
        // What happened before is for those who were there before.
        self.catch_up();
        let subscribed = self.registry.lock().subscribe(ask.filter, ask.sink);
        self.tell_shelf();
        self.remind_later(ctx);
        subscribed
    }
}

impl Handler<Unsubscribe> for Hub {
    type Result = ();

    fn handle(&mut self, Unsubscribe(id): Unsubscribe, _: &mut Self::Context) {
        self.registry.lock().unsubscribe(id);
        self.tell_shelf();
    }
}

impl Handler<Close> for Hub {
    type Result = ();

    fn handle(&mut self, _: Close, _: &mut Self::Context) {
        self.catch_up();
        self.registry.lock().end_all();
        self.tell_shelf();
    }
}

impl Handler<Wake> for Hub {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.turn(ctx);
    }
}

impl Handler<Stop> for Hub {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Hub {
    /// One bounded helping of work.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        if self.is_going_on {
            return;
        }
        let has_looked = self.pending.is_empty();
        if has_looked {
            self.take();
        }
        self.deliver(TURN_EVENTS_MAX);
        self.tell_shelf();
        self.remind_later(ctx);
        // A ring may have come in while there was enough to do, and nobody has looked since.
        if !self.pending.is_empty() || !has_looked {
            self.go_on(ctx);
        }
    }

    /// Takes another turn when the other actors of this arbiter have had theirs.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        self.is_going_on = true;
        let others = wrap_future(tokio::task::yield_now());
        ctx.spawn(others.map(|(), hub: &mut Self, ctx| {
            hub.is_going_on = false;
            hub.turn(ctx);
        }));
    }

    /// Delivers everything that has happened, at once.
    fn catch_up(&mut self) {
        self.deliver(usize::MAX);
        self.take();
        self.deliver(usize::MAX);
    }

    /// To be called with nothing pending.
    fn take(&mut self) {
        // IMPORTANT: answered before looking; what is added after the look rings again.
        self.shelf.bells.events.answer();
        let mut events = Vec::new();
        let lost = self.shelf.take_events(&mut events);
        self.pending = events.into();
        if lost > 0 {
            tracing::warn!(lost, "events were dropped before the hub could take them");
            self.registry.lock().lost(lost);
        }
    }

    fn deliver(&mut self, events_max: usize) {
        let mut registry = self.registry.lock();
        let count = self.pending.len().min(events_max);
        for event in self.pending.drain(..count) {
            registry.deliver(&event);
        }
    }

    /// Events are recorded only of caches that somebody watches.
    fn tell_shelf(&self) {
        let registry = self.registry.lock();
        self.shelf
            .watch_only(|cache| registry.watches_any_of(cache));
    }

    /// Sees to it that a watcher that is behind learns of it though nothing more happens. On a busy
    /// arbiter the timer is late; then events are what tells it.
    fn remind_later(&mut self, ctx: &mut Context<Self>) {
        if !self.is_reminding && self.registry.lock().is_behind() {
            self.is_reminding = true;
            ctx.run_later(REMIND_EVERY, |hub, ctx| {
                hub.is_reminding = false;
                hub.registry.lock().remind();
                hub.tell_shelf();
                hub.remind_later(ctx);
            });
        }
    }
}

#[cfg(test)]
mod tests;
