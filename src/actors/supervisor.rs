//! A supervisor: keeps one actor alive.
//!
//! It owns the factory and the generation number, hears of death by a guard, of trouble by report and
//! of hangs by a watchdog that it keeps going, and launches a successor after a backoff. What is said of
//! an earlier generation is passed over. actix's own supervisor restarts nothing after a panic and
//! reuses the state; this one builds anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix::prelude::*;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::guard::DeathGuard;
use crate::clock::Clock;
use crate::drivers::Failure;
use crate::health::{ActorHealth, ActorState, Pause, Restarts};
use crate::messages::supervise::{Died, Failed, Restart};

/// Starts one generation. Runs on the supervisor's arbiter and must not block.
pub type Launch =
    Box<dyn Fn(DeathGuard) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>> + Send>;

/// Makes the present generation stop, if it can be reached.
pub type Halt = Box<dyn Fn() + Send>;

/// Looks after a generation that may hang. Reports what it finds as [`Failed`].
pub struct Watchdog {
    /// Looks.
    pub look: Box<dyn Fn() + Send>,
    /// How often, in milliseconds.
    pub every_ms: u64,
}

/// What a supervisor is told to do.
pub struct Charge {
    /// What it knows of its actor, for everybody to read.
    pub health: Arc<Mutex<ActorHealth>>,
    /// Starts a generation.
    pub launch: Launch,
    /// Stops the present one.
    pub halt: Halt,
    /// Looks after it.
    pub watchdog: Option<Watchdog>,
    /// Tells whoever watches that the health has changed.
    pub changed: Box<dyn Fn() + Send>,
    /// When to start the next one.
    pub restarts: Restarts,
    /// Whether larder is being shut down: then no actor is missed.
    pub is_closing: Box<dyn Fn() -> bool + Send>,
    /// The time.
    pub clock: Clock,
}

/// Keeps one actor alive.
pub struct Supervisor {
    charge: Charge,
    died: u64,
    /// The generation that has failed, and why.
    condemned: Option<(u64, String)>,
    first: Option<oneshot::Sender<Result<(), Failure>>>,
    waiting: Option<SpawnHandle>,
}

impl Supervisor {
    /// Starts a supervisor on the current arbiter and launches the first generation; `first` hears
    /// what came of that.
    pub fn start(charge: Charge, first: oneshot::Sender<Result<(), Failure>>) -> Addr<Self> {
        Actor::start(Self {
            charge,
            died: 0,
            condemned: None,
            first: Some(first),
            waiting: None,
        })
    }

    fn launch(&mut self, ctx: &mut Context<Self>) {
        self.waiting = None;
        let generation = {
            let mut health = self.charge.health.lock();
            health.generation += 1;
            health.state = ActorState::Starting;
            health.generation
        };
        let addr = ctx.address();
        // At most one message per generation, so the mailbox stays bounded.
        let tell = Arc::new(move |generation| addr.do_send(Died { generation }));
        // The guard exists before anything that can fail does.
        let guard = DeathGuard::new(generation, tell);
        let launched = (self.charge.launch)(guard).into_actor(self);
        ctx.spawn(launched.map(move |result, this, ctx| this.launched(generation, result, ctx)));
    }

    fn launched(&mut self, generation: u64, result: Result<(), Failure>, ctx: &mut Context<Self>) {
        match &result {
            Ok(()) if self.died < generation => {
                self.enter(ActorState::Up, None);
                if self.is_condemned(generation) {
                    // Only now can it be reached. Its guard tells when it is gone.
                    (self.charge.halt)();
                }
            }
            Ok(()) => {
                let reason = self.reason(generation, "it ended while it was starting");
                self.down(reason, ctx);
            }
            Err(failure) => self.down(failure.to_string(), ctx),
        }
        // IMPORTANT: last. Whoever waits for it may ask at once how the actor is.
        if let Some(first) = self.first.take() {
            let _ = first.send(result);
        }
    }

