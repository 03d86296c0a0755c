//! A supervisor: keeps one actor alive.
//!
//! It owns the factory and the generation number, hears of death by a guard and of trouble by report,
//! and launches a successor after an exponential backoff with full jitter (Brooker, "Exponential
//! Backoff and Jitter", 2015). actix's own supervisor restarts nothing after a panic and reuses the
//! state; this one builds anew.

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
use crate::health::{ActorHealth, ActorState, Backoff};
use crate::messages::supervise::{Died, Failed, Restart};

/// Starts one generation. Runs on the supervisor's arbiter and must not block.
pub type Launch =
    Box<dyn Fn(DeathGuard) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>> + Send>;

/// Makes the present generation stop, if it can be reached.
pub type Halt = Box<dyn Fn() + Send>;

/// Keeps one actor alive.
pub struct Supervisor {
    health: Arc<Mutex<ActorHealth>>,
    launch: Launch,
    halt: Halt,
    clock: Clock,
    backoff: Backoff,
    failures: u32,
    died: u64,
    /// The generation that has failed, if it did before its launch was over.
    condemned: u64,
    first: Option<oneshot::Sender<Result<(), Failure>>>,
    waiting: Option<SpawnHandle>,
}

impl Supervisor {
    /// Starts a supervisor on the current arbiter and launches the first generation; `first` hears
    /// what came of that.
    pub fn start(
        health: Arc<Mutex<ActorHealth>>,
        launch: Launch,
        halt: Halt,
        clock: Clock,
        backoff: Backoff,
        first: oneshot::Sender<Result<(), Failure>>,
    ) -> Addr<Self> {
        Actor::start(Self {
            health,
            launch,
            halt,
            clock,
            backoff,
            failures: 0,
            died: 0,
            condemned: 0,
            first: Some(first),
            waiting: None,
        })
    }

    fn launch(&mut self, ctx: &mut Context<Self>) {
        self.waiting = None;
        let generation = {
            let mut health = self.health.lock();
            health.generation += 1;
            health.state = ActorState::Starting;
            health.generation
        };
        let addr = ctx.address();
        // At most one message per generation, so the mailbox stays bounded.
        let tell = Arc::new(move |generation| addr.do_send(Died { generation }));
        // The guard exists before anything that can fail does.
        let guard = DeathGuard::new(generation, tell);
        let launched = (self.launch)(guard).into_actor(self);
        ctx.spawn(launched.map(move |result, this, ctx| this.launched(generation, result, ctx)));
    }

    fn launched(&mut self, generation: u64, result: Result<(), Failure>, ctx: &mut Context<Self>) {
        match &result {
            Ok(()) if self.died < generation => {
                self.enter(ActorState::Up, None);
                if self.condemned == generation {
                    // Only now can it be reached. Its guard tells when it is gone.
                    (self.halt)();
                }
            }
            Ok(()) => self.down("it ended while it was starting".into(), ctx),
            Err(failure) => self.down(failure.to_string(), ctx),
        }
        // IMPORTANT: last. Whoever waits for it may ask at once how the actor is.
        if let Some(first) = self.first.take() {
            let _ = first.send(result);
        }
    }

    fn down(&mut self, reason: String, ctx: &mut Context<Self>) {
        let (state, since_ms) = {
            let health = self.health.lock();
            (health.state, health.since_ms)
        };
        let up_ms = self.clock.now_ms().saturating_sub(since_ms);
        if state == ActorState::Up && up_ms > self.backoff.ms_max {
            // It worked for long. One that opens well and then fails each time does not get here, so its
            // waits go on growing.
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let wait_ms = self.backoff.wait_ms(self.failures, fastrand::f64());
        self.enter(ActorState::Down, Some(reason));
        let (clock, at_ms) = (self.clock.clone(), self.clock.now_ms() + wait_ms);
        let wait = async move { clock.sleep_until(at_ms).await };
        let wait = wait.into_actor(self).map(|(), this, ctx| this.launch(ctx));
        self.waiting = Some(ctx.spawn(wait));
    }

    fn enter(&self, state: ActorState, reason: Option<String>) {
        let mut health = self.health.lock();
        health.state = state;
        health.since_ms = self.clock.now_ms();
        match &reason {
            Some(reason) => {
                warn!(actor = %health.name, generation = health.generation, %reason, "actor is down");
            }
            None => info!(actor = %health.name, generation = health.generation, "actor is up"),
        }
        health.reason = reason;
    }

    fn generation(&self) -> u64 {
        self.health.lock().generation
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.launch(ctx);
    }
}

impl Handler<Died> for Supervisor {
    type Result = ();

    fn handle(&mut self, died: Died, ctx: &mut Self::Context) {
        self.died = self.died.max(died.generation);
        let state = self.health.lock().state;
        // While it is starting, the launch itself says what came of it.
        if died.generation == self.generation() && state == ActorState::Up {
            self.down("it stopped or panicked".into(), ctx);
        }
    }
}

impl Handler<Failed> for Supervisor {
    type Result = ();

    fn handle(&mut self, failed: Failed, _: &mut Self::Context) {
        if failed.generation == self.generation() {
            warn!(actor = %self.health.lock().name, failure = %failed.failure, "driver failed");
            self.condemned = failed.generation;
            if self.health.lock().state == ActorState::Up {
                // Its guard tells when it is gone.
                (self.halt)();
            }
        }
    }
}

impl Handler<Restart> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        if let Some(waiting) = self.waiting.take() {
            ctx.cancel_future(waiting);
            self.launch(ctx);
        }
    }
}
