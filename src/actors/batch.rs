//! The batch writer: takes what is dirty down to the drivers, newest first of all.
//!
//! One lane per driver: one batch is under way at a time, and what becomes dirty meanwhile is the next
//! one, so batches grow by themselves under load. `batch/run.rs` has the way down one lane.

mod blame;
mod purge;
mod reserve;
mod run;
mod supply;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::guard::DeathGuard;
use crate::clock::Clock;
use crate::config::CommitConfig;
use crate::drivers::{StoreDurability, Write};
use crate::error::Error;
use crate::hurry::Hurry;
use crate::messages::control::Stop;
use crate::messages::write::{Flush, Wake};
use crate::port::Port;
use crate::shelf::{Shelf, Ticket};
pub use reserve::RESERVE_MS;
use run::{HEAL_COUNT_MAX, Home, Progress, RETRY_MS_MAX, RETRY_MS_MIN, Run};

/// Messages that wait for it at most.
const MAILBOX: usize = 1_024;
/// Hears of a batch.
pub type Noted = Box<dyn Fn(&[Write]) + Send + Sync>;

/// The way down to one driver.
pub struct Lane {
    /// Its port.
    pub port: Arc<Port>,
    /// Told of each batch that it is to commit.
    pub noted: Noted,
    /// Bounds and pace.
    pub config: CommitConfig,
}

struct Course {
    home: Arc<Home>,
    /// Nothing while a run has it.
    progress: Option<Progress>,
    again: bool,
}

/// The batch writer's actor.
pub struct BatchWriter {
    shelf: Arc<Shelf>,
    clock: Clock,
    hurry: Arc<Hurry>,
    courses: Vec<Course>,
    /// It will be woken for what failed, so that nobody else need.
    is_reminded: bool,
    // IMPORTANT: last.
    _guard: DeathGuard,
}

impl BatchWriter {
    /// A batch writer over these lanes. `hurry` knows whether somebody waits: then none lingers.
    pub fn new(
        shelf: Arc<Shelf>,
        clock: Clock,
        hurry: Arc<Hurry>,
        lanes: &[Arc<Lane>],
        guard: DeathGuard,
    ) -> Self {
        let ports: Vec<_> = lanes.iter().map(|lane| Arc::clone(&lane.port)).collect();
        let courses = lanes.iter().map(|lane| Course {
            home: Arc::new(Home {
                shelf: Arc::clone(&shelf),
                clock: clock.clone(),
                hurry: Arc::clone(&hurry),
                lane: Arc::clone(lane),
                ports: ports.clone(),
            }),
            progress: Some(Progress::new(lane.config.commit_count_max)),
            again: false,
        });
        let courses = courses.collect();
        Self {
            shelf,
            clock,
            hurry,
            courses,
            is_reminded: false,
            _guard: guard,
        }
    }

    fn set_off(&mut self, at: usize, ctx: &mut Context<Self>) {
        let Some(course) = self.courses.get_mut(at) else {
            return;
        };
        let Some(progress) = course.progress.take() else {
            course.again = true;
            return;
        };
        let run = Run {
            home: Arc::clone(&course.home),
            progress,
        };
        let run = run.drain().into_actor(self);
        ctx.spawn(run.map(move |progress, this, ctx| {
            if progress.purges_again {
                this.remind(ctx);
            }
            let again = this.courses.get_mut(at).is_some_and(|course| {
                course.progress = Some(progress);
                std::mem::take(&mut course.again)
            });
            if again {
                this.set_off(at, ctx);
            }
        }));
    }
}

impl BatchWriter {
    fn remind(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_reminded, true) {
            ctx.run_later(Duration::from_millis(RETRY_MS_MAX), |this, ctx| {
                this.is_reminded = false;
                ctx.notify(Wake);
            });
        }
    }
}

impl Actor for BatchWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let addr = ctx.address();
        // Bounded by the bell: at most one ring is on its way.
        self.shelf.bells.dirty.hang(move || addr.do_send(Wake));
        // What an earlier generation had taken and not settled is in no queue any more.
        self.shelf.requeue();
        ctx.notify(Wake);
    }
}

impl Handler<Wake> for BatchWriter {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        // The bell is answered by each run before its last look: none need ring while one goes on. All are to
        // run, or to run again, so that it does not matter whose answer it is.
        for at in 0..self.courses.len() {
            self.set_off(at, ctx);
        }
    }
}

impl Handler<Flush> for BatchWriter {
    type Result = ResponseFuture<Result<(), Error>>;

    fn handle(&mut self, flush: Flush, ctx: &mut Self::Context) -> Self::Result {
        let (ticket, waiting) = Ticket::new();
        let (mut lanes, mut in_doubt) = (Vec::new(), false);
        for course in &self.courses {
            let port = &course.home.lane.port;
            // What it has lost is to be filed for it first.
            in_doubt |= port.is_owed();
            let is_unsure = !port.is_up() && flush.durability == StoreDurability::Synced;
            if port.takes_values() {
                let healed = self
                    .shelf
                    .heal(port.id, HEAL_COUNT_MAX, self.clock.now_ms());
                in_doubt |= healed == HEAL_COUNT_MAX || self.shelf.doubts(port.id).is_some();
                self.shelf.wait_for_all(port.id, flush.durability, &ticket);
            } else if is_unsure || self.shelf.is_dirty(port.id) || self.shelf.is_distrusted(port.id)
            {
                let error = port.unavailable();
                return Box::pin(async move { Err(error) });
            }
            if port.is_up() {
                lanes.push((Arc::clone(&course.home), port.emptied()));
            }
        }
        if in_doubt {
            // What the stores must not show is not gone yet: whoever flushes asks again soon.
            ctx.notify(Wake);
            return Box::pin(async { Err(busy()) });
        }
        ticket.done();
        let waits = self.hurry.wait();
        ctx.notify(Wake);
        Box::pin(async move {
            let _waits = waits;
            waiting.await.map_err(|_| Error::Closed)??;
            if flush.durability == StoreDurability::Synced {
                // What was stored before without a sync has left the dirty set: it is covered by this.
                for (home, _) in &lanes {
                    home.sync().await?;
                }
            }
            // What was stored while this waited may have gone with its store.
            let is_lost = |(home, emptied): &(Arc<Home>, u64)| home.lane.port.emptied() != *emptied;
            match lanes.iter().any(is_lost) {
                true => Err(busy()),
                false => Ok(()),
            }
        })
    }
}

impl Handler<Stop> for BatchWriter {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

fn busy() -> Error {
    Error::Unavailable {
        driver: "batch".into(),
        retry_after: Duration::from_millis(RETRY_MS_MIN),
    }
}