    fn is_condemned(&self, generation: u64) -> bool {
        self.condemned
            .as_ref()
            .is_some_and(|(of, _)| *of == generation)
    }

    /// Why a generation is gone.
    fn reason(&self, generation: u64, unless_known: &str) -> String {
        let known = self.condemned.as_ref().filter(|(of, _)| *of == generation);
        known.map_or_else(|| unless_known.to_owned(), |(_, reason)| reason.clone())
    }

    fn down(&mut self, reason: String, ctx: &mut Context<Self>) {
        let now_ms = self.charge.clock.now_ms();
        let up_ms = {
            let health = self.charge.health.lock();
            let was_up = health.state == ActorState::Up;
            was_up.then(|| now_ms.saturating_sub(health.since_ms))
        };
        let pause = self.charge.restarts.next(now_ms, up_ms, fastrand::f64());
        let (wait_ms, reason) = match pause {
            Pause::Backoff(wait_ms) => (wait_ms, reason),
            Pause::Rest(wait_ms) => (
                wait_ms,
                format!(
                    "{reason}; restarted too often, left alone for {wait_ms} ms or until it is asked for"
                ),
            ),
        };
        let at_ms = now_ms.saturating_add(wait_ms);
        self.enter(ActorState::Down, Some(reason));
        self.charge.health.lock().next_ms = Some(at_ms);
        (self.charge.changed)();
        let clock = self.charge.clock.clone();
        let wait = async move { clock.sleep_until(at_ms).await };
        let wait = wait.into_actor(self).map(|(), this, ctx| this.launch(ctx));
        self.waiting = Some(ctx.spawn(wait));
    }

    /// Looks again and again, for as long as the supervisor lives.
    fn keep_watch(&mut self, watchdog: Watchdog, ctx: &mut Context<Self>) {
        let clock = self.charge.clock.clone();
        let watch = async move {
            loop {
                clock.sleep_until(clock.now_ms() + watchdog.every_ms).await;
                (watchdog.look)();
            }
        };
        ctx.spawn(watch.into_actor(self));
    }

    fn enter(&self, state: ActorState, reason: Option<String>) {
        let mut health = self.charge.health.lock();
        health.state = state;
        health.since_ms = self.charge.clock.now_ms();
        health.next_ms = None;
        match &reason {
            Some(reason) => {
                warn!(actor = %health.name, generation = health.generation, %reason, "actor is down");
            }
            None => info!(actor = %health.name, generation = health.generation, "actor is up"),
        }
        health.reason = reason;
        drop(health);
        (self.charge.changed)();
    }

    fn generation(&self) -> u64 {
        self.charge.health.lock().generation
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(watchdog) = self.charge.watchdog.take() {
            self.keep_watch(watchdog, ctx);
        }
        self.launch(ctx);
    }
}

impl Handler<Died> for Supervisor {
    type Result = ();

    fn handle(&mut self, died: Died, ctx: &mut Self::Context) {
        self.died = self.died.max(died.generation);
        let state = self.charge.health.lock().state;
        // While it is starting, the launch itself says what came of it.
        let is_missed = !(self.charge.is_closing)();
        if died.generation == self.generation() && state == ActorState::Up && is_missed {
            let reason = self.reason(died.generation, "it stopped or panicked");
            self.down(reason, ctx);
        }
    }
}

impl Handler<Failed> for Supervisor {
    type Result = ();

    fn handle(&mut self, failed: Failed, _: &mut Self::Context) {
        if failed.generation == self.generation() && !self.is_condemned(failed.generation) {
            let name = self.charge.health.lock().name.clone();
            warn!(actor = %name, failure = %failed.failure, "driver failed");
            self.condemned = Some((failed.generation, failed.failure.to_string()));
            if self.charge.health.lock().state == ActorState::Up {
                // Its guard tells when it is gone.
                (self.charge.halt)();
            }
        }
    }
}

impl Handler<Restart> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        if let Some(waiting) = self.waiting.take() {
            ctx.cancel_future(waiting);
            self.charge.restarts.forget();
            self.launch(ctx);
        }
    }
}
