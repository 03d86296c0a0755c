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
use serde::Serialize;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::guard::DeathGuard;
use crate::clock::{Clock, Millis};
use crate::drivers::Failure;
use crate::messages::supervise::{Died, Failed, Restart};

/// Starts one generation. Runs on the supervisor's arbiter and must not block.
pub type Launch =
    Box<dyn Fn(DeathGuard) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>> + Send>;

/// Makes the present generation stop, if it can be reached.
pub type Halt = Box<dyn Fn() + Send>;

/// How a supervised actor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// Being launched.
    Starting,
    /// At work.
    Up,
    /// Gone; a successor follows.
    Down,
}

/// What a supervisor knows of its actor.
#[derive(Clone, Debug, Serialize)]
pub struct ActorHealth {
    /// The actor's name.
    pub name: String,
    /// How it is.
    pub state: ActorState,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Since when, in unix milliseconds.
    pub since_ms: Millis,
    /// How often it has been launched.
    pub generation: u64,
}

/// Bounds of the wait before a restart.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Backoff {
    /// Upper end of the first wait.
    pub ms_min: u64,
    /// Upper end of the longest wait.
    pub ms_max: u64,
}

impl Backoff {
    /// How long to wait after `failures` failures in a row: anything from half of an upper end that
    /// doubles each time up to all of it. `random` is in `0.0..1.0`.
    pub fn wait_ms(&self, failures: u32, random: f64) -> u64 {
        let doubled = self
            .ms_min
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        let upper = doubled.min(self.ms_max);
        let half = upper / 2;
        // A whole number below 2^53 in any sensible configuration, so the cast loses nothing.
        half + (random * (upper - half) as f64) as u64
    }
}

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
        if let Some(first) = self.first.take() {
            let _ = first.send(result.clone());
        }
        match result {
            Ok(()) if self.died < generation => {
                self.failures = 0;
                self.enter(ActorState::Up, None);
                if self.condemned == generation {
                    // Only now can it be reached. Its guard tells when it is gone.
                    (self.halt)();
                }
            }
            Ok(()) => self.down("it ended while it was starting".into(), ctx),
            Err(failure) => self.down(failure.to_string(), ctx),
        }
    }

    fn down(&mut self, reason: String, ctx: &mut Context<Self>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_with_half_of_it_jitter() {
        let backoff = Backoff {
            ms_min: 100,
            ms_max: 1_000,
        };
        let table = [
            (1, 50, 100),
            (2, 100, 200),
            (3, 200, 400),
            (5, 500, 1_000),
            (99, 500, 1_000),
        ];
        for (failures, low, high) in table {
            assert_eq!(backoff.wait_ms(failures, 0.0), low);
            assert!((high - 2..=high).contains(&backoff.wait_ms(failures, 0.999_9)));
        }
    }
}
